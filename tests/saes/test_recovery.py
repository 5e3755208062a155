"""Planted directions are found again, and a planted map between two sites is predicted."""

from __future__ import annotations

import pytest
import torch
from planted import planted, recovery

from saes.reconstruction import ReconstructionError
from saes.settings import Training
from saes.sources import ArrayTokens
from saes.training import Job, train

KINDS = ("topk", "batchtopk", "relu", "jumprelu", "gated")


def settings(kind: str) -> Training:
    """The defaults but for the batch: these are few tokens. JumpReLU's thresholds need more steps to settle."""
    epochs = 15 if kind in ("jumprelu", "matryoshka") else 8
    return Training(architecture={"kind": kind}, batch=256, epochs=epochs)  # type: ignore[arg-type]


def unexplained(y: torch.Tensor, y_hat: torch.Tensor) -> float:
    error = ReconstructionError()
    error.add(y, y_hat)
    return error.fvu


@pytest.mark.parametrize("kind", KINDS)
def test_planted_directions_are_recovered(kind: str) -> None:
    """32 directions in 32 dimensions, 3 of them at a token, noise, a mean far from 0, and units far from 1."""
    data = planted(n=22_000, d=32, s=32, scale=7.0)
    x, unseen = data.x[:20_000], data.x[20_000:]
    trained = train([Job("site", ("x",), settings(kind))], ArrayTokens({"x": x}))["site"]
    drawn = torch.randn(trained.sae.d_sae, 32, generator=torch.Generator().manual_seed(0))
    assert recovery(drawn, data.directions) < 0.7  # as many directions by chance: where training starts
    assert recovery(trained.sae.decoder_directions, data.directions) >= 0.9
    assert unexplained(unseen, trained.sae(unseen)) < 0.1


def test_nested_dictionaries_recover_less() -> None:
    """Matryoshka's small dictionaries must reconstruct on their own, and so merge directions that are independent."""
    data = planted(n=20_000, d=32, s=32, scale=7.0)
    trained = train([Job("site", ("x",), settings("matryoshka"))], ArrayTokens({"x": data.x}))["site"]
    assert recovery(trained.sae.decoder_directions, data.directions) >= 0.85


@pytest.mark.parametrize(("kind", "skip", "share"), [
    ("batchtopk", False, 0.8), ("batchtopk", True, 0.8), ("jumprelu", False, 0.8), ("relu", True, 1.0),
])  # fmt: skip
def test_transcoders_predict_another_site_better_than_a_linear_map(kind: str, skip: bool, share: float) -> None:
    """96 features, 3 at a token, in 32 dimensions of one site and 20 of another: what no linear map can undo."""
    draw = torch.Generator().manual_seed(77)
    data = planted(n=22_000, d=32, s=96)
    written = torch.randn(96, 20, generator=draw)
    written /= written.norm(dim=1, keepdim=True)
    y = data.codes @ written + 0.02 * torch.randn(22_000, 20, generator=draw) - 1
    affine = torch.cat([data.x, torch.ones(22_000, 1)], 1)
    linear = affine[20_000:] @ torch.linalg.lstsq(affine[:20_000], y[:20_000]).solution
    job = Job("site", ("x",), settings(kind), writes="y", skip=skip)
    sae = train([job], ArrayTokens({"x": data.x[:20_000], "y": y[:20_000]}))["site"].sae
    found = unexplained(y[20_000:], sae(data.x[20_000:]))
    assert found < share * unexplained(y[20_000:], linear)


@pytest.mark.parametrize("kind", ["relu"])
def test_crosscoders_find_directions_across_sites(kind: str) -> None:
    """Two sites of 12 and 24 dimensions whose units differ a thousandfold write the same sparse code."""
    draw = torch.Generator().manual_seed(2)
    data = planted(n=20_000, d=12, s=32)
    second = torch.randn(32, 24, generator=draw)
    second /= second.norm(dim=1, keepdim=True)
    other = 1000 * (data.codes @ second + 0.02 * torch.randn(20_000, 24, generator=draw) + 1.0)
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
