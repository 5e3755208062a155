"""Activations whose directions are known: sparse sums of planted directions, noise, and a mean that is not 0."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class Planted:
    """x [n, d] = codes directions + mean + noise, with directions [s, d] of norm 1 and sparse codes [n, s] >= 0."""

    x: torch.Tensor
    codes: torch.Tensor
    directions: torch.Tensor


def planted(
    n: int = 20_000,
    d: int = 32,
    s: int = 48,
    active: float = 3.0,
    noise: float = 0.02,
    mean: float = 3.0,
    scale: float = 1.0,
    seed: int = 1234,
) -> Planted:
    """Each of s directions is active with probability active / s, at .5 to 1.5; everything is multiplied by `scale`.

    The seed must not be one that a training draws its first directions with: they would be the planted ones.
    """
    draw = torch.Generator().manual_seed(seed)
    directions = torch.randn(s, d, generator=draw)
    directions /= directions.norm(dim=1, keepdim=True)
    codes = (torch.rand(n, s, generator=draw) + 0.5) * (torch.rand(n, s, generator=draw) < active / s)
    x = codes @ directions + noise * torch.randn(n, d, generator=draw) + mean * torch.randn(d, generator=draw)
    return Planted(scale * x, scale * codes, directions)


def recovery(found: torch.Tensor, true: torch.Tensor) -> float:
    """Mean over the true directions [s, d] of the largest cosine with any of the found ones [m, d]."""
    true, found = (rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-30) for rows in (true, found))
    return float((true @ found.T).amax(1).mean())
