"""Transport: how much of a change at one stage of a network arrives, *as it was*, at a later one.

With J = d x_k / d x_j at an image, v random in all tokens and dimensions, and P v what v becomes on the skip path alone
(v itself within one basis; through the projection shortcuts where the basis changes):

    t = E[(P v)' J v] / E|P v|^2      identity-aligned gain: streams keep it near 1, chains lose it in one step
    w = E|J v|^2 / E|v|^2             total gain
    A = E[(P v)' J v]^2 / (E|P v|^2 E|J v|^2)     aligned share of what arrives; t^2 / w where P is the identity

t near 1 is what an architecture with skips gives, trained or not. It is shown for untrained copies, and never
subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError, InputError
from bridge.streams import Site

if TYPE_CHECKING:
    import torch

    from bridge.models.base import Backbone

Array = NDArray[np.float64]
ERROR = 0.02
"""The standard error of t that the number of random vectors is chosen for."""


@dataclass(frozen=True)
class Products:
    """What the random vectors of each image give, sums over its vectors [n_x]: (P v)'J v, |P v|^2, |J v|^2, |v|^2."""

    aligned: Array
    carried: Array
    arrived: Array
    sent: Array

    def __add__(self, other: Products) -> Products:
        parts = ("aligned", "carried", "arrived", "sent")
        return Products(*(getattr(self, name) + getattr(other, name) for name in parts))


@dataclass(frozen=True)
class Transported:
    """t, w and A between two sites; `t_se` over images. NaN where nothing can be carried or nothing arrives."""

    t: float
    t_se: float
    w: float
    aligned_share: float


def transported(products: Products) -> Transported:
    """t, w and A from the products of images: ratios of sums, the error of t by the delta method over images."""
    n = len(products.aligned)
    carried, arrived, sent = (float(part.mean()) for part in (products.carried, products.arrived, products.sent))
    w = arrived / sent if sent > 0 else float("nan")
    if carried <= 0:
        return Transported(float("nan"), float("nan"), w, float("nan"))
    t = float(products.aligned.mean()) / carried
    errors = (products.aligned - t * products.carried) / carried
    se = float(np.sqrt((errors**2).sum() / max(n - 1, 1) / n)) if n > 1 else float("nan")
    share = float(products.aligned.mean()) ** 2 / (carried * arrived) if arrived > 0 else float("nan")
    return Transported(t, se, w, share)


def vectors_needed(w: float, dimensions: int, images: int, error: float = ERROR) -> int:
    """Random vectors an image that give t a standard error of `error`: n_x n_v >= 2 w / (d error^2), at least 1.

    `dimensions` d are tokens x width: v moves all of them. The error from the choice of images comes on top.
    """
    return max(1, ceil(2 * w / (dimensions * error**2) / images))


# ----------------------------------------------------------------------------------------------------- which sites


def carried_through(backbone: Backbone, source: str, target: str) -> bool | None:
    """Whether directions of `source` mean something at `target`: True within one basis, False where they have to be
    carried through projection shortcuts, None where they cannot be (a block between passes nothing on, or has a
    non-linearity after its sum)."""
    first, last = backbone.sites[source], backbone.sites[target]
    if first.basis == last.basis:
        return True
    between = backbone.blocks[first.block + (first.kind != "resid_pre") : last.block + 1]
    return None if any(block.plain or block.act for block in between) else False


def furthest(backbone: Backbone, source: str, targets: Sequence[str]) -> str | None:
    """The last of the targets (in the order of the network) behind `source` that its directions can be carried to."""
    order = list(backbone.sites)
    behind = [name for name in targets if order.index(name) > order.index(source)]
    return next((name for name in reversed(behind) if carried_through(backbone, source, name) is not None), None)


def distance(first: Site, last: Site) -> int:
    """Blocks between two sites of the stream."""
    return last.block - first.block + (first.kind == "resid_pre")


# ---------------------------------------------------------------------------------------------------- measuring


def stream_products(
    backbone: Backbone, inputs: Any, source: str, targets: Sequence[str], vectors: int, seed: int
) -> dict[str, Products]:
    """Products of Gaussian vectors sent from `source` at a prepared batch, by target.

    Targets that the source's directions cannot be carried to have carried = aligned = 0 (their w is known). Raises
    ConfigError for targets that do not come after the source.
    """
    import torch

    from bridge.interventions import block_off
    from bridge.jacobians import jacobian_vector_products

    site = backbone.sites[source]
    count = len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)
    generator = torch.Generator().manual_seed(seed)
    ways = {name: carried_through(backbone, source, name) for name in targets}
    projected = [name for name, way in ways.items() if way is False]
    blocks = range(site.block + (site.kind != "resid_pre"), len(backbone.blocks))
    found: dict[str, Products] = {}
    for _ in range(vectors):
        v = torch.randn((1, count, site.tokens, site.width), generator=generator)
        moved = jacobian_vector_products(backbone, inputs, source, list(targets), v)
        skipped: dict[str, torch.Tensor] = {}
        if projected:
            with block_off(backbone, list(blocks)):
                skipped = jacobian_vector_products(backbone, inputs, source, projected, v)
        for name in targets:
            kept = v[0] if ways[name] else skipped[name][0] if ways[name] is False else None
            one = products_of(v[0].numpy(), moved[name][0].numpy(), None if kept is None else kept.numpy())
            found[name] = found[name] + one if name in found else one
    return found


def products_of(sent: NDArray, arrived: NDArray, carried: NDArray | None) -> Products:
    """The products of one vector an image: v [n_x, ...], J v and P v [n_x, ...] (None: cannot be carried)."""

    def dot(one: NDArray, other: NDArray) -> Array:
        axes = tuple(range(1, one.ndim))
        return (one.astype(np.float64) * other).sum(axis=axes)

    nothing = np.zeros(len(sent))
    return Products(
        nothing if carried is None else dot(carried, arrived),
        nothing if carried is None else dot(carried, carried),
        dot(arrived, arrived),
        dot(sent, sent),
    )


def stream_transport(
    backbone: Backbone,
    inputs: Any,
    sources: Sequence[str],
    targets: Sequence[str],
    *,
    seed: int = 0,
    vectors: int = 1,
    most: int = 16,
) -> dict[tuple[str, str], Transported]:
    """Transport from every source to every target behind it, over the images of a prepared batch.

    Vectors are added, up to `most` an image, until their number is what a standard error of .02 asks for at the w that
    is found. Raises InputError for a batch of fewer than two images.
    """
    count = len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)
    if count < 2:
        raise InputError(
            f"Transport was asked for at {count} image(s); give at least two, since its error is over them."
        )
    order = list(backbone.sites)
    found: dict[tuple[str, str], Transported] = {}
    for number, source in enumerate(sources):
        behind = [name for name in targets if order.index(name) > order.index(source)]
        if not behind:
            continue
        products = stream_products(backbone, inputs, source, behind, vectors, seed + 1000 * number)
        site = backbone.sites[source]
        largest = max(transported(one).w for one in products.values())
        wanted = min(most, vectors_needed(largest, site.tokens * site.width, count))
        if wanted > vectors:
            further = stream_products(backbone, inputs, source, behind, wanted - vectors, seed + 1000 * number + 1)
            products = {name: products[name] + further[name] for name in behind}
        found |= {(source, name): transported(one) for name, one in products.items()}
    return found


def bypass_ratios(w: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    """w_jk / (w_{j,k-1} w_{k-1,k}) by (j, k) with j < k - 1, from the gains w between *writes* by (j, k).

    Large where most of what goes from j to k passes k - 1 by. Chains do not give 1, though: what arrives at k - 1 is
    not isotropic, as the vectors are that were sent from there. Hold it against a plain twin's.
    """
    found: dict[tuple[int, int], float] = {}
    for (j, k), gain in w.items():
        near, last = w.get((j, k - 1)), w.get((k - 1, k))
        if j < k - 1 and near is not None and last is not None and near * last > 0:
            found[j, k] = gain / (near * last)
    return found


def mask_traces(values: Sequence[NDArray]) -> Array:
    """What the identity path alone would transport through ReLUs after the sums: the share of (image, token, unit) that
    is active at every block so far, cumulatively, [blocks].

    `values` are the stream after each block, [n, tokens, d] each, of one basis, from the first block behind the source.
    """
    if len({value.shape for value in values}) > 1:
        raise InputError("The blocks' values differ in shape, so they share no basis; give those of one stage.")
    shares, active = [], None
    for value in values:
        active = value > 0 if active is None else active & (value > 0)
        shares.append(float(active.mean()))
    return np.array(shares)


# ------------------------------------------------------------------------------------------------------- features


def feature_products(
    backbone: Backbone, inputs: Any, source: str, target: str, directions: NDArray, *, images: int = 4, seed: int = 0
) -> Products:
    """The products of directions d_f [m, d] sent from `source` to `target`, [images, m]: each meets so many images.

    A direction is added at all tokens with random signs, so that what other tokens send averages out; every pass
    serves a batch of directions, an image each. Raises ConfigError where directions cannot be carried to the target.
    """
    import torch

    from bridge.interventions import block_off
    from bridge.jacobians import jacobian_vector_products

    way = carried_through(backbone, source, target)
    if way is None:
        raise ConfigError(f"Directions of {source} cannot be carried to {target}: nothing is passed on between them.")
    rows, site = torch.as_tensor(np.asarray(directions), dtype=torch.float32), backbone.sites[source]
    batch, m = len(inputs), len(rows)
    blocks = list(range(site.block + (site.kind != "resid_pre"), len(backbone.blocks)))
    generator = torch.Generator().manual_seed(seed)
    found = np.zeros((4, images, m))
    for turn in range(images):
        for start in range(0, m, batch):
            part = rows[start : start + batch]
            signs = torch.randint(0, 2, (len(part), site.tokens, 1), generator=generator) * 2.0 - 1
            # Which image a direction meets changes from turn to turn.
            place = (torch.arange(len(part)) + turn * max(batch // images, 1)) % batch
            v = torch.zeros(batch, site.tokens, site.width)
            v[place] = signs * part[:, None]
            moved = jacobian_vector_products(backbone, inputs, source, target, v[None])[target][0]
            kept = v
            if not way:
                with block_off(backbone, blocks):
                    kept = jacobian_vector_products(backbone, inputs, source, target, v[None])[target][0]
            one = products_of(*(value[place].numpy() for value in (v, moved, kept)))
            columns = slice(start, start + len(part))
            found[:, turn, columns] = one.aligned, one.carried, one.arrived, one.sent
    return Products(*found)


def feature_transport(products: Products) -> tuple[Array, Array]:
    """t_f = d_f' J d_f / |d_f|^2 and its standard error over images, ([m], [m]), from `feature_products`.

    t_f - 1 over one block is the causal form of a feature's edit slope.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        each = products.aligned / products.carried
    images = len(each)
    se = each.std(axis=0, ddof=1) / np.sqrt(images) if images > 1 else np.full(each.shape[1], np.nan)
    return each.mean(axis=0), se


def feature_cosines(products: Products) -> Array:
    """The cosine of what arrives of each direction with the direction as the skip path carries it, [m]: size does not
    count. NaN where nothing arrives."""
    aligned, carried, arrived = (part.sum(axis=0) for part in (products.aligned, products.carried, products.arrived))
    with np.errstate(invalid="ignore", divide="ignore"):
        return aligned / np.sqrt(carried * arrived)
