"""P3's contrast from recordings with time bins: phi of simple and of complex features, early and late, by region."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from bridge.recordings.recordings import Recordings, RegionRDMs
from comparisons.editing.time_resolved import EARLY, LATE, TimeContrast, time_contrast
from comparisons.encoding.banded import banded_ridge, folds_of
from comparisons.encoding.evaluation import nanmean
from comparisons.encoding.unique_variance import LEAST_RELIABLE, signal_variance, unique_share
from comparisons.persistence.counts import log_counts
from comparisons.persistence.unique_simple import COMPLEX, PENALTIES, SIMPLE
from comparisons.results import Verdict
from comparisons.verdicts.editing import recordings_editing


def early_and_late(one: Recordings) -> tuple[NDArray, NDArray] | None:
    """Responses [rep, n, neuroid] in 70 to 100 ms and in 150 to 200 ms, counts as `log_counts`: means over the time
    bins that lie within. None where either window holds no bin."""
    if one.binned is None:
        return None
    means = []
    for start, end in (EARLY, LATE):
        inside = [row for row, (low, high) in enumerate(one.time_bins) if low >= start and high <= end]
        if not inside:
            return None
        means.append(log_counts(one.binned[inside]).mean(axis=0))
    return means[0], means[1]


def region_contrasts(
    simple: NDArray,
    complex_: NDArray,
    early: NDArray,
    late: NDArray,
    regions: Sequence[str],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, TimeContrast]:
    """The contrast of every region, from bands [n, p] and trials [rep, n, neuroid] of both windows.

    Neuroids count that are reliable in both; every draw resamples the same stimuli and neuroids in both. A region
    without such neuroids is left out of what is returned. Raises InputError for fewer than two repetitions and shapes
    that do not fit.
    """
    if early.shape != late.shape or early.ndim != 3 or len(early) < 2 or early.shape[2] != len(regions):
        raise InputError(
            f"Early trials {list(early.shape)}, late ones {list(late.shape)} and {len(regions)} regions were given; "
            "expected [rep, n, neuroid] twice, with two repetitions or more."
        )
    names = np.asarray(regions)
    found: dict[str, TimeContrast] = {}
    windows = [trials.astype(np.float64) for trials in (early, late)]
    reliable = np.ones(len(names), bool)
    for trials in windows:
        with np.errstate(invalid="ignore", divide="ignore"):
            reliable &= signal_variance(trials) / nanmean(trials).var(axis=0, ddof=1) >= LEAST_RELIABLE
    bands = {SIMPLE: np.asarray(simple, np.float64), COMPLEX: np.asarray(complex_, np.float64)}
    if not reliable.any():
        return found
    windows, names = [trials[:, :, reliable] for trials in windows], names[reliable]
    # One fit for both windows and all regions: what it costs hardly depends on the number of neuroids.
    means = np.concatenate([nanmean(trials) for trials in windows], axis=1)
    splits = folds_of(len(means), seed=seed)
    fitted = banded_ridge(bands, means, splits=splits, penalties=PENALTIES, choice="float32")
    for region in dict.fromkeys(names.tolist()):
        mine = np.flatnonzero(names == region)
        shares = {}
        for number, (when, trials) in enumerate(zip(("early", "late"), windows, strict=True)):
            part = fitted.of(mine + number * len(names))
            for band in (SIMPLE, COMPLEX):
                shares[band, when] = unique_share(part, band, trials[:, :, mine], least=-np.inf, draws=draws, seed=seed)
        ordered = [shares[band, when] for band in (SIMPLE, COMPLEX) for when in ("early", "late")]
        phi = [share.estimate for share in ordered]
        drawn = [share.draws for share in ordered]
        found[region] = time_contrast((phi[0], phi[1]), (phi[2], phi[3]), (drawn[0], drawn[1], drawn[2], drawn[3]))
    return found


def judged(
    found: Sequence[Recordings | RegionRDMs],
    bands: Callable[[Sequence[str]], tuple[NDArray, NDArray] | None],
    seed: int,
) -> list[Verdict]:
    """The verdicts on what one entry of a config's recordings holds. `bands` gives (simple, complex) features [n, p] of
    stimulus ids, or None where none were named."""
    return [_judged(one, bands, seed) for one in found]


def _judged(
    one: Recordings | RegionRDMs,
    bands: Callable[[Sequence[str]], tuple[NDArray, NDArray] | None],
    seed: int,
) -> Verdict:
    def untestable(why: str) -> Verdict:
        return recordings_editing(one.name, {}, why, simulated=bool(getattr(one, "simulated", False)))

    if not isinstance(one, Recordings):
        return untestable("only RDMs are known, and editing shows in responses over time")
    if (windows := early_and_late(one)) is None:
        return untestable("there are no time bins within 70 to 100 and 150 to 200 ms, and editing shows in time")
    if len(one.data) < 2:
        return untestable("there is one repetition, so that signal and noise cannot be told apart")
    features = bands(one.stimulus_ids)
    if features is None:
        return untestable("no `bands` say what stands for simple and for complex features")
    contrasts = region_contrasts(*features, *windows, regions=one.neuroids["region"].tolist(), seed=seed)
    return recordings_editing(one.name, contrasts, simulated=one.simulated)
