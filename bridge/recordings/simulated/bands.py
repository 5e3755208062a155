"""The features that an analyst of a simulated brain would have: S whole, and of C what is not hidden."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from bridge.recordings.simulated.seen import Array
from bridge.recordings.simulated.stream import Stream


class Bands(NamedTuple):
    """`simple` [n, d_s], the whitened energies that S starts from; `complex` [n, d], what each stage's C is without
    trial noise, stages side by side; `hidden`, which of those dimensions the analyst lacks [stage * d_c]."""

    simple: Array
    complex: Array
    hidden: NDArray[np.bool_]


def analyst_bands(
    stream: Stream, hidden: float = 0.0, hide: Literal["random", "coupled"] = "random", seed: int = 0
) -> Bands:
    """The two bands for `banded_ridge` and `unique_share`, with a part of every stage's C hidden.

    `hide` says which dimensions: random ones, or those that S explains best (which no exchangeable null expects). At
    least one of every stage is left. Raises InputError unless 0 <= hidden < 1.
    """
    if not 0 <= hidden < 1:
        raise InputError(f"The hidden part of the complex features is a share from 0 to below 1, not {hidden:g}.")
    rng = np.random.default_rng(seed)
    s = stream.seen.energies.astype(np.float64)
    s = s - s.mean(0)
    columns, left_out = [], []
    for stage in stream.noiseless():
        c = stage.complex[0]
        d = c.shape[1]
        if hide == "coupled":
            centred = c - c.mean(0, dtype=np.float64)
            rest = centred - s @ np.linalg.lstsq(s, centred, rcond=None)[0]
            order = np.argsort((rest**2).mean(0) / (centred**2).mean(0), kind="stable")
        else:
            order = rng.permutation(d)
        gone = np.zeros(d, bool)
        gone[order[: min(round(hidden * d), d - 1)]] = True
        columns.append(c[:, ~gone])
        left_out.append(gone)
    return Bands(stream.seen.energies, np.concatenate(columns, axis=1), np.concatenate(left_out))
