"""How a change travels: Jacobian-vector products from one site of a stream to others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from bridge.errors import ConfigError, InputError
from bridge.streams import Tap, match_sites, run, tapped

if TYPE_CHECKING:
    import numpy as np
    import torch

    from bridge.models.base import Backbone

    Array = np.ndarray | torch.Tensor


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
