"""The stages that judge a config's recordings by P2, one each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import InputError
from bridge.store import write_atomically
from comparisons.responses import comparable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bridge.recordings.base import RecordingsSpec
    from bridge.recordings.recordings import Recordings, RegionRDMs
    from bridge.stimuli.stimulus_set import StimulusSet
    from comparisons.kinds.variability import VariabilityComparison
    from comparisons.plan import Planner, Progress

ASKED = ("regions", "variables", "factors", "draws", "permutations")
"""Fields of the comparison on which recordings' results depend."""


def add_recordings(planner: Planner, asked: VariabilityComparison) -> list[str]:
    """A stage for each of the config's recordings. Raises ConfigError for a name that there is not."""
    specs, _ = comparable(planner.config, "variability", asked.recordings, images=False)
    return [_add(planner, asked, spec) for spec in specs]


def _add(planner: Planner, asked: VariabilityComparison, spec: RecordingsSpec) -> str:
    seed = planner.config.seed

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        from bridge.recordings.recordings import Recordings
        from comparisons.variability.recorded import UNKNOWN, judge, with_repetitions

        judged = []
        for found in spec.load(planner.stimuli):
            one = with_repetitions(found) if isinstance(found, Recordings) else found
            try:
                values, why = variables(planner.stimuli, one, asked), UNKNOWN
            except InputError as error:
                values, why = None, str(error)
            told = judge(one, values, asked.regions, why, draws=asked.draws, permutations=asked.permutations, seed=seed)
            judged.append((one.name, told))
        write_atomically(folder / "curves.json", json.dumps({name: told.curves for name, told in judged}, indent=1))
        verdicts = [told.verdict.model_dump() for _, told in judged]
        content = {
            "results": [row for _, told in judged for row in told.results],
            # A data set of RDMs is loaded region by region, and what cannot be asked of it is said once.
            "verdicts": [one for number, one in enumerate(verdicts) if one not in verdicts[:number]],
            "dropped": [why for _, told in judged for why in told.dropped],
        }
        write_atomically(folder / "results.json", json.dumps(content))

    inputs = {
        **{key: getattr(asked, key) for key in ASKED},
        "recordings": [spec.name, spec.fingerprint()],
        "stimuli": planner.config.stimuli.fingerprint(),
        "seed": seed,
    }
    code = (__name__, "comparisons.variability.recorded", "bridge.recordings", "bridge.stimuli")
    name = f"variability of {spec.name}"
    return planner.add(name, "variability-recordings", inputs, build, libraries=("numpy", "scipy"), code=code)


def variables(stimuli: StimulusSet, one: Recordings | RegionRDMs, asked: VariabilityComparison) -> NDArray | None:
    """What areas are asked about, [n, variable], of the stimuli recorded, in the order of the recordings: the factors
    named, or components of the images' Gabor energies. None where no variable is needed or known.

    Raises InputError for factors that there are not, and images too few or too alike.
    """
    from bridge.recordings.recordings import Recordings
    from bridge.recordings.simulated import seen
    from comparisons.variability.recorded import factor_values

    if not isinstance(one, Recordings) or not one.simultaneous or len(one.regions) < 2:
        return None
    if not one.images and asked.factors is None:
        return None
    shown = stimuli.select(stimuli.rows_of(one.stimulus_ids))
    if asked.factors is not None:
        return factor_values(shown.table, asked.factors)
    most = len(shown) // 4  # more components than that of so few images say nothing
    return seen(shown, max(1, min(asked.variables, most))).energies
