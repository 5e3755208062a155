"""What one forward pass of a network takes: multiplications, and how many parameters there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.models.base import Backbone


def counted(backbone: Backbone) -> tuple[int | None, int]:
    """(multiplications of one stimulus's forward pass, parameters). None for a network that cannot be counted.

    Those of matrix products, convolutions and attention, which dominate, by torch's FlopCounterMode (half of its
    count: it counts additions too); of the input that sites are measured on. ViT-B/16: 17.6e9 (Dosovitskiy et al.
    2021 as torchvision lists it), ResNet-50: 4.1e9.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from bridge.models.measure import example_input

    inputs = example_input(backbone)
    first = next(iter(inputs.values())) if isinstance(inputs, dict) else inputs
    parameters = sum(parameter.numel() for parameter in backbone.module.parameters())
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operation, which the counter does not know
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            backbone.forward(inputs)
    except Exception:  # anybody's network may meet what the counter cannot do; only predictions depend on it
        return None, parameters
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2 // max(1, len(first)), parameters
