"""Where training starts: the bias at the geometric median, encoder and decoder parallel."""

from __future__ import annotations

import torch

from saes.architectures.base import ArchitectureSpec


def geometric_median(points: torch.Tensor, *, iterations: int = 100, tolerance: float = 1e-5) -> torch.Tensor:
    """The point with the least summed distance to all `points` [n, d]: Weiszfeld's iteration, in float64. [d]."""
    exact = points.double()
    guess = exact.mean(0)
    for _ in range(iterations):
        weights = 1 / (exact - guess).norm(dim=1).clamp_min(1e-12)
        moved = (exact * weights[:, None]).sum(0) / weights.sum()
        step, guess = (moved - guess).norm(), moved
        if step <= tolerance * guess.norm().clamp_min(1e-12):
            break
    return guess.to(points.dtype)


def initial_tensors(
    architecture: ArchitectureSpec, x: torch.Tensor, y: torch.Tensor, seed: int, *, transcodes: bool, skip: bool
) -> dict[str, torch.Tensor]:
    """Tensors to start from, for scaled activations: sample x [n, d_in], and y [n, d_out] (x unless it transcodes).

    Decoder rows are drawn uniformly from the sphere; the encoder is the decoder, scaled so that the first
    reconstruction is of the activations' size (Gao et al. 2024, A.1); a transcoder's is drawn on its own. b_dec is the
    geometric median of y.
    """
    d_in, d_out, s = x.shape[1], y.shape[1], architecture.width(x.shape[1])
    generator = torch.Generator().manual_seed(seed)

    def directions(width: int) -> torch.Tensor:
        rows = torch.randn(s, width, generator=generator)
        return rows / rows.norm(dim=1, keepdim=True)

    decoder = directions(d_out)
    encoder = directions(d_in) if transcodes else decoder.clone()
    tensors = {
        "encoder": encoder,
        "decoder": decoder,
        "b_enc": torch.zeros(s),
        "b_dec": geometric_median(y),
        **architecture.extra(d_in, d_out),
    }
    if skip:
        tensors["skip"] = torch.zeros(d_out, d_in)
    if not transcodes:
        encoder *= _gain(architecture, tensors, x)
    return tensors


def _gain(architecture: ArchitectureSpec, tensors: dict[str, torch.Tensor], x: torch.Tensor) -> float:
    """The factor for the encoder by which the first reconstruction fits best: <x, x_hat> / <x_hat, x_hat>."""
    from saes.architectures.base import Batch

    sample = x[:4096]
    with torch.no_grad():
        target = sample - tensors["b_dec"]
        written = target - architecture.forward(tensors, Batch(sample, sample)).error
        size = written.square().sum()
        gain = float((target * written).sum() / size) if size > 0 else 1.0
    return gain if 0 < gain < 100 else 1.0
