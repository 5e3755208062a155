"""Single trials of TVSD, `THINGS_MUA_trials.mat`: about 58 GB a monkey, read in blocks of bounded size.

`ALLMUA` is [electrode, trial, time point] in MATLAB and [time point, trial, electrode] as h5py reads it, its channels
in the order of the recording system. The authors (norm_MUA.m) average time points with start < t <= end, normalise by
mean and standard deviation of the test trials of each day (over trials and time points of the window), and re-map:
physical electrode i is recorded channel mapping(i). The same is done here. (They take a channel's window from the area
that stands at mapping(channel), which is its electrode's area if the mapping is its own inverse; here it always is.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

if TYPE_CHECKING:
    import h5py

Window = tuple[float, float]
BLOCK_BYTES = 2**28
"""How much of a file is in memory at a time."""


@dataclass(frozen=True)
class TrialTable:
    """`ALLMAT`, one row a trial: which image was shown (0-based row of its split, -1 in the other), and when."""

    train: NDArray[np.int_]
    test: NDArray[np.int_]
    number: NDArray[np.int_]
    day: NDArray[np.int_]
    correct: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.day)

    @property
    def ids(self) -> NDArray[np.str_]:
        """A name for each trial: its day and number."""
        return np.array([f"{day}:{number}" for day, number in zip(self.day, self.number, strict=True)])


def open_trials(path: Path) -> Any:
    """The open file. Raises InputError where it cannot be read."""
    import h5py

    try:
        return h5py.File(path)
    except OSError as error:
        why = " ".join(str(error).split())[:150]
        raise InputError(f"{path} is not TVSD's THINGS_MUA_trials.mat ({why}); lay it down again.") from error


def read_table(file: h5py.File, path: Path) -> TrialTable:
    """The trials of a file. Raises InputError where the table does not fit the responses.

    Columns are trial, train image, test image, repetition (reshuffled: useless), position in a sequence, where there
    are seven also whether it was correct, and the day.
    """
    try:
        columns = np.asarray(file["ALLMAT"][:])
        shape = file["ALLMUA"].shape
        times = file["tb"].size
    except KeyError as error:
        raise InputError(f"{path} is not TVSD's THINGS_MUA_trials.mat ({error.args[0]}).") from error
    if columns.ndim != 2 or columns.shape[0] not in (6, 7):
        raise InputError(f"ALLMAT of {path} has shape {columns.shape} as h5py reads it; expected [6 or 7, trial].")
    if len(shape) != 3 or shape[:2] != (times, columns.shape[1]):
        raise InputError(
            f"ALLMUA of {path} has shape {shape} as h5py reads it; expected [{times} time points, {columns.shape[1]} "
            "trials, electrode]."
        )
    whole = columns.astype(int)
    correct = whole[5] == 1 if len(whole) == 7 else np.ones(whole.shape[1], bool)
    return TrialTable(whole[1] - 1, whole[2] - 1, whole[0], whole[-1], correct)


def read_mapping(path: Path, electrodes: int) -> NDArray[np.int_]:
    """For each physical electrode the 0-based channel of the recording system, [electrode].

    Raises InputError unless the file holds each channel once.
    """
    import h5py
    import scipy.io

    try:
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                values = np.asarray(file["mapping"][:])
        else:
            values = scipy.io.loadmat(path, variable_names="mapping")["mapping"]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is no electrode mapping of TVSD ({error}); fetch it again.") from error
    mapping = values.ravel().astype(int) - 1
    if len(mapping) != electrodes or not np.array_equal(np.sort(mapping), np.arange(electrodes)):
        raise InputError(f"The mapping in {path} does not name each of the channels 1 to {electrodes} once.")
    return mapping


def window_means(
    file: h5py.File,
    windows: Sequence[Mapping[str, Window]],
    channels: Mapping[str, NDArray[np.int_]],
    rows: NDArray[np.int_],
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[tuple[NDArray[np.int_], NDArray[np.float64], NDArray[np.float64]]]:
    """Blocks of (rows, means [window, row, electrode], squares [row, electrode]) of the trials at sorted `rows`.

    `windows` give (start, end) by area; `channels` the recorded channels of each area's electrodes, areas in physical
    order. `squares` are sums over the time points of the first window of squared deviations from the trial's mean.
    Only `block_bytes` of the file are in memory at a time, and blocks without a wanted trial are not read.
    Raises InputError for a window without a time point.
    """
    times = np.asarray(file["tb"][:]).ravel()
    inside = [{area: (times > start) & (times <= end) for area, (start, end) in by.items()} for by in windows]
    for by, asked in zip(inside, windows, strict=True):
        for area, mask in by.items():
            if not mask.any():
                start, end = asked[area]
                raise InputError(
                    f"No time point of the trials lies in {start:g}-{end:g} ms (theirs: {times[0]:g} to "
                    f"{times[-1]:g} ms); give another window for {area}."
                )
    used = np.flatnonzero(np.any([mask for by in inside for mask in by.values()], axis=0))
    first, last = used[0], used[-1] + 1
    responses = file["ALLMUA"]
    # Three times: what is read, an area of it in float64, and its deviations.
    each = 3 * 8 * (last - first) * responses.shape[2]
    size = trials_a_block(each, block_bytes, responses.chunks[1] if responses.chunks else 1)
    for begin in range(0, responses.shape[1], size):
        here = rows[(rows >= begin) & (rows < begin + size)]
        if not len(here):
            continue
        low, high = here[0], here[-1] + 1
        values = responses[first:last, low:high]
        means, squares = [], []
        for by in inside:
            of_areas = []
            for area, at in channels.items():
                part = values[np.ix_(by[area][first:last], here - low, at)].astype(np.float64)
                of_areas.append(part.mean(axis=0))
                if by is inside[0]:
                    squares.append(((part - of_areas[-1]) ** 2).sum(axis=0))
            means.append(np.concatenate(of_areas, axis=1))
        yield here, np.stack(means), np.concatenate(squares, axis=1)


def trials_a_block(trial_bytes: int, block_bytes: int, chunk: int) -> int:
    """How many trials are read at a time: what fits, in whole chunks of the file where one fits, and at least one."""
    fits = max(block_bytes // trial_bytes, 1)
    return int(fits if fits < chunk else fits // chunk * chunk)


def day_statistics(
    means: NDArray[np.float64], squares: NDArray[np.float64], day: NDArray[np.int_], points: NDArray[np.int_]
) -> tuple[dict[int, NDArray[np.float64]], dict[int, NDArray[np.float64]]]:
    """Mean and standard deviation (n - 1) by day over the test trials and the time points of their window, [electrode].

    From each trial's mean [trial, electrode] and sum of squared deviations from it; `points` are the time points of
    each electrode's window, [electrode].
    """
    mean, deviation = {}, {}
    for one in np.unique(day):
        mine = day == one
        mean[int(one)] = centre = means[mine].mean(axis=0)
        total = squares[mine].sum(axis=0) + points * ((means[mine] - centre) ** 2).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            deviation[int(one)] = np.sqrt(total / (points * mine.sum() - 1))
    return mean, deviation
