"""BatchNorm folded into the convolutions before it, for the time of a capture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from bridge.streams import read

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bridge.models.base import Backbone


@contextmanager
def folded_batchnorm(backbone: Backbone, sites: Sequence[str]) -> Iterator[int]:
    """Within this context, convolutions do the work of the BatchNorm layers after them, which hand on what they get.

        y = gamma (W x + b - mean) / sqrt(var + eps) + beta = W' x + b',  W' = s W,  b' = s (b - mean) + beta,
        s = gamma / sqrt(var + eps)

    (Jacob et al. 2018, section 3.2; the same as torch.nn.utils.fuse_conv_bn_eval, with s in double precision.) No
    parameter, buffer or module is changed or exchanged. The network must be in evaluation mode.

    Folded are a Conv2d and a BatchNorm2d of one parent of which the second gets what the first gave. Left alone are
    layers with hooks, convolutions that are themselves a part of the map of the stream, networks under an
    intervention or below float32, and everything if afterwards any of `sites` differs by more than rounding on the
    example input. Gives the number of folded layers.
    """
    from bridge.models.measure import agree, example_input

    pairs = {} if backbone.layers else dict(_candidates(backbone))
    if not pairs:
        yield 0
        return
    example = example_input(backbone)
    found: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    with _followed(pairs, found):
        before = read(backbone, example, sites)
    try:
        for convolution, norm in found:
            weight, bias = _folded(convolution, norm)
            vars(convolution)["forward"] = partial(convolution._conv_forward, weight=weight, bias=bias)
            vars(norm)["forward"] = _same
        after = read(backbone, example, sites) if found else before
        if not all(agree(after[site], before[site]) for site in sites):
            _unfold(found)
            found = []
        yield len(found)
    finally:
        _unfold(found)


def _same(value: torch.Tensor) -> torch.Tensor:
    return value


def _unfold(pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]]) -> None:
    for pair in pairs:
        for layer in pair:
            vars(layer).pop("forward", None)


def _candidates(backbone: Backbone) -> Iterator[tuple[nn.BatchNorm2d, list[nn.Conv2d]]]:
    """BatchNorm layers that could be folded, each with the convolutions beside it."""
    import torch
    from torch import nn

    def untouched(layer: nn.Module) -> bool:
        return not (layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer))

    module_of = backbone.module.get_submodule
    streams = {module_of(block.module) for block in backbone.blocks}
    parts = {
        module_of(path)
        for block in backbone.blocks
        for path in (block.write, block.skip, block.attn, block.mlp)
        if path is not None
    }
    for parent in backbone.module.modules():
        children = [child for child in parent.children() if untouched(child) and child not in streams]
        convolutions: list[nn.Conv2d] = []
        norms: list[nn.BatchNorm2d] = []
        for child in children:
            # Subclasses compute something else: standardised weights, a non-linearity of their own.
            if type(child) is nn.Conv2d and child not in parts and child.weight.dtype is torch.float32:
                convolutions.append(child)
            elif type(child) is nn.BatchNorm2d and child.running_var is not None:
                norms.append(child)
        for norm in norms if convolutions else ():
            yield norm, convolutions


@contextmanager
def _followed(
    candidates: dict[nn.BatchNorm2d, list[nn.Conv2d]], found: list[tuple[nn.Conv2d, nn.BatchNorm2d]]
) -> Iterator[None]:
    """Within this context a forward pass fills `found`: pairs that run once each, the second on the first's output."""
    gave: dict[nn.Module, list[Any]] = {}
    pairs: dict[nn.BatchNorm2d, list[nn.Conv2d | None]] = {}

    def keep(convolution: nn.Module, args: Any, output: Any) -> None:
        gave.setdefault(convolution, []).append(output)

    def follow(norm: Any, args: Any) -> None:
        source = [one for one in candidates[norm] if any(output is args[0] for output in gave.get(one, []))]
        pairs.setdefault(norm, []).append(source[0] if source else None)

    handles = [norm.register_forward_pre_hook(follow) for norm in candidates]
    handles += [one.register_forward_hook(keep) for one in {one for some in candidates.values() for one in some}]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    read_by = Counter(source for sources in pairs.values() for source in sources)
    for norm, sources in pairs.items():
        source = sources[0]
        if source is not None and len(sources) == len(gave[source]) == read_by[source] == 1:
            found.append((source, norm))


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the convolution that gives what the two layers give."""
    import torch

    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise TypeError("a BatchNorm without running statistics cannot be folded")
    with torch.no_grad():
        scale = (variance.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        shift = -mean.double() if convolution.bias is None else convolution.bias.double() - mean.double()
        bias = shift * scale
        if norm.bias is not None:
            bias = bias + norm.bias.double()
        weight = convolution.weight.double() * scale[:, None, None, None]
        return weight.to(convolution.weight), bias.to(convolution.weight)
