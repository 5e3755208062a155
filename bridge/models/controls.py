"""Networks to hold a trained one against: pruned, lottery tickets, BatchNorm measured anew.

Untrained copies are made by a model's `untrained` and `seed`; the plain twin (no skips) is the demo's own network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from bridge.models.seeding import drawn

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bridge.models.base import Backbone


def prunable(module: nn.Module) -> list[tuple[nn.Module, str]]:
    """The weights that pruning chooses from: `weight` of every convolution and linear layer, the read-out included,
    in the order of the network's modules. Biases, norms, embeddings and class tokens are not among them."""
    from torch import nn

    kinds: tuple[type, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
    found: list[tuple[nn.Module, str]] = []
    for layer in module.modules():
        # GPT-2's linear layers are transformers' own class, named for a convolution.
        if isinstance(layer, kinds) or (type(layer).__name__ == "Conv1D" and hasattr(layer, "nx")):
            found.append((layer, "weight"))
    return found


def prune_weights(
    module: nn.Module, fraction: float, how: Literal["magnitude", "random"] = "magnitude", seed: int = 0
) -> None:
    """Set a share of all prunable weights to zero, in place, ranked over the whole network.

    Equals torch.nn.utils.prune.global_unstructured with L1Unstructured or RandomUnstructured (seeded), made
    permanent. `fraction` is in (0, 1).
    """
    from torch.nn.utils import prune

    weights = _mask(module, fraction, how, seed)
    for layer, name in weights:
        prune.remove(layer, name)


def _mask(
    module: nn.Module, fraction: float, how: Literal["magnitude", "random"], seed: int
) -> list[tuple[nn.Module, str]]:
    """Put masks on the weights (torch.nn.utils.prune's parametrisation: weight = weight_orig * weight_mask)."""
    from torch.nn.utils import prune

    weights = prunable(module)
    method = prune.L1Unstructured if how == "magnitude" else prune.RandomUnstructured
    with drawn(seed):
        prune.global_unstructured(weights, pruning_method=method, amount=fraction)
    return weights


def lottery_ticket(
    module: nn.Module,
    train: Callable[[nn.Module], None],
    init_state: Mapping[str, torch.Tensor],
    fraction: float,
    rounds: int = 1,
) -> nn.Module:
    """The winning ticket of a trained network, in place: prune by magnitude, rewind, train again, `rounds` times.

    Frankle & Carbin 2019, iterative magnitude pruning: each round takes the share 1 - (1 - fraction)^(1 / rounds) of
    what is left, so that `fraction` of the prunable weights is zero in the end. All parameters and buffers go back
    to `init_state` (the state_dict from before training, or from early in it) before `train(module)` runs; weights
    that were pruned stay zero through it, whatever the optimiser does. Returns `module`.
    """
    from torch.nn.utils import prune

    weights = prunable(module)
    share = 1 - (1 - fraction) ** (1 / rounds)
    for _ in range(rounds):
        # Ranked are the weights that are still there (prune.PruningContainer), as the optimiser left them.
        _refresh(weights)
        _mask(module, share, "magnitude", seed=0)
        _rewind(module, init_state)
        _refresh(weights)
        train(module)
    _refresh(weights)
    for layer, name in weights:
        prune.remove(layer, name)
    return module


def _refresh(weights: list[tuple[nn.Module, str]]) -> None:
    """Bring the product weight_orig * weight_mask up to date: torch does so only when a layer runs."""
    from torch.nn.utils import prune

    for layer, _ in weights:
        for hook in layer._forward_pre_hooks.values():
            if isinstance(hook, prune.BasePruningMethod):
                hook(layer, None)


def _rewind(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load a plain state into a network whose pruned weights are called `weight_orig`; masks stay."""
    own = module.state_dict()
    renamed = {(f"{key}_orig" if f"{key}_orig" in own else key): value for key, value in state.items()}
    module.load_state_dict({**{key: own[key] for key in own if key.endswith("_mask")}, **renamed})


def recalibrate_batchnorm(backbone: Backbone, batches: Iterable[Any]) -> int:
    """Measure the running mean and variance of every BatchNorm layer anew over prepared batches, in place.

    Each layer normalises by the batch at hand meanwhile, and its statistics become the mean over the batches. Taps
    that are on stay on, so the statistics are those of the network as it is changed. Returns the number of layers
    (0: the network has none, and nothing was run).
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    layers = [layer for layer in backbone.module.modules() if isinstance(layer, _BatchNorm)]
    layers = [layer for layer in layers if layer.track_running_stats]
    if not layers:
        return 0
    momenta = [layer.momentum for layer in layers]
    modes = [layer.training for layer in layers]
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a cumulative mean instead of an exponential one
            layer.training = True
        with torch.no_grad():
            for batch in batches:
                backbone.forward(batch)
    finally:
        for layer, momentum, mode in zip(layers, momenta, modes, strict=True):
            layer.momentum, layer.training = momentum, mode
    return len(layers)


@contextmanager
def recalibrated_batchnorm(backbone: Backbone, batches: Iterable[Any]) -> Iterator[int]:
    """`recalibrate_batchnorm` for the time of a context; the old statistics come back in every case.

    Enter it inside an intervention, to give the changed network the statistics that fit it (Veit et al. 2016 find
    ablated ResNets limited by them).
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    kept = [
        (layer, {name: value.clone() for name, value in layer.named_buffers(recurse=False)})
        for layer in backbone.module.modules()
        if isinstance(layer, _BatchNorm)
    ]
    try:
        yield recalibrate_batchnorm(backbone, batches)
    finally:
        for layer, buffers in kept:
            for name, value in buffers.items():
                getattr(layer, name).copy_(value)
