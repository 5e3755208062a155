"""Recordings under the same probes: what a region's neuroids tell of the stimuli, and how many dimensions they fill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comparisons.probing.decoding import DIMENSIONS, PERMUTATIONS, QUESTIONS
from comparisons.probing.geometry import DIMENSION, DRAWS, RANKS, RATIO
from probes.decoding import decode_each, split_half_ceiling
from probes.geometry import cvpca, matched, participation_ratio
from probes.intrinsic import two_nn

if TYPE_CHECKING:
    import pandas as pd

    from bridge.recordings.recordings import Recordings

SPLITS = 3
"""Splits of the repetitions into halves behind a ceiling."""
LEAST = 20
"""Stimuli below which a variable is not decoded, and dimensions are not estimated."""


def probe_recordings(
    recordings: Sequence[Recordings], table: pd.DataFrame, seed: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """Results as plain values, and what was left out, of every region of every recordings.

    `table` is that of the stimuli, by id. Variables are those of drawn batteries (`QUESTIONS`) that it has; the ceiling
    of a decoded variable is the reliability of what is read (`split_half_ceiling`), and each half holds half of a
    stimulus's repetitions. Dimensions are compared at the number of neuroids of the smallest region. Neuroids that are
    not finite for some stimulus, or do not vary, are left out and counted.
    """
    results: list[dict[str, Any]] = []
    dropped: list[str] = []
    for one in recordings:
        about = table.reindex(list(one.stimulus_ids)).reset_index(drop=True)
        regions = {name: _usable(one.region(name), dropped) for name in one.regions}
        regions = {name: data for name, data in regions.items() if data.shape[2]}
        for name, data in regions.items():
            common = _common(one, name)
            results += _decoded(common, data, about, seed, dropped) + _spectrum(common, data, seed)
        results += _dimensions({name: (_common(one, name), data) for name, data in regions.items()}, seed)
    return results, dropped


def _common(one: Recordings, region: str) -> dict[str, Any]:
    return {
        "comparison": "probe",
        "model": f"{one.name} {region}",
        "site": None,
        "role": "reference",
        "recordings": f"neuroids of {one.name}",
        "region": "features",
        "n_subjects": int(one.region(region).neuroids["subject"].nunique()),
        "simulated": one.simulated,
        "dropped": list(one.dropped),
    }


def _usable(region: Recordings, dropped: list[str]) -> NDArray[np.float64]:
    """[rep, n, neuroid] of the neuroids that answered to every stimulus and vary."""
    data = np.asarray(region.data, np.float64)
    mean = np.nanmean(np.where(np.isfinite(data), data, np.nan), axis=0) if len(data) else data[0]
    kept = np.isfinite(mean).all(axis=0) & (np.nan_to_num(mean).std(axis=0) > 0)
    if not kept.all():
        where = f"{region.name} {region.regions[0] if region.regions else ''}".strip()
        dropped.append(f"{where}: {int((~kept).sum())} of {len(kept)} neuroids are constant or lack a stimulus")
    return data[:, :, kept]


def _halves(data: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64] | None:
    """Means over two random halves of each stimulus's repetitions, [2, n, neuroid]; None where one has but a single."""
    shown = np.isfinite(data).all(axis=2)  # [rep, n]
    if shown.sum(axis=0).min() < 2:
        return None
    # Repetitions that were shown come first, in random order; every second one is of the first half.
    order = np.argsort(np.where(shown, rng.random(shown.shape), 2), axis=0)
    place = np.argsort(order, axis=0)
    halves = [shown & (place % 2 == half) for half in (0, 1)]
    return np.stack([
        np.where(half[:, :, None], np.nan_to_num(data), 0).sum(axis=0) / half.sum(axis=0)[:, None] for half in halves
    ])  # fmt: skip


def _decoded(
    common: dict[str, Any], data: NDArray[np.float64], about: pd.DataFrame, seed: int, dropped: list[str]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "family" not in about:
        return found
    if "phase" in about:
        about = about.assign(quadrant=np.floor(about["phase"].to_numpy(float) / 90))
    mean = np.nanmean(data, axis=0)
    rng = np.random.default_rng(seed)
    for question in QUESTIONS:
        rows = question.rows(about)
        part = about.iloc[rows]
        columns = [*question.targets.values(), *question.across]
        if len(rows) < LEAST or not set(columns) <= set(part) or part[columns].isna().to_numpy().any():
            continue
        conditions = question.conditions(part)
        if len(np.unique(conditions)) < 3:
            continue
        targets = {name: question.form(part[column].to_numpy()) for name, column in question.targets.items()}
        decoded = decode_each(
            mean[rows], targets, conditions, components=DIMENSIONS, permutations=PERMUTATIONS, seed=seed
        )
        halves = [_halves(data[:, rows], rng) for _ in range(SPLITS)]
        for name, result in decoded.items():
            if not np.isfinite(result.r2):
                dropped.append(f"{common['model']}: {question.named(name)} does not vary over these stimuli")
                continue
            ceilings = [
                split_half_ceiling(half, targets[name], conditions, components=DIMENSIONS, splits=1)
                for half in halves if half is not None
            ]  # fmt: skip
            ceiling = float(np.clip(np.mean(ceilings), 0, 1)) if ceilings and np.isfinite(ceilings).all() else None
            found.append({
                **common, "measure": question.measure, "region": question.named(name), "estimate": result.r2,
                "ceiling": None if ceiling is None else [ceiling, ceiling], "n_stimuli": len(rows),
                "notes": [
                    f"ridge from {DIMENSIONS} components of {data.shape[2]} neuroids, tested on {question.left_out} "
                    "left out",
                    f"95% of label permutations below {float(np.quantile(result.floor, 0.95)):.3f}",
                    "ceiling: reliability of what is read, from halves of the repetitions" if ceiling is not None
                    else "no ceiling: some stimulus has a single repetition, or the halves read nothing",
                ],
            })  # fmt: skip
    return found


def _spectrum(common: dict[str, Any], data: NDArray[np.float64], seed: int) -> list[dict[str, Any]]:
    """The exponent of the cross-validated spectrum."""
    halves = _halves(data, np.random.default_rng(seed))
    if halves is None or data.shape[1] < LEAST:
        return []
    power = cvpca(halves, RANKS, seed)
    if not np.isfinite(power.alpha):
        return []
    said = f"cross-validated PCA of {data.shape[2]} neuroids, {power.fitted} ranks from {RANKS[0]} on"
    return [
        {**common, "measure": "exponent of the spectrum", "estimate": power.alpha, "n_stimuli": data.shape[1],
         "notes": [said]}
    ]  # fmt: skip


def _dimensions(regions: dict[str, tuple[dict[str, Any], NDArray[np.float64]]], seed: int) -> list[dict[str, Any]]:
    """Participation ratio and intrinsic dimension at equal numbers of stimuli and neuroids."""
    if not regions or min(data.shape[1] for _, data in regions.values()) < LEAST:
        return []
    means = [np.nanmean(data, axis=0) for _, data in regions.values()]
    drawn = [matched(means, seed=seed + draw) for draw in range(DRAWS)]
    width = drawn[0][0].shape[1]
    found = []
    for number, (common, data) in enumerate(regions.values()):
        values = {
            f"{RATIO}, matched": [participation_ratio(draw[number]) for draw in drawn],
            f"{DIMENSION}, matched": [two_nn(draw[number]).dimension for draw in drawn],
        }
        said = f"{width} of {data.shape[2]} neuroids, mean of {DRAWS} draws; trial noise adds dimensions"
        found += [
            {**common, "measure": measure, "estimate": float(np.mean(each)), "n_stimuli": data.shape[1],
             "notes": [said]}
            for measure, each in values.items() if np.isfinite(each).all()
        ]  # fmt: skip
    return found
