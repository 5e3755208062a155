"""Planted directions are found again, by every architecture at its defaults."""

from __future__ import annotations

import pytest
import torch
from planted import planted, recovery

from saes.reconstruction import ReconstructionError
from saes.settings import Training
from saes.sources import ArrayTokens
from saes.training import Job, train

KINDS = ("topk", "batchtopk", "matryoshka", "relu", "jumprelu", "gated")


def settings(kind: str) -> Training:
    """The defaults, but for a batch that fits 16,000 tokens."""
    return Training(architecture={"kind": kind}, batch=512)  # type: ignore[arg-type]


def unexplained(y: torch.Tensor, y_hat: torch.Tensor) -> float:
    error = ReconstructionError()
    error.add(y, y_hat)
    return error.fvu


@pytest.mark.parametrize("kind", KINDS)
def test_planted_directions_are_recovered(kind: str) -> None:
    """48 directions in 32 dimensions, 3 of them at a token, noise, a mean far from 0, and units far from 1."""
    data = planted(n=18_000, d=32, s=48, scale=7.0)
    x, unseen = data.x[:16_000], data.x[16_000:]
    trained = train([Job("site", ("x",), settings(kind))], ArrayTokens({"x": x}))["site"]
    drawn = torch.randn(trained.sae.d_sae, 32, generator=torch.Generator().manual_seed(0))
    assert recovery(drawn, data.directions) < 0.7  # as many directions by chance
    assert recovery(trained.sae.decoder_directions, data.directions) >= 0.9
    assert trained.history[-1].fvu < 0.15
    assert unexplained(unseen, trained.sae(unseen)) < 1.3 * trained.history[-1].fvu
    assert trained.warnings == []


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("kind", ["batchtopk", "relu", "jumprelu"])
def test_transcoders_predict_a_linear_and_sparse_map(kind: str, skip: bool) -> None:
    """y is a sparse code's other directions, and a linear map of x that only a skip can hold cheaply."""
    draw = torch.Generator().manual_seed(1)
    data = planted(n=18_000, d=32, s=48, active=3.0)
    linear = torch.randn(32, 20, generator=draw) / 32**0.5
    directions = torch.randn(48, 20, generator=draw)
    sparse = (data.codes - 0.5).relu() @ directions
    y = 0.05 * (sparse + (2 * (data.x - data.x.mean(0)) @ linear if skip else 0)) + 4.0
    job = Job("to y", ("x",), settings(kind), writes="y", skip=skip)
    seen = {"x": data.x[:16_000], "y": y[:16_000]}
    sae = train([job], ArrayTokens(seen))["to y"].sae
    x, target = data.x[16_000:], y[16_000:]
    with_ones = torch.cat([x, torch.ones(len(x), 1)], 1)
    best_linear = with_ones @ torch.linalg.lstsq(with_ones, target).solution
    assert unexplained(target, sae(x)) < 0.8 * unexplained(target, best_linear)
    assert recovery(sae.decoder_directions, directions) >= 0.9
    assert sae.config.width_out == 20
    if skip:
        assert torch.nn.functional.cosine_similarity(sae.W_skip.flatten(), (0.1 * linear.T).flatten(), 0) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_crosscoders_find_directions_across_sites(kind: str) -> None:
    """Two sites of 12 and 24 dimensions whose units differ a thousandfold write the same sparse code."""
    draw = torch.Generator().manual_seed(2)
    data = planted(n=16_000, d=12, s=40, active=3.0, noise=0.02)
    second = torch.randn(40, 24, generator=draw)
    second /= second.norm(dim=1, keepdim=True)
    other = 1000 * (data.codes @ second + 0.02 * torch.randn(16_000, 24, generator=draw) + 1.0)
    job = Job("joint", ("a", "b"), settings(kind))
    sae = train([job], ArrayTokens({"a": data.x, "b": other}))["joint"].sae
    assert sae.config.metadata["sites"] == ["a", "b"]
    assert sae.config.metadata["widths"] == [12, 24]
    x = torch.cat([data.x, other], 1)
    found = sae.W_dec.detach() / x.std(0)  # what a latent writes, in each site's own units
    joint = torch.cat([data.directions, 1000 * second], 1) / x.std(0)
    assert recovery(found, joint) >= 0.9
    for part in (slice(0, 12), slice(12, 36)):
        assert unexplained(x[:, part], sae(x)[:, part]) < 0.2
