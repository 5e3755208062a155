"""Changing a network's stream while it runs: ablations, noise, replacement, and how a change travels on.

Every intervention is a context manager on `bridge.streams.tapped`. They compose: those entered first act first where
they meet at one site, and `bridge.streams.read` within them reads the changed network. Directions and means are
plain arrays; replacements are callables. The hooks come off again in every case.

    with skip_off(backbone, [3]), recalibrated_batchnorm(backbone, batches):
        values = read(backbone, inputs, ["blocks.*.hook_resid_post"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bridge.errors import ConfigError, InputError
from bridge.streams import Tap, match_sites, read, run, tapped

if TYPE_CHECKING:
    import torch

    from bridge.models.base import Backbone

    Array = np.ndarray | torch.Tensor
Edit = Callable[["torch.Tensor"], "torch.Tensor"]


# -------------------------------------------------------------------------------------------- blocks and branches


def skip_off(backbone: Backbone, blocks: Sequence[int]) -> AbstractContextManager[None]:
    """These blocks pass nothing on: their sum is f(x) alone. Raises ConfigError for a block that is not there."""
    return tapped(backbone, dict.fromkeys(_names(backbone, blocks, "skip"), _nothing))


def block_off(backbone: Backbone, blocks: Sequence[int]) -> AbstractContextManager[None]:
    """These blocks add nothing: their sum is x (or its projection) alone, as in Veit et al. 2016, section 4.

    Raises ConfigError for a block that is not there.
    """
    return tapped(backbone, dict.fromkeys(_names(backbone, blocks, "write"), _nothing))


def _nothing(value: torch.Tensor) -> torch.Tensor:
    return value.new_zeros(value.shape)


def _names(backbone: Backbone, blocks: Sequence[int], kind: str) -> list[str]:
    for block in blocks:
        if not 0 <= block < len(backbone.blocks):
            raise ConfigError(f"{backbone.name} has no block {block}; its blocks are 0 to {len(backbone.blocks) - 1}.")
    return [f"blocks.{block}.hook_{kind}" for block in blocks]


# -------------------------------------------------------------------------------------------- sites and directions


def ablated(
    backbone: Backbone,
    sites: str | Sequence[str],
    directions: Array | None = None,
    mean: Array | Mapping[str, Array] | float = 0.0,
) -> AbstractContextManager[None]:
    """A site's value, or its part in the span of some directions, is put to `mean`: x - P (x - mean).

    `sites` are names or globs. `directions` [m, d] need be neither orthogonal nor of unit length; P projects on
    their span, and is the identity without them. `mean` is 0 (zero-ablation), or an array [d] or [tokens, d] (mean-
    ablation, see `site_means`), or one such array a site.

    Raises ConfigError for an unknown site, InputError for arrays of another width.
    """
    taps: dict[str, Tap] = {}
    for name in match_sites(sites, list(backbone.sites)):
        width = backbone.sites[name].width
        basis = None if directions is None else orthonormal(directions)
        centre = mean[name] if isinstance(mean, Mapping) else mean
        for what, array in (("directions", basis), ("mean", centre)):
            shape = np.shape(array) if array is not None else ()
            if shape and shape[-1] != width:
                raise InputError(
                    f"The {what} for {name} have {shape[-1]} values where the site has {width}; give arrays of this "
                    "site's width."
                )
        taps[name] = _ablation(basis, centre)
    return tapped(backbone, taps)


def _ablation(basis: np.ndarray | None, mean: Any) -> Tap:
    def tap(value: torch.Tensor) -> torch.Tensor:
        centre = _like(mean, value)
        if basis is None:
            return centre.expand_as(value).clone()
        axes = _like(basis, value)
        return value - ((value - centre) @ axes.T) @ axes

    return tap


def orthonormal(directions: Array) -> np.ndarray:
    """An orthonormal basis [r, d] of the span of `directions` [m, d]; r is their rank (singular values above
    1e-6 of the largest). Raises InputError for an array that is not [m, d] or holds no finite, non-zero direction.
    """
    array = np.atleast_2d(np.asarray(directions, dtype=np.float64))
    if array.ndim != 2 or not np.isfinite(array).all() or not array.any():
        raise InputError(
            f"Directions of shape {list(np.shape(directions))} are no finite, non-zero array [m, d]; give one row a "
            "direction."
        )
    _, singular, right = np.linalg.svd(array, full_matrices=False)
    return right[singular > 1e-6 * singular[0]]


def noisy(
    backbone: Backbone, sites: str | Sequence[str], size: float, seed: int, *, relative: bool = False
) -> AbstractContextManager[None]:
    """Independent Gaussian noise of standard deviation `size` is added to every value of the sites.

    With `relative`, `size` counts in standard deviations of the site's values over the batch. Each site draws from
    its own generator, seeded when the context is made and running on from pass to pass: the same batches in the same
    order get the same noise, on any device. Raises ConfigError for an unknown site.
    """
    import torch

    def noise(generator: torch.Generator) -> Tap:
        def tap(value: torch.Tensor) -> torch.Tensor:
            drawn = torch.randn(value.shape, generator=generator).to(value)
            return value + drawn * (size * value.std() if relative else size)

        return tap

    names = match_sites(sites, list(backbone.sites))
    children = np.random.SeedSequence(seed).spawn(len(names))
    seeds = [int(child.generate_state(1, np.uint64)[0]) >> 1 for child in children]
    return tapped(
        backbone,
        {name: noise(torch.Generator().manual_seed(one)) for name, one in zip(names, seeds, strict=True)},
    )


def replaced(
    backbone: Backbone,
    edits: Mapping[str, Edit],
    *,
    reconstruct: Mapping[str, Edit] | None = None,
    errors: Mapping[str, torch.Tensor] | None = None,
) -> AbstractContextManager[None]:
    """A site's value x becomes `edits[site](x)`, [batch, tokens, d] to the same shape.

    With a sparse code's encode-edit-decode as the edit, what the code cannot express is lost unless an error term is
    added: with `reconstruct`, x - reconstruct(x) of the run at hand (the edit alone then acts); with `errors`, the
    tensors [batch, tokens, d] of a clean run, from `reconstruction_errors` (Marks et al. 2024, section 2: the error
    is a node of its own, held at its clean value). Sites without an entry there get none.

    Raises ConfigError for an unknown site, and for a site with both.
    """
    reconstruct, errors = reconstruct or {}, errors or {}
    for name in {*reconstruct, *errors}:
        if name not in edits or (name in reconstruct and name in errors):
            raise ConfigError(
                f"The error term of {name} belongs to no edit or is given twice; give each edited site `reconstruct` "
                "or `errors`, not both."
            )

    def tap_of(name: str) -> Tap:
        def tap(value: torch.Tensor) -> torch.Tensor:
            new = edits[name](value)
            if new.shape != value.shape:
                raise InputError(
                    f"The edit of {name} gives {list(new.shape)} for {list(value.shape)}; return the same shape."
                )
            if name in reconstruct:
                return new + (value - reconstruct[name](value))
            return new + errors[name].to(value) if name in errors else new

        return tap

    return tapped(backbone, {name: tap_of(name) for name in edits})


def reconstruction_errors(backbone: Backbone, inputs: Any, reconstruct: Mapping[str, Edit]) -> dict[str, torch.Tensor]:
    """x - reconstruct(x) of each site in a clean run of a prepared batch, [batch, tokens, d]."""
    values = read(backbone, inputs, reconstruct)
    return {name: value - reconstruct[name](value) for name, value in values.items()}


def site_means(
    backbone: Backbone, batches: Iterable[Any], sites: str | Sequence[str], *, per_token: bool = False
) -> dict[str, np.ndarray]:
    """The mean value of each site over prepared batches, float64 [d], or [tokens, d] if `per_token`.

    Padding of texts does not count. Raises InputError when there are no batches.
    """
    names = match_sites(sites, list(backbone.sites))
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, np.ndarray] = {}
    for batch in batches:
        mask = backbone.token_mask(batch)
        for name, value in read(backbone, batch, names).items():
            weights = np.ones(tuple(value.shape[:2])) if mask is None else mask.cpu().double().numpy()
            sums[name] = sums.get(name, 0.0) + np.einsum("btd,bt->td", value.double().cpu().numpy(), weights)
            counts[name] = counts.get(name, 0.0) + weights.sum(axis=0)
    if not sums:
        raise InputError("No batches were given to take means over; give at least one.")
    overall = {name: sums[name].sum(axis=0) / counts[name].sum() for name in names}
    if not per_token:
        return overall
    # A place that is padding in every text has no mean of its own.
    return {
        name: np.where(counts[name][:, None] > 0, sums[name] / np.maximum(counts[name], 1)[:, None], overall[name])
        for name in names
    }


# -------------------------------------------------------------------------------------------- how a change travels


def jacobian_vector_products(
    backbone: Backbone,
    inputs: Any,
    source: str,
    targets: str | Sequence[str],
    vectors: Array,
    *,
    method: Literal["auto", "forward", "double-backward"] = "auto",
) -> dict[str, torch.Tensor]:
    """J v for J = d target / d source at a prepared batch: [n_v, batch, tokens, d] of each target.

    `source` is one site. `vectors` are [n_v, batch, tokens, d] of it, or broadcast to that ([n_v, 1, 1, d] moves all
    tokens of all images alike). The source's value is the free variable: what reaches a target past it does not count
    (a target in the same block is reached through the site's own branch alone). Equals
    torch.autograd.functional.jvp.

    `forward` carries the tangent along one pass a vector, up to the last target; `double-backward` differentiates
    the transposed product, for networks with operations that have no forward derivative; `auto` takes the first that
    works. Attention runs by its plain formula meanwhile, since fused kernels have no such derivatives.

    Raises ConfigError for an unknown site or a target that does not come after the source, InputError for vectors
    of another shape.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    order = list(backbone.sites)
    start = match_sites(source, order)[0]
    names = match_sites(targets, order)
    if early := [name for name in names if order.index(name) <= order.index(start)]:
        raise ConfigError(f"{early[0]} does not come after {start}; name targets further on in the network.")
    if backbone.sites[start].kind == "delta":
        raise ConfigError(f"{start} is a difference that the network does not use; take the write of its block.")
    vectors = _vectors(vectors, backbone, start)
    with sdpa_kernel(SDPBackend.MATH):
        if method == "double-backward":
            return _double_backward(backbone, inputs, start, names, vectors)
        try:
            return _forward(backbone, inputs, start, names, vectors)
        except (NotImplementedError, RuntimeError) as error:
            lacking = isinstance(error, NotImplementedError) or "forward AD" in str(error)
            if method == "forward" or not lacking:
                raise
            return _double_backward(backbone, inputs, start, names, vectors)


def _vectors(vectors: Array, backbone: Backbone, source: str) -> torch.Tensor:
    import torch

    array = torch.as_tensor(vectors)
    site = backbone.sites[source]
    if array.ndim != 4 or array.shape[3] != site.width or array.shape[2] not in (1, site.tokens):
        raise InputError(
            f"Vectors of shape {list(array.shape)} do not fit {source}; give [n_v, batch, {site.tokens}, {site.width}]."
        )
    return array


def _forward(
    backbone: Backbone, inputs: Any, source: str, targets: Sequence[str], vectors: torch.Tensor
) -> dict[str, torch.Tensor]:
    import torch
    from torch.autograd import forward_ad

    found: dict[str, list[torch.Tensor]] = {name: [] for name in targets}

    def keep(name: str) -> Tap:
        def tap(value: torch.Tensor) -> None:
            tangent = forward_ad.unpack_dual(value).tangent
            found[name].append(torch.zeros_like(value) if tangent is None else tangent.detach().clone())

        return tap

    for vector in vectors:

        def inject(value: torch.Tensor, vector: torch.Tensor = vector) -> torch.Tensor:
            tangent = vector.to(value).expand_as(value).clone()
            return forward_ad.make_dual(value.detach().clone(), tangent)

        taps: dict[str, Tap] = {source: inject, **{name: keep(name) for name in targets}}
        with torch.no_grad(), forward_ad.dual_level(), tapped(backbone, taps, stop=True):
            run(backbone, inputs)
    return {name: torch.stack(found[name]) for name in targets}


def _double_backward(
    backbone: Backbone, inputs: Any, source: str, targets: Sequence[str], vectors: torch.Tensor
) -> dict[str, torch.Tensor]:
    """With g(u) = J' u, which is linear in u: J v = d (g(u) . v) / d u."""
    import torch

    values: dict[str, torch.Tensor] = {}

    def inject(value: torch.Tensor) -> torch.Tensor:
        values[source] = value.detach().clone().requires_grad_()
        return values[source].clone()

    def keep(name: str) -> Tap:
        def tap(value: torch.Tensor) -> None:
            values[name] = value.clone()

        return tap

    taps: dict[str, Tap] = {source: inject, **{name: keep(name) for name in targets}}
    with torch.enable_grad(), tapped(backbone, taps, stop=True):
        run(backbone, inputs)
        x = values[source]
        found = {}
        for name in targets:
            y = values[name]
            u = torch.zeros_like(y, requires_grad=True)
            g = torch.autograd.grad(y, x, u, create_graph=True, allow_unused=True)[0] if y.requires_grad else None
            products = []
            for vector in vectors:
                product = None
                if g is not None and g.requires_grad:
                    v = vector.to(x).expand_as(x)
                    product = torch.autograd.grad(g, u, v, retain_graph=True, allow_unused=True)[0]
                products.append(torch.zeros_like(y) if product is None else product)
            found[name] = torch.stack(products).detach()
    return found


def _like(array: Any, value: torch.Tensor) -> torch.Tensor:
    """An array (or number) as a tensor of the same dtype and device as `value`."""
    import torch

    return torch.as_tensor(array).to(dtype=value.dtype, device=value.device)
