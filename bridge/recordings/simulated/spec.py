"""What can be asked of a simulated ventral stream: its truth, and every number behind it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from bridge.recordings.base import RecordingsSpec
from bridge.recordings.recordings import Recordings, RegionRDMs
from bridge.spec import Seed

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet

Truth = Literal[
    "residual", "edit", "static", "damping", "bypass", "recode", "parallel", "common",
    "nhbt", "untangle", "gain", "leak",
]  # fmt: skip
Dynamics = Literal["residual", "nhbt", "recode", "parallel"]
LAMBDAS: dict[Dynamics, tuple[float, ...]] = {
    "residual": (0.5, 0.4, 0.35, 0.3),
    "nhbt": (0.5, 0.15, 0.03, 0.0),
    "recode": (0.5, 0.4, 0.35, 0.3),
    "parallel": (0.5, 0.4, 0.35, 0.3),
}
"""lambda from V1 to IT, by what becomes of the simple part."""
BYPASSED_LAMBDAS = (0.5, 0.15, 0.3, 0.3)
"""lambda where simple information goes around a strict hierarchy."""
PRESETS: dict[Truth, dict[str, Any]] = {
    "residual": {"dynamics": "residual"},
    "edit": {"dynamics": "residual", "edit": 0.8, "gated": 0.25},
    "static": {"dynamics": "residual", "edit": 0.8, "gated": 1.0},
    "damping": {"dynamics": "residual", "damping": 0.5},
    "bypass": {"dynamics": "residual", "bypass": 1.0},
    "recode": {"dynamics": "recode"},
    "parallel": {"dynamics": "parallel"},
    "common": {"dynamics": "parallel", "common_noise": 0.05},
    "nhbt": {"dynamics": "nhbt"},
    "untangle": {"dynamics": "nhbt", "object_share": 1.0},
    "gain": {"dynamics": "nhbt", "shared_gain": 0.1},
    "leak": {"dynamics": "nhbt"},
}
"""What each truth is made of; whatever a config states besides takes the place of these."""
TIME_BINS = {"early": (70.0, 100.0), "late": (150.0, 200.0)}
"""Milliseconds after stimulus onset that the time bins stand for."""
GENERATOR = 3
"""Version of the generator: raised whenever any count would come out differently."""
Count = Annotated[int, Field(ge=1, le=100_000)]
NotNegative = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]


class SimulatedRecordings(RecordingsSpec):
    """A simulated ventral stream that has seen the images of the comparison. Its truth is known.

    Fields that `truth` decides (None here) can be given as well: `{truth: residual, shared_gain: .1}` is a residual
    stream whose trials share a gain.
    """

    kind: Literal["simulated"] = "simulated"
    name: str = "simulated ventral stream"
    """The name under which the recordings appear in results and figures."""
    truth: Truth = "residual"
    """`residual`: simple information stays; `edit`: it is deleted in part where the context says so; `static`: it is
    deleted everywhere; `damping`: simple and complex parts both fade; `bypass`: stages also write to those after the
    next; `recode`: nonlinear recoding keeps it readable; `parallel`: every stage has its own input; `common`: the same
    with noise of that input; `nhbt`: the naive strict hierarchy, which uses it up; `untangle`: the same, while
    objects' position and size come forth; `gain`: the same, with a gain that all neuroids share; `leak`: the same,
    with a complex part that covaries with the simple one."""
    dynamics: Dynamics | None = None
    """What a stage does with the simple part of its input (by default what `truth` says)."""
    seed: Seed = 0
    """Seed of the maps, the neuroids and the trials."""
    neuroids: dict[str, Count] = Field(default={"V1": 102, "V2": 103, "V4": 88, "IT": 168}, min_length=1)
    """Regions from early to late, with how many neuroids each has."""
    lambdas: tuple[float, ...] | None = None
    """The share of the neuroids' signal variance that the simple part carries, one a region; by default that of
    `truth`."""
    kept: tuple[float, ...] | None = None
    """What each stage after the first keeps of the simple part that comes in (r): by default all, and in a strict
    hierarchy the square root of lambda over the lambda before."""
    bypass: NotNegative | None = None
    """Weight with which the simple part of every stage before the last one enters a stage directly (B)."""
    edit: Share | None = None
    """Part of the edited dimensions that each stage after the first deletes (epsilon)."""
    gated: Share | None = None
    """Share of the stimuli whose context opens the gate of editing; 1 for all, which is no gate."""
    edited_dimensions: Share = 0.5
    """Share of the simple dimensions that editing deletes."""
    damping: Share | None = None
    """Part by which the late time bin of each stage is weaker than the early one, simple and complex parts alike."""
    object_share: Share | None = None
    """Weight of an object's x, y and size in as many complex dimensions of the last stage; before, on the line from 0.
    """
    subjects: int = Field(1, ge=1)
    """Animals among whom each region's neuroids are dealt out evenly; they share the state, not the neuroids."""
    reps: int = Field(10, ge=2)
    """Repetitions of every stimulus."""
    simultaneous: bool = True
    """Whether all regions were recorded in the same trials; otherwise each has trials of its own."""
    time_bins: bool = False
    """Give counts early (70 to 100 ms) and late (150 to 200 ms) in each trial. Editing and damping come late."""
    bin_correlation: Share = 0.5
    """Correlation of a stage's trial noise between the two time bins."""
    mean_count: float = Field(5.0, gt=0, le=1e4)
    """Mean spike count of a neuroid."""
    modulation: float = Field(0.6, gt=0, le=3)
    """Standard deviation of a neuroid's log rate over stimuli (m)."""
    noise: float = Field(0.05, ge=0, le=100)
    """Variance of the trial noise that each stage adds, a dimension of the state, in parts of its signal variance."""
    common_noise: NotNegative | None = None
    """Variance of trial noise of the simple part that all stages receive together."""
    private_noise: float = Field(0.1, ge=0, le=100)
    """Variance of each neuroid's own trial noise, in parts of its signal variance."""
    gain_variance: tuple[NotNegative, NotNegative] = (0.05, 0.2)
    """Variance of each neuroid's own gain in the first and in the last region; regions between lie on the line."""
    shared_gain: NotNegative | None = None
    """Variance of a gain that all neuroids share in a trial."""
    shared_gain_spread: float = Field(0.3, ge=0, le=2)
    """Standard deviation over neuroids of the exponent (mean 1) with which they take part in the shared gain."""
    coupled: bool = False
    """Leave in the complex part what it carries of S linearly, so that the two cannot be told apart by regression
    alone: with natural stimuli and gratings. `leak` leaves it with natural stimuli."""
    simple_dimensions: int = Field(12, ge=2)
    """Dimensions of S."""
    complex_dimensions: int = Field(32, ge=2)
    """Dimensions of C."""

    @field_validator("lambdas", "kept")
    @classmethod
    def _shares(cls, values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if values is not None and not all(0 <= value <= 1 for value in values):
            raise ValueError(f"each of these is a share, from 0 to 1; {list(values)} are not")
        return values

    @model_validator(mode="after")
    def _fits(self) -> SimulatedRecordings:
        regions = len(self.neuroids)
        if len(self.asked) != regions:
            raise ValueError(f"{regions} regions need `lambdas`, one a region, and {len(self.asked)} are there")
        if any(share == 1 for share in self.asked):
            raise ValueError(
                f"every lambda is a share below 1, because neuroids read C as well; {list(self.asked)} are"
            )
        if self.kept is not None and len(self.kept) != regions - 1:
            raise ValueError(f"{regions} regions need {regions - 1} values of `kept`, and {len(self.kept)} are there")
        rises = any(b > a for a, b in pairwise(self.asked))
        if self.flow == "nhbt" and rises and not self.of("bypass"):
            raise ValueError(f"in a strict hierarchy lambdas cannot rise again, as {list(self.asked)} do")
        if self.flow == "nhbt" and self.coupled:
            raise ValueError("a strict hierarchy whose complex part carries S is not one; leave `coupled` out")
        if self.of("object_share") and self.complex_dimensions < 4:
            raise ValueError("x, y and size of objects take three complex dimensions, so ask for four or more")
        if self.of("damping") and not self.time_bins:
            raise ValueError("damping is a difference between time bins; add `time_bins: true`")
        return self

    def of(self, field: str) -> float:
        """The value of a number that `truth` decides where the config does not."""
        given = getattr(self, field)
        return float(PRESETS[self.truth].get(field, 0.0) if given is None else given)

    @property
    def flow(self) -> Dynamics:
        """What becomes of the simple part from stage to stage."""
        return self.dynamics or PRESETS[self.truth]["dynamics"]

    @property
    def asked(self) -> tuple[float, ...]:
        """Lambda by region."""
        if self.lambdas is not None:
            return self.lambdas
        return BYPASSED_LAMBDAS if self.flow == "nhbt" and self.of("bypass") else LAMBDAS[self.flow]

    @property
    def keeps(self) -> tuple[float, ...]:
        """r of every stage but the first."""
        if self.kept is not None:
            return self.kept
        if self.flow != "nhbt":
            return (1.0,) * (len(self.neuroids) - 1)
        shares = LAMBDAS["nhbt"] if self.asked == BYPASSED_LAMBDAS else self.asked
        return tuple(min(1.0, after / before) ** 0.5 if before > 0 else 0.0 for before, after in pairwise(shares))

    def fingerprint(self) -> dict[str, Any]:
        """The spec without its display name, and the generator's version."""
        content = self.content()
        del content["name"]
        # Regions lie in a mapping, whose order a hash would not see, and the order is that of the stages.
        return {**content, "stages": list(self.neuroids), "generator": GENERATOR}

    def load(self, stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
        """One `Recordings` of all regions; `truth` holds parameters and realised lambdas.

        With time bins, `data` are the counts of both, and `binned` holds each.

        Raises InputError for stimuli that are texts, or too few to whiten S, or without objects for `untangle`.
        """
        from bridge.recordings.simulated.counts import record, record_bins
        from bridge.recordings.simulated.seen import seen
        from bridge.recordings.simulated.stream import Stream

        stream = Stream.of(self, seen(stimuli, self.simple_dimensions))
        if self.time_bins:
            return [record_bins(stream, stimuli.ids)]
        return [record(self, stimuli.ids, stream.stages())]


def truth_of(spec: SimulatedRecordings) -> Mapping[str, Any]:
    """What the config asked for, and what `truth` made of the rest, for the record."""
    names = ("bypass", "edit", "gated", "damping", "object_share", "common_noise", "shared_gain")
    return {"truth": spec.truth, "dynamics": spec.flow, "kept": list(spec.keeps)} | {n: spec.of(n) for n in names}
