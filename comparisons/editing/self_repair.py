"""Self-repair: if a later block deletes what an earlier one wrote, it has less to delete once the writer is silenced.

For a direction d, a writer's block i and a deleter's block k > i in one basis, at every token

    r = d' (write_i - mean)            what is taken out of the stream by ablating the writer along d
    c = d' (Delta_k,ablated - Delta_k)    how the deleter's output changes

and the repair is the slope of c on r: 0 for a deleter that does not care, eps for one that deletes the share eps of
what it finds (its negative output shrinks), so that 1 - eps of the ablation is left behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.models.base import Backbone

Array = NDArray[np.float64]


def repair(backbone: Backbone, inputs: Any, writer: int, deleter: int, directions: NDArray) -> tuple[Array, Array]:
    """The repair of each direction [m, d] over a prepared batch and its standard error over images: ([m], [m]).

    Each direction is mean-ablated in the writer's output by itself, one pass a direction; NaN where the writer writes
    nothing along it. Raises ConfigError unless the writer comes before the deleter in the same basis.
    """
    from bridge.interventions import ablated
    from bridge.streams import read

    write, delta = f"blocks.{writer}.hook_write", f"blocks.{deleter}.hook_delta"
    sites = backbone.sites
    if delta not in sites or write not in sites or writer >= deleter or sites[write].basis != sites[delta].basis:
        raise ConfigError(
            f"Block {writer} and block {deleter} of {backbone.name} share no basis, so neither repairs the other; "
            "name an earlier and a later block of one stage."
        )
    clean = {name: value.double().numpy() for name, value in read(backbone, inputs, [write, delta]).items()}
    mean = clean[write].mean(axis=(0, 1))
    found, errors = np.full(len(directions), np.nan), np.full(len(directions), np.nan)
    for row, direction in enumerate(np.asarray(directions, np.float64)):
        d = direction / np.linalg.norm(direction)
        with ablated(backbone, write, direction[None], mean=mean):
            after = read(backbone, inputs, [delta])[delta].double().numpy()
        found[row], errors[row] = clustered_slope((clean[write] - mean) @ d, (after - clean[delta]) @ d)
    return found, errors


def clustered_slope(r: Array, c: Array) -> tuple[float, float]:
    """Slope of c on r through the origin, [n, tokens] each, and its standard error, stimuli being independent."""
    size = float((r**2).sum())
    if size < 1e-12:
        return float("nan"), float("nan")
    slope = float((r * c).sum()) / size
    errors = (r * (c - slope * r)).sum(axis=1)
    n = len(r)
    return slope, float(np.sqrt((errors**2).sum() * n / max(n - 1, 1)) / size)
