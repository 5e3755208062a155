"""P1 of one set of recordings: phi from natural stimuli, D from gratings, and the verdict of the one that decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from bridge.recordings.order import in_order
from comparisons.persistence.counts import log_counts
from comparisons.persistence.grating_cells import Decodability, decodability, grating_cells
from comparisons.persistence.unique_simple import Coupling, UniqueSimple, coupled, unique_simple
from comparisons.results import Verdict
from comparisons.verdicts.persistence import by_decodability, by_unique_share, not_testable

if TYPE_CHECKING:
    import pandas as pd

    from bridge.recordings.recordings import Recordings

LEAST_NATURAL = 100
"""Fewer stimuli that are no oriented patterns leave nothing to tell S and C apart on."""
FACTORS = ("orientation", "cycles", "phase")


@dataclass(frozen=True)
class Bands:
    """The analyst's features of the recordings' stimuli, in their order: [n, p] each. Without `complex` (None, and
    `missing` says why) no excess over complex features can be shown, and nothing is said."""

    simple: NDArray[np.float64]
    complex: NDArray[np.float64] | None
    told: str
    """What the bands are, in words."""
    missing: str = ""


@dataclass(frozen=True)
class RecordedPersistence:
    """What one set of recordings shows of P1; what it cannot, and why, stands in `untestable` by statistic."""

    regions: tuple[str, ...]
    """From early to late."""
    phi: dict[str, UniqueSimple] = field(default_factory=dict)
    d: dict[str, Decodability] = field(default_factory=dict)
    coupling: Coupling | None = None
    natural: int = 0
    gratings: int = 0
    untestable: dict[str, str] = field(default_factory=dict)


def full_gratings(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Which stimuli are full-field gratings of the tuning set: rows with orientation, cycles and phase; where there is
    a column `family`, those of the family `gratings`."""
    if any(name not in table for name in FACTORS):
        return np.zeros(len(table), bool)
    shown = np.isfinite(table[list(FACTORS)].to_numpy(float)).all(axis=1)
    return shown & (table["family"] == "gratings").to_numpy() if "family" in table else shown


def unoriented(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Which stimuli stand for natural ones: those without an orientation."""
    if "orientation" not in table:
        return np.ones(len(table), bool)
    return ~np.isfinite(table["orientation"].to_numpy(float))


def recorded_persistence(
    recordings: Recordings, table: pd.DataFrame, bands: Bands, *, draws: int = 1000, seed: int = 0
) -> RecordedPersistence:
    """phi and D of every region of recordings whose stimuli have the factors `table` [n rows].

    Nothing here raises for what data lack: one region, one repetition, no gratings, too few stimuli and constant
    neuroids stand in `untestable` in words.
    """
    regions = in_order(recordings.regions)
    trials = log_counts(recordings.data)
    names = recordings.neuroids["region"].tolist()
    grating, natural = full_gratings(table), unoriented(table)
    count, shown = int(natural.sum()), int(grating.sum())
    found = RecordedPersistence(regions, natural=count, gratings=shown)
    why = ""
    if len(regions) < 2:
        why = f"only {' '.join(regions)} was recorded, and persistence is a question about two stages or more"
    elif len(trials) < 2:
        why = "every stimulus was shown once, and signal and noise are told apart by repetitions"
    elif bands.complex is None:
        why = bands.missing
    if why:
        found.untestable.update({"phi": why, "D": why})
        return found
    assert bands.complex is not None
    if count < LEAST_NATURAL:
        found.untestable["phi"] = f"{count} stimuli are no oriented patterns; it takes {LEAST_NATURAL}"
    else:
        simple, complex_ = bands.simple[natural], bands.complex[natural]
        coupling = coupled(simple, complex_, seed=seed)
        phi = unique_simple(simple, complex_, trials[:, natural], names, coupling=coupling, draws=draws, seed=seed)
        found = RecordedPersistence(regions, phi, {}, coupling, count, shown, found.untestable)
    if not shown:
        found.untestable["D"] = "no gratings were shown"
        return found
    try:
        cells = grating_cells(*(table[name].to_numpy(float)[grating] for name in FACTORS))
    except InputError as error:
        found.untestable["D"] = str(error)
        return found
    d = decodability(
        trials[:, grating], names, cells, bands.simple[grating], bands.complex[grating], draws=draws, seed=seed
    )
    return RecordedPersistence(regions, found.phi, d, found.coupling, count, shown, found.untestable)


def verdict_on(found: RecordedPersistence, subject: str, *, simulated: bool = False) -> Verdict:
    """D decides where gratings were shown in every combination, otherwise phi (fixed before any data were opened)."""
    if "D" not in found.untestable:
        return by_decodability(found.d, found.regions, subject, simulated=simulated)
    if "phi" not in found.untestable:
        kappa = found.coupling.kappa if found.coupling else float("nan")
        return by_unique_share(found.phi, found.regions, kappa, subject, simulated=simulated)
    reasons = list(dict.fromkeys(found.untestable.values()))
    return not_testable(subject, reasons, simulated=simulated)
