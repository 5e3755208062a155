"""Overlap in the weights: does a neuron of a block write against the direction that it reads?

cos(w_in, w_out) of every hidden neuron, -1 for one that takes away what it sees. The norms that stand before its two
layers are folded into the reading weights. Of convolutions it is the overlap at one and the same place: the write is
turned by 180 degrees, since what is read at an offset p comes back there by the write at -p.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from bridge.models.base import Backbone

Array = NDArray[np.float64]
DRAWS = 200


@dataclass(frozen=True)
class Overlap:
    """cos(w_in, w_out) of each neuron [h], their mean and the share below -.3, and both under random rotations [draw].

    p: the share of rotations (with the real one) whose mean is as low.
    """

    cosines: Array
    mean: float
    share: float
    null_means: Array
    null_shares: Array
    p: float


def write_read_overlap(
    reads: NDArray, writes: NDArray, *, draws: int = DRAWS, seed: int = 0, below: float = -0.3
) -> Overlap:
    """Overlap of reading weights [h, d] (or [h, d, taps]) with writing weights of the same shape.

    The null turns all reading weights by one random rotation of the stream's d dimensions: norms and angles among them
    stay, their relation to the writing weights is lost. Neurons without any weight are left out. Raises InputError for
    arrays of two shapes or without such neurons.
    """
    reads, writes = np.asarray(reads, np.float64), np.asarray(writes, np.float64)
    if reads.shape != writes.shape or reads.ndim not in (2, 3):
        raise InputError(
            f"Reading weights are {list(reads.shape)}, writing ones {list(writes.shape)}; give [h, d] each."
        )
    reads, writes = (part.reshape(*part.shape[:2], -1) for part in (reads, writes))
    norms = [np.sqrt((part**2).sum(axis=(1, 2))) for part in (reads, writes)]
    alive = (norms[0] > 0) & (norms[1] > 0)
    if not alive.any():
        raise InputError("No neuron has both reading and writing weights.")
    reads = reads[alive] / norms[0][alive, None, None]
    writes = writes[alive] / norms[1][alive, None, None]
    cosines = (reads * writes).sum(axis=(1, 2))
    rng = np.random.default_rng(seed)
    means, shares = np.empty(draws), np.empty(draws)
    # [d, h, taps]: one product turns all weights.
    reads, writes = (np.ascontiguousarray(part.transpose(1, 0, 2)) for part in (reads, writes))
    for draw in range(draws):
        turned = rotation(len(reads), rng) @ reads.reshape(len(reads), -1)
        drawn = (turned.reshape(reads.shape) * writes).sum(axis=(0, 2))
        means[draw], shares[draw] = drawn.mean(), (drawn < below).mean()
    p = float((1 + (means <= cosines.mean()).sum()) / (1 + draws))
    return Overlap(cosines, float(cosines.mean()), float((cosines < below).mean()), means, shares, p)


def rotation(d: int, rng: np.random.Generator) -> Array:
    """A random orthogonal matrix [d, d], uniform (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    return q * np.sign(np.diag(r))


def block_weights(backbone: Backbone, block: int) -> tuple[Array, Array] | None:
    """(reading, writing) weights of a block's hidden neurons, [h, d] or [h, d, taps] each; None for a block of another
    form than two layers of weights (its MLP, or two convolutions), whose input and output have the stream's width.

    A norm before the first layer (as wide as the stream) scales its columns, one between the layers its rows.
    """
    import torch
    from torch import nn

    where = backbone.blocks[block]
    root = backbone.module.get_submodule(where.module)
    branch = backbone.module.get_submodule(where.mlp) if where.mlp is not None else root
    kinds = (nn.Linear, nn.Conv2d)
    skipped = backbone.module.get_submodule(where.skip) if where.skip is not None else None
    own = [layer for layer in branch.modules() if isinstance(layer, kinds) and layer is not skipped]
    if len(own) != 2:
        return None
    first, last = own
    if first.weight.shape[0] != last.weight.shape[1] or first.weight.shape[1] != last.weight.shape[0]:
        return None
    if isinstance(first, nn.Conv2d) and (first.stride != (1, 1) or first.kernel_size != last.kernel_size):
        return None
    with torch.no_grad():
        reads = first.weight.double().flatten(2) if first.weight.ndim == 4 else first.weight.double()
        turned = last.weight.double().flip((2, 3)).flatten(2) if last.weight.ndim == 4 else last.weight.double()
        writes = turned.transpose(0, 1)
        before, between = _norms(root, first, last)
        if before is not None:
            reads = reads * before.view(1, -1, *[1] * (reads.ndim - 2))
        if between is not None:
            reads = reads * between.view(-1, *[1] * (reads.ndim - 1))
    return reads.numpy(), writes.numpy()


def _norms(root: nn.Module, first: nn.Module, last: nn.Module) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The scales of the norm right before the first layer and of the one between the two, in the order of modules."""
    layers = [layer for layer in root.modules() if not list(layer.children())]
    start, end = layers.index(first), layers.index(last)
    before = [layer for layer in layers[:start] if _scale(layer) is not None]
    between = [layer for layer in layers[start + 1 : end] if _scale(layer) is not None]
    return (_scale(before[-1]) if before else None), (_scale(between[-1]) if between else None)


def _scale(layer: nn.Module) -> torch.Tensor | None:
    """What a norm multiplies each channel by (of layer norms, their gain); None for other layers."""
    from torch import nn

    if isinstance(layer, nn.BatchNorm2d) and layer.running_var is not None:
        gain = layer.weight.double() if layer.affine else 1.0
        return gain / (layer.running_var.double() + layer.eps).sqrt()
    if isinstance(layer, nn.LayerNorm) and layer.elementwise_affine:
        return layer.weight.double()
    return None


if TYPE_CHECKING:
    import torch
