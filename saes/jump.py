"""The jump of JumpReLU, with straight-through gradients for its thresholds (Rajamanoharan et al. 2024b)."""

from __future__ import annotations

from typing import Any

import torch


class _Jump(torch.autograd.Function):
    """(pre [pre > t], [pre > t]); the thresholds' gradients are those of eq. 11 and 12, a rectangle kernel's."""

    @staticmethod
    def forward(ctx: Any, pre: torch.Tensor, threshold: torch.Tensor, bandwidth: float) -> Any:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        gate = (pre > threshold).to(pre.dtype)
        return pre * gate, gate

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        to_latents, to_gate = gradients
        pre, threshold = ctx.saved_tensors
        near = ((pre - threshold).abs() < ctx.bandwidth / 2).to(pre.dtype) / ctx.bandwidth
        to_threshold = -(near * (threshold * to_latents + to_gate)).sum(0)
        return to_latents * (pre > threshold), to_threshold, None


def jump(pre: torch.Tensor, threshold: torch.Tensor, bandwidth: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents pre [pre > threshold] and gates [pre > threshold], [n, s], for pre [n, s] and threshold [s] > 0.

    `pre` has been through no ReLU: it would heap the silent latents up at 0, within the kernel of thresholds below half
    a bandwidth, all of whose gradients would count.
    """
    latents, gates = _Jump.apply(pre, threshold, bandwidth)
    return latents, gates
