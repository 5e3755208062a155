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
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, InputError
from bridge.streams import Tap, match_sites, read, tapped

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
            _check_width(what, array, name, width)
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
    backbone: Backbone,
    sites: str | Sequence[str],
    size: float,
    seed: int,
    *,
    directions: Array | None = None,
    relative: bool = False,
) -> AbstractContextManager[None]:
    """Independent Gaussian noise of standard deviation `size` is added to every value of the sites.

    With `directions` [m, d] it is noise in their span: of standard deviation `size` along each of its orthonormal axes
    (of one direction: size * N(0, 1) times the unit vector), drawn for every token. With `relative`, `size` counts in
    standard deviations of the site's values over the batch. Each site draws from its own generator, seeded when the
    context is made and running on from pass to pass: the same batches in the same order get the same noise, on any
    device.

    Raises ConfigError for an unknown site, InputError for directions of another width or a size that is no number >= 0.
    """
    import torch

    if not 0 <= size < float("inf"):
        raise InputError(f"Noise of size {size} was asked for; give a finite number, at least 0.")
    names = match_sites(sites, list(backbone.sites))
    basis = None if directions is None else orthonormal(directions)

    def noise(generator: torch.Generator) -> Tap:
        def tap(value: torch.Tensor) -> torch.Tensor:
            shape = value.shape if basis is None else (*value.shape[:-1], len(basis))
            drawn = torch.randn(shape, generator=generator).to(value)
            if basis is not None:
                drawn = drawn @ _like(basis, value)
            return value + drawn * (size * value.std() if relative else size)

        return tap

    for name in names:
        _check_width("directions", basis, name, backbone.sites[name].width)
    children = np.random.SeedSequence(seed).spawn(len(names))
    seeds = [int(child.generate_state(1, np.uint64)[0]) >> 1 for child in children]
    return tapped(
        backbone,
        {name: noise(torch.Generator().manual_seed(one)) for name, one in zip(names, seeds, strict=True)},
    )


def _check_width(what: str, array: Any, site: str, width: int) -> None:
    shape = np.shape(array) if array is not None else ()
    if shape and shape[-1] != width:
        raise InputError(
            f"The {what} for {site} have {shape[-1]} values where the site has {width}; give arrays of this site's "
            "width."
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


def _like(array: Any, value: torch.Tensor) -> torch.Tensor:
    """An array (or number) as a tensor of the same dtype and device as `value`."""
    import torch

    return torch.as_tensor(array).to(dtype=value.dtype, device=value.device)
