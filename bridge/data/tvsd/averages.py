"""The normalised averages of TVSD, `THINGS_normMUA.mat` (MATLAB 7.3: h5py sees the axes reversed)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bridge.data.tvsd.images import Split
from bridge.errors import InputError

if TYPE_CHECKING:
    import h5py


class Responses(NamedTuple):
    """Responses [rep, image, electrode] in physical order, and what is known of each electrode."""

    data: NDArray[np.float32]
    reliability: NDArray[np.float64]
    """Mean correlation over images between repetitions, [electrode]."""
    noise_variance: NDArray[np.float64]
    """Variance over repetitions of one test image, mean over test images, [electrode]."""


def read_averages(path: Path, split: Split, electrodes: int) -> Responses:
    """Responses of a split from the normalised file: [1, 22248, electrode] or [30, 100, electrode].

    Reliability is the mean of the file's `reliab` over pairs of repetitions. Raises InputError for a file that is
    none, or of another number of electrodes.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            repeated = file["test_MUA_reps"][:]
            data = repeated if split == "test" else file["train_MUA"][:][None]
            reliability = mean_reliability(file["reliab"], electrodes)
    except (OSError, KeyError) as error:
        why = " ".join(str(error).split())[:150]
        raise InputError(f"{path} is not TVSD's THINGS_normMUA.mat ({why}); fetch it again.") from error
    if data.shape[-1] != electrodes or repeated.shape[-1] != electrodes:
        raise InputError(
            f"{path} has responses of shape {data.shape} as h5py reads them; expected [rep, image, {electrodes}]."
        )
    return Responses(data.astype(np.float32), reliability, repeat_variance(repeated))


def mean_reliability(dataset: h5py.Dataset, electrodes: int) -> NDArray[np.float64]:
    """The mean over pairs of repetitions, whichever axis they are on, [electrode]."""
    values = dataset[:]
    axis = 0 if values.shape[-1] == electrodes else 1
    return np.asarray(values.mean(axis=axis), np.float64).ravel()


def repeat_variance(repeated: NDArray[np.floating]) -> NDArray[np.float64]:
    """Variance over repetitions (n - 1), mean over images, of responses [rep, image, electrode]; NaN where no image
    has two."""
    known = np.isfinite(repeated)
    shown = known.sum(axis=0)
    values = np.where(known, repeated, 0).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(known, (values - values.sum(axis=0) / shown) ** 2, 0).sum(axis=0)
        variance = np.where(shown > 1, squares / (shown - 1), 0)
        return variance.sum(axis=0) / (shown > 1).sum(axis=0)


def pair_reliability(repeated: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean over pairs of repetitions of their Pearson correlation over images, [electrode], of [rep, image, electrode].

    With z the repetitions standardised over m images, sum_{i != j} r_ij = mean_m (sum_i z_i)^2 - R. Equal to the mean
    of `reliab`, which the authors compute as 1 - pdist(., 'correlation'). NaN where a repetition is constant, or where
    there is only one.
    """
    values = repeated.astype(np.float64)
    reps = len(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
        return ((z.sum(axis=0) ** 2).mean(axis=0) - reps) / (reps * (reps - 1))
