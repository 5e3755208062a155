"""Simulated brains of a cell: drawn from a pool of stimuli, and judged by the rules for recordings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from bridge.recordings.simulated import Bands, Stream, analyst_bands, record, record_bins
from bridge.recordings.simulated.seen import gabor_amplitudes, grey_images, seen_in
from comparisons.validation.spec import Cell, Statistic

if TYPE_CHECKING:
    import pandas as pd

    from bridge.recordings.recordings import Recordings
    from bridge.stimuli.stimulus_set import StimulusSet

GRATINGS = "gratings"
DRAWS = 500
"""Bootstrap draws behind P1's intervals: half as many as an analyst's; as wide, a little noisier."""
VARIABLES = 6
"""Simple dimensions whose decoding errors are followed: what `kind: variability` asks about by default."""


@dataclass(frozen=True)
class Shown:
    """A pool of stimuli: Gabor amplitudes [n, d] of their images, computed once for all data sets, and their table."""

    amplitudes: NDArray[np.float32]
    table: pd.DataFrame


def save_shown(stimuli: StimulusSet, folder: Path) -> None:
    """Write what data sets need of the stimuli: amplitudes.npy and table.json."""
    np.save(folder / "amplitudes.npy", gabor_amplitudes(grey_images(stimuli)))
    (folder / "table.json").write_text(stimuli.table.reset_index().to_json(orient="split"))


def load_shown(folder: Path) -> Shown:
    """What `save_shown` wrote."""
    import pandas as pd

    content = json.loads((folder / "table.json").read_text())
    table = pd.DataFrame(content["data"], columns=content["columns"]).set_index("stimulus_id")
    return Shown(np.load(folder / "amplitudes.npy", allow_pickle=False), table)


@dataclass(frozen=True)
class DataSet:
    """One simulated data set as an analyst has it."""

    recordings: Recordings
    bands: Bands
    table: pd.DataFrame


def drawn(cell: Cell, shown: Shown, seed: int) -> DataSet:
    """The data set of a seed: natural stimuli drawn from the pool, and all its gratings where D is asked for.

    Raises InputError for a pool with too few stimuli.
    """
    grating = (shown.table["family"] == GRATINGS).to_numpy()
    pool = np.flatnonzero(~grating)
    wanted = max(cell.natural, cell.fitted)
    if len(pool) < wanted:
        raise InputError(
            f"Cell {cell.name!r} takes {wanted} natural stimuli, and the config's stimuli hold {len(pool)}; give "
            "more, or lower `natural` and `fitted`."
        )
    order = np.random.default_rng([seed, 1]).permutation(len(pool))
    rows = np.sort(pool[order[:wanted]])
    if "D" in cell.expect:
        rows = np.concatenate([rows, np.flatnonzero(grating)])
    spec = cell.simulated(seed)
    stream = Stream.of(spec, seen_in(shown.amplitudes[rows], shown.table.iloc[rows], spec.simple_dimensions))
    if cell.fitted:
        among = np.sort(np.random.default_rng([seed, 2]).permutation(wanted)[: cell.natural])
        stream, rows = stream.shown(among, spec.reps), rows[among]
    table = shown.table.iloc[rows]
    ids = tuple(table.index)
    recordings = record_bins(stream, ids) if spec.time_bins else record(stream.spec, ids, stream.stages())
    return DataSet(recordings, analyst_bands(stream, cell.hidden, cell.hide, seed), table)


def judge_brain(cell: Cell, shown: Shown, seed: int) -> dict[Statistic, str]:
    """The answer of every statistic that a cell asks for."""
    return answered(drawn(cell, shown, seed), list(cell.expect), seed)


def answered(data: DataSet, statistics: Sequence[Statistic], seed: int) -> dict[Statistic, str]:
    """The answer of every statistic asked for, in that order."""
    answers: dict[Statistic, str] = {}
    for together, by in (({"phi", "D"}, by_persistence), ({"transport", "direct path"}, by_errors)):
        if together & set(statistics):
            answers |= by(data, seed)
    if "late loss" in statistics:
        answers |= by_time_bins(data, seed)
    return {statistic: answers[statistic] for statistic in statistics}


def by_errors(data: DataSet, seed: int) -> dict[Statistic, str]:
    """The transport rule, and whether a direct path from the first area to the last is reported."""
    from comparisons.variability.decoder_error import transports
    from comparisons.verdicts.variability import LEAST_DIRECT, by_transport

    regions = data.recordings.neuroids["region"].tolist()
    values = np.asarray(data.bands.simple[:, :VARIABLES], np.float64)
    found = transports(data.recordings.data.astype(np.float64), regions, values, seed=seed)
    direct = found[0].direct
    told = direct is not None and direct.lower > LEAST_DIRECT
    verdict = by_transport(found, data.recordings.name, simulated=True)
    return {"transport": verdict.answer, "direct path": "SUPPORTED" if told else "INCONCLUSIVE"}


def by_time_bins(data: DataSet, seed: int) -> dict[Statistic, str]:
    """Whether what is simple is gone late: what the contrast says in most areas after the first."""
    from comparisons.editing.recorded import early_and_late, region_contrasts

    windows = early_and_late(data.recordings)
    assert windows is not None
    regions = data.recordings.neuroids["region"].tolist()
    contrasts = region_contrasts(data.bands.simple, data.bands.complex, *windows, regions, draws=DRAWS, seed=seed)
    told = [contrasts[region].answer for region in list(dict.fromkeys(regions))[1:] if region in contrasts]
    if told.count("consistent") > len(told) / 2:
        return {"late loss": "SUPPORTED"}
    return {"late loss": "REFUTED" if told.count("not consistent") > len(told) / 2 else "INCONCLUSIVE"}


def by_persistence(data: DataSet, seed: int) -> dict[Statistic, str]:
    """The phi rule on the natural stimuli and the D rule on the gratings."""
    from comparisons.persistence.recorded import Bands, recorded_persistence
    from comparisons.verdicts.persistence import by_decodability, by_unique_share

    simple, complex_ = (np.asarray(band, np.float64) for band in (data.bands.simple, data.bands.complex))
    bands = Bands(simple, complex_, "as the analyst has them")
    found = recorded_persistence(data.recordings, data.table, bands, draws=DRAWS, seed=seed)
    kappa = found.coupling.kappa if found.coupling else float("nan")
    return {
        "phi": by_unique_share(found.phi, found.regions, kappa, "", simulated=True).answer,
        "D": by_decodability(found.d, found.regions, "", simulated=True).answer,
    }
