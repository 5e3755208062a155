"""What a confusion matrix is made of: cells with a known truth, and what a valid rule may and must answer there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bridge.recordings.simulated import SimulatedRecordings
from bridge.spec import Spec
from bridge.spec_errors import validated

Statistic = Literal["phi", "D", "transport", "direct path", "editing", "late loss"]
"""P1 by unique simple share and by decodability, P2 by transport of decoder errors and its direct path, P3 by gated
edits of a network's latents; of recordings with time bins, by what is simple and gone late. The last is no more than
consistent with editing: SUPPORTED and REFUTED say so here of most areas after the first, and no verdict does."""
Expected = Literal["SUPPORTED", "REFUTED", "not SUPPORTED", "not REFUTED", "either"]
"""`SUPPORTED` and `REFUTED`: the truth, which must be found in 80% of the data sets, and its opposite (nearly) never.
`not ...`: that answer would be false, and the right one need not be found. `either`: shown, with no demand."""
PREDICTIONS: dict[Statistic, str] = {
    "phi": "P1",
    "D": "P1",
    "transport": "P2",
    "direct path": "P2",
    "editing": "P3",
    "late loss": "P3",
}


class Cell(Spec):
    """Data sets that share a truth and differ in their seed. Everything in it is SIMULATED."""

    name: Annotated[str, Field(min_length=1)]
    """Name of the row."""
    expect: Annotated[dict[Statistic, Expected], Field(min_length=1)]
    """The statistics to judge by, and what each may answer."""
    brain: dict[str, Any] = Field(default_factory=dict)
    """Fields of a simulated brain (see `kind: simulated`): its truth and whatever differs from the defaults."""
    block: str | None = None
    """For `editing`: the planted block of a network (`comparisons.validation.planted_editing.CELLS`)."""
    natural: Annotated[int, Field(ge=0)] = 500
    """Natural stimuli shown: drawn anew for each data set from the config's stimuli that are no gratings."""
    fitted: Annotated[int, Field(ge=0)] = 0
    """Natural stimuli to which the brain's maps are fitted, those shown among them (0: those shown). What is unrelated
    in the world is not quite so among a hundred stimuli; maps fitted to just these would make it so."""
    hidden: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the complex features that the analyst lacks."""
    hide: Literal["random", "coupled"] = "random"
    """Which of them: random ones, or those that S explains best."""

    @model_validator(mode="after")
    def _one_kind(self) -> Cell:
        if ("editing" in self.expect) != (self.block is not None) or (self.block is not None and len(self.expect) > 1):
            raise ValueError(
                "`editing` needs `block`, a planted block of a network, and the other statistics a `brain`"
            )
        if ("late loss" in self.expect) != bool(self.brain.get("time_bins")):
            raise ValueError(
                "`late loss` needs a brain with `time_bins: true`, and no other statistic has a use for it"
            )
        if self.fitted and (self.fitted < self.natural or "D" in self.expect):
            raise ValueError(
                "`fitted` is more stimuli than `natural`, and needs a cell without D, which shows gratings"
            )
        if self.block is None:
            self.simulated(0)  # says now what does not fit
        return self

    def simulated(self, seed: int) -> SimulatedRecordings:
        """The brain of one data set. Raises ConfigError for fields that do not exist or fit."""
        return validated(SimulatedRecordings, {"kind": "simulated", **self.brain, "seed": seed})
