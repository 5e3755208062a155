"""What stands beside P3's verdict: cancellation, overlap in the weights, self-repair, and recordings with time bins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bridge.errors import ConfigError, InputError
from bridge.models import load
from bridge.models.base import Backbone, Preprocessing
from bridge.streams import BlockMap, read
from comparisons.editing.cancellation import cancellation
from comparisons.editing.measured import in_stream_units
from comparisons.editing.overlap import block_weights, rotation, write_read_overlap
from comparisons.editing.self_repair import clustered_slope, repair
from comparisons.editing.time_resolved import suppression_slopes, time_contrast
from saes.sae import SAEConfig, SparseAutoencoder

D = 12


class Writer(nn.Module):
    """x + W x (+ nothing else)."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.write = nn.Linear(D, D, bias=False)
        self.write.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.write(x)


class Two(nn.Module):
    def __init__(self, first: torch.Tensor, second: torch.Tensor) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Writer(first), Writer(second)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks[1](self.blocks[0](x))


@pytest.fixture(scope="module")
def net() -> Backbone:
    """Block 0 writes along e0 and e1; block 1 deletes .6 of what stands along e0."""
    generator = torch.Generator().manual_seed(0)
    first = torch.zeros(D, D)
    first[:2] = torch.randn(2, D, generator=generator)
    second = torch.zeros(D, D)
    second[0, 0] = -0.6
    example = torch.randn(2, 3, D, generator=generator)
    maps = [BlockMap(f"blocks.{n}", stage=1, write=f"blocks.{n}.write") for n in range(2)]
    return Backbone("two", Two(first, second).eval(), maps, Preprocessing(size=8), layout="btc", example=example)


def test_a_deleter_has_less_to_delete_once_its_writer_is_silent(net: Backbone) -> None:
    inputs = torch.randn(20, 3, D, generator=torch.Generator().manual_seed(1))
    slopes, errors = repair(net, inputs, 0, 1, np.eye(D)[:3])
    np.testing.assert_allclose(slopes[:2], [0.6, 0.0], atol=1e-5)
    np.testing.assert_allclose(errors[:2], 0, atol=1e-5)
    assert np.isnan(slopes[2]), "the writer writes nothing along e2"
    clean = read(net, inputs, ["blocks.1.hook_delta"])
    assert torch.isfinite(clean["blocks.1.hook_delta"]).all()
    with pytest.raises(ConfigError, match="neither repairs the other"):
        repair(net, inputs, 1, 0, np.eye(D)[:1])
    assert np.isnan(clustered_slope(np.zeros((3, 2)), np.ones((3, 2)))[0])


def test_cancellation_is_a_cosine() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 16)) + 5
    against = cancellation(x, -0.3 * x)
    np.testing.assert_allclose(against.cosines, -1)
    assert (against.mean, against.share) == pytest.approx((-1, 1))
    apart = cancellation(x, rng.standard_normal((500, 16)) + 7)
    assert abs(apart.mean) < 0.05
    assert apart.share < 0.2
    assert cancellation(x, rng.standard_normal((500, 16)) - 7, centre=False).share > 0.9, "what means alone would do"
    nothing = cancellation(x, np.zeros_like(x))
    assert np.isnan(nothing.mean)
    with pytest.raises(InputError, match="tokens, d"):
        cancellation(x, x[:, :3])


def test_weights_that_erase_what_they_read_stand_out_of_the_rotations() -> None:
    rng = np.random.default_rng(0)
    reads = rng.standard_normal((64, 24))
    writes = -0.5 * reads + 0.5 * rng.standard_normal((64, 24))
    found = write_read_overlap(reads, writes, draws=100)
    assert found.mean == pytest.approx(-(0.5**0.5), abs=0.05)
    assert found.p == pytest.approx(1 / 101)
    assert abs(found.null_means.mean()) < 0.02
    scaled = write_read_overlap(reads * rng.uniform(0.1, 9, (64, 1)), writes, draws=10)
    np.testing.assert_allclose(scaled.cosines, found.cosines)
    chance = [write_read_overlap(reads, rng.standard_normal((64, 24)), draws=99, seed=s).p for s in range(40)]
    assert 0.3 < np.mean(chance) < 0.7
    q = rotation(24, rng)
    np.testing.assert_allclose(q @ q.T, np.eye(24), atol=1e-12)
    with pytest.raises(InputError, match="No neuron"):
        write_read_overlap(np.zeros((3, 4)), np.ones((3, 4)))


def test_folded_weights_are_the_block_s_derivative_at_one_place() -> None:
    """sum_h w_in,h w_out,h' through open ReLUs is what the block gives back of its own input, norms included."""
    for name, block in (("residual", 2), ("vit", 1)):
        backbone = load({"kind": "demo", "name": name, "network": name})
        weights = block_weights(backbone, block)
        assert weights is not None
        reads, writes = weights
        assert reads.shape == writes.shape
        module = backbone.module.get_submodule(backbone.blocks[block].module)
        if name == "residual":
            scale = (module.bn1.weight / (module.bn1.running_var + module.bn1.eps).sqrt()).detach().double()
            one = torch.zeros(1, 16, 5, 5, dtype=torch.float64)
            one[0, 3, 2, 2] = scale[3]
            between = module.bn2.weight / (module.bn2.running_var + module.bn2.eps).sqrt()
            hidden = nn.functional.conv2d(one, module.conv1.weight.double(), padding=1)
            hidden = hidden * between.detach().double()[:, None, None]
            out = nn.functional.conv2d(hidden, module.conv2.weight.double(), padding=1)
            np.testing.assert_allclose(np.einsum("ht,hct->c", reads[:, 3], writes), out[0, :, 2, 2].detach(), atol=1e-6)
        else:
            np.testing.assert_allclose(
                reads, (module.mlp[0].weight * module.norm2.weight).detach().double().numpy(), atol=1e-6
            )
    down = load({"kind": "demo", "name": "r", "network": "residual"})
    assert block_weights(down, 4) is None, "a down-sampling block reads and writes in two bases"


@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("rescale", [False, True])
def test_latents_in_stream_units_add_up_to_the_reconstruction(normalisation: str, rescale: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    tensors = {"W_enc": torch.randn(6, 20, generator=draw), "b_enc": torch.randn(20, generator=draw)}
    tensors |= {"W_dec": 3 * torch.randn(20, 6, generator=draw), "b_dec": torch.zeros(6)}
    config = SAEConfig("topk", 6, 20, k=4, normalize_activations=normalisation, rescale_acts_by_decoder_norm=rescale)  # type: ignore[arg-type]
    sae, x = SparseAutoencoder(config, tensors), torch.randn(50, 6, generator=draw)
    latents, directions, explained = in_stream_units(sae, x.numpy())
    shift = x.mean(-1, keepdim=True) if normalisation == "layer_norm" else torch.zeros(50, 1)
    np.testing.assert_allclose(latents @ directions, (sae(x) - shift).numpy(), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)
    assert explained == pytest.approx(1 - float(((x - sae(x)) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()), rel=1e-5)


# --------------------------------------------------------------------------------------------------- recordings


def draws(values: tuple[float, ...], se: float = 0.01, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return tuple(value + se * rng.standard_normal(1000) for value in values)


@pytest.mark.parametrize(
    ("phi", "se", "answer"),
    [
        ((0.4, 0.1, 0.2, 0.4), 0.01, "consistent"),
        ((0.2, 0.4, 0.4, 0.1), 0.01, "not consistent"),
        ((0.3, 0.3, 0.3, 0.3), 0.005, "not consistent"),
        ((0.3, 0.3, 0.3, 0.3), 0.05, "undecided"),
        ((0.01, -0.01, 0.3, 0.3), 0.05, "undecided"),  # nothing there: the ratio is undefined
    ],
)
def test_the_time_resolved_contrast(phi: tuple[float, float, float, float], se: float, answer: str) -> None:
    found = time_contrast(phi[:2], phi[2:], draws(phi, se))  # type: ignore[arg-type]
    assert found.answer == answer
    if answer == "consistent":
        assert found.estimate == pytest.approx((0.1 - 0.4) / 0.5 - (0.4 - 0.2) / 0.6)


def test_draws_must_go_together() -> None:
    one = np.ones(200)
    with pytest.raises(InputError, match="differ in their number"):
        time_contrast((1, 1), (1, 1), (one, one, one, one[:10]))


def test_suppression_is_cross_fitted() -> None:
    """Noise that early and late bins do not share makes a naive slope of -1 / 2; the cross-fitted one is 0."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((400, 30))
    early, late = (signal + 2 * rng.standard_normal((8, 400, 30)) for _ in range(2))
    e, d = early.mean(axis=0), (late - early).mean(axis=0)
    naive = ((e - e.mean(0)) * d).sum(0) / ((e - e.mean(0)) ** 2).sum(0)
    assert naive.mean() < -0.25
    assert abs(suppression_slopes(early, late).mean()) < 0.05
    assert suppression_slopes(early, late - 0.6 * signal).mean() == pytest.approx(-0.6, abs=0.05)
    with pytest.raises(InputError, match="two repetitions"):
        suppression_slopes(early[:1], late[:1])
    assert np.isnan(suppression_slopes(np.zeros((2, 5, 1)), np.ones((2, 5, 1)))).all()
