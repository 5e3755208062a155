"""From single trials of TVSD to responses by repetition: windows, normalisation by day, physical order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.data.tvsd import WINDOWS, Monkey, area_of
from bridge.data.tvsd.averages import Responses, pair_reliability, read_averages, repeat_variance
from bridge.data.tvsd.trials import day_statistics, open_trials, read_mapping, read_table, window_means
from bridge.errors import InputError
from bridge.recordings.assembly import repetition_index

if TYPE_CHECKING:
    from bridge.recordings.tvsd import TVSDRecordings

AGREE = 0.5
"""Median correlation with the normalised averages below which trials and mapping cannot belong together."""


@dataclass(frozen=True)
class Made:
    """Responses [rep, image, electrode] to the wanted images, and what stands beside them in Recordings."""

    data: NDArray[np.float32]
    responses: Responses
    trial_ids: NDArray[np.str_]
    binned: NDArray[np.float32] | None
    dropped: tuple[str, ...]

    def check_against(self, averages: Path, rows: list[int]) -> None:
        """Raise InputError unless reliable electrodes answer the images as in the normalised averages.

        Channels that were mapped wrongly would be of other electrodes, and of other areas.
        """
        theirs = read_averages(averages, "test", self.data.shape[-1])
        reliable = np.flatnonzero(theirs.reliability > AGREE)
        if len(rows) < 10 or not len(reliable):
            return
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = (_mean(one[..., reliable]) for one in (self.data, theirs.data[:, rows]))
            a, b = a - a.mean(axis=0), b - b.mean(axis=0)
            agreement = float(np.nanmedian((a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))))
        if not agreement > AGREE:
            raise InputError(
                f"The trials, re-mapped, do not agree with {averages} (median correlation of reliable electrodes "
                f"{agreement:.2f}): the mapping or one of the files is another monkey's; lay down those that belong "
                "together."
            )


def assemble(spec: TVSDRecordings, monkey: Monkey, images: list[int], path: Path, mapping: Path) -> Made:
    """The trials that showed the images at rows `images` of the spec's split, in the spec's windows.

    Means and reliability come from the test images, whichever split is asked for. Trials that were not correct are
    left out and counted. Raises InputError where a file does not fit, or no trial is left.
    """
    areas = np.array(area_of(monkey))
    names = list(dict.fromkeys(areas))
    recorded = read_mapping(mapping, len(areas))
    windows = [
        {area: spec.windows.get(area, WINDOWS[area]) for area in names},
        *({area: (float(start), float(end)) for area in names} for start, end in spec.time_bins),
    ]
    with open_trials(path) as file:
        table = read_table(file, path)
        if file["ALLMUA"].shape[2] != len(areas):
            raise InputError(
                f"ALLMUA of {path} holds {file['ALLMUA'].shape[2]} channels; expected {len(areas)}, one an electrode."
            )
        split = table.test if spec.split == "test" else table.train
        place_of = np.full(max(int(split.max(initial=-1)), max(images)) + 1, -1)
        place_of[images] = np.arange(len(images))
        wanted = (split >= 0) & (place_of[split] >= 0)
        tested = (table.test >= 0) & table.correct
        rows = np.flatnonzero((wanted & table.correct) | tested)
        if not (wanted & table.correct).any():
            raise InputError(f"{path} holds no correct trial with an image that was asked for; give others.")
        means, squares = _read(spec, file, windows, names, areas, recorded, rows)
        times = np.asarray(file["tb"][:]).ravel()
    of_tests, day = tested[rows], table.day[rows]
    if spec.normalise == "day":
        points = np.array([((times > windows[0][a][0]) & (times <= windows[0][a][1])).sum() for a in areas])
        means = _normalised(means, squares, day, of_tests, points)
    means = means.astype(np.float32)
    tests = table.test[rows[of_tests]]
    repeated = _by_repetition(means[0][of_tests], np.unique(tests, return_inverse=True)[1])
    whole = repeated[~np.isnan(repeated).all(axis=2).any(axis=1)]  # repetitions of all test images
    reliability = pair_reliability(whole) if len(whole) > 1 else np.full(len(areas), np.nan)
    chosen = wanted[rows]
    order = place_of[split[rows[chosen]]]
    ids = np.full(_by_repetition(means[0][chosen][:, :1], order, len(images)).shape[:2], "", dtype=object)
    ids[repetition_index(order), order] = table.ids[rows[chosen]]
    wrong = int((wanted & ~table.correct).sum())
    return Made(
        data=_by_repetition(means[0][chosen], order, len(images)),
        responses=Responses(means[0], reliability, repeat_variance(repeated)),
        trial_ids=ids.astype(str),
        binned=np.stack([_by_repetition(one[chosen], order, len(images)) for one in means[1:]])
        if spec.time_bins
        else None,
        dropped=(f"{wrong} of {int(wanted.sum())} trials, which were not correct",) if wrong else (),
    )


def _read(
    spec: TVSDRecordings,
    file: object,
    windows: list[dict[str, tuple[float, float]]],
    names: list[str],
    areas: NDArray[np.str_],
    recorded: NDArray[np.int_],
    rows: NDArray[np.int_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means [window, row, electrode] and sums of squares [row, electrode] of the trials at `rows`, block by block."""
    channels = {area: recorded[areas == area] for area in names}
    means = np.empty((len(windows), len(rows), len(areas)))
    squares = np.empty((len(rows), len(areas)))
    done = 0
    for here, mean, square in window_means(file, windows, channels, rows, spec.block_megabytes * 2**20):
        means[:, done : done + len(here)], squares[done : done + len(here)] = mean, square
        done += len(here)
    return means, squares


def _normalised(
    means: NDArray[np.float64],
    squares: NDArray[np.float64],
    day: NDArray[np.int_],
    tested: NDArray[np.bool_],
    points: NDArray[np.int_],
) -> NDArray[np.float64]:
    """Means less those of the day's test trials, in their standard deviations; NaN on days without test trials, and
    for electrodes that did not vary."""
    centre, spread = day_statistics(means[0][tested], squares[tested], day[tested], points)
    for one in np.unique(day):
        mine = day == one
        with np.errstate(divide="ignore", invalid="ignore"):
            unknown = np.full(means.shape[-1], np.nan)
            means[:, mine] = (means[:, mine] - centre.get(int(one), unknown)) / spread.get(int(one), unknown)
    means[~np.isfinite(means)] = np.nan
    return means


def _mean(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean over repetitions that were shown, [image, electrode], of [rep, image, electrode]."""
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(axis=0, dtype=np.float64) / known.sum(axis=0)


def _by_repetition(values: NDArray[np.floating], order: NDArray[np.int_], n: int | None = None) -> NDArray[np.float32]:
    """Responses [trial, electrode] as [rep, image, electrode], the n-th trial of an image its n-th repetition."""
    place = repetition_index(order)
    shape = (int(place.max(initial=0)) + 1, int(order.max()) + 1 if n is None else n, values.shape[1])
    out = np.full(shape, np.nan, np.float32)
    out[place, order] = values
    return out
