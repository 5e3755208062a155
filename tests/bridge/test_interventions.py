"""Interventions against what they are defined as, and Jacobian-vector products against references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bridge.errors import ConfigError, InputError
from bridge.interventions import (
    ablated,
    block_off,
    noisy,
    orthonormal,
    reconstruction_errors,
    replaced,
    site_means,
    skip_off,
)
from bridge.jacobians import jacobian_vector_products
from bridge.models import load
from bridge.models.base import Backbone, Preprocessing
from bridge.models.controls import recalibrated_batchnorm
from bridge.streams import BlockMap, read

VIT = {"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 12, "num_heads": 2}
RESNET = {"layers": [2, 1, 1, 1], "channels": [8, 16, 16, 16], "num_classes": 3, "zero_init_last": False}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # faster than several on small networks
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def vit() -> Backbone:
    return load({"kind": "timm", "name": "vit", "architecture": "vit_tiny_patch16_224", "options": VIT, "seed": 1})


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    spec = {"kind": "timm", "name": "resnet", "architecture": "resnet18", "image_size": 32, "options": RESNET}
    return load({**spec, "seed": 1})


def images(n: int = 3, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(dtype)


def test_skip_off_and_block_off_leave_the_other_part(resnet):
    total, post = "blocks.1.hook_resid_post_preact", "blocks.1.hook_resid_post"
    clean = read(resnet, images(), ["blocks.1.hook_write", "blocks.1.hook_skip"])
    with skip_off(resnet, [1]):
        without_skip = read(resnet, images(), [total, post])
    with block_off(resnet, [1]):
        without_block = read(resnet, images(), [total, post])
    assert torch.equal(without_skip[total], clean["blocks.1.hook_write"])
    assert torch.allclose(without_skip[post], clean["blocks.1.hook_write"].relu(), atol=1e-6)
    assert torch.allclose(without_block[post], clean["blocks.1.hook_skip"].relu(), atol=1e-6)
    with pytest.raises(ConfigError, match="no block 7; its blocks are 0 to 4"):
        skip_off(resnet, [7])


def test_skip_off_with_batchnorm_measured_anew_comes_back(resnet):
    site = "blocks.4.hook_resid_post"
    clean = read(resnet, images(), [site])[site]
    with skip_off(resnet, [0, 1]):
        off = read(resnet, images(), [site])[site]
        with recalibrated_batchnorm(resnet, [images(16)]) as layers:
            assert layers > 0
            anew = read(resnet, images(), [site])[site]
    assert not torch.allclose(off, anew, atol=1e-3)
    assert torch.equal(read(resnet, images(), [site])[site], clean)


def test_ablation_of_a_site_and_of_directions(vit):
    site = "blocks.1.hook_resid_mid"
    clean = read(vit, images(), [site])[site]
    with ablated(vit, site):
        assert not read(vit, images(), [site])[site].any()
    means = site_means(vit, [images(2), images(3)[2:]], site)[site]
    assert np.allclose(means, clean.double().mean(dim=(0, 1)).numpy())
    per_token = site_means(vit, [images()], site, per_token=True)[site]
    assert np.allclose(per_token, clean.double().mean(dim=0).numpy())
    with ablated(vit, site, mean=per_token):
        assert torch.allclose(read(vit, images(), [site])[site], torch.tensor(per_token).float(), atol=1e-5)

    rng = np.random.default_rng(0)
    directions = rng.normal(size=(3, 12)) @ rng.normal(size=(12, 12))
    directions = np.vstack([directions, directions[0] - 2 * directions[1]])  # neither orthogonal nor of full rank
    axes = orthonormal(directions)
    assert axes.shape == (3, 12)
    assert np.allclose(axes @ axes.T, np.eye(3))
    with ablated(vit, "blocks.*.hook_resid_mid", directions, {f"blocks.{i}.hook_resid_mid": means for i in range(3)}):
        value = read(vit, images(), [site, "blocks.2.hook_resid_mid"])
    inside = value[site].numpy() @ directions.T
    assert np.allclose(inside, means @ directions.T, atol=1e-4)
    with ablated(vit, site, directions, means):
        value = read(vit, images(), [site])[site].numpy()
    outside = np.eye(12) - axes.T @ axes
    assert np.allclose(value @ outside, clean.numpy() @ outside, atol=1e-5)


def test_arrays_that_do_not_fit_are_refused(vit):
    with pytest.raises(InputError, match="13 values where the site has 12"):
        ablated(vit, "blocks.0.hook_write", np.ones((2, 13)))
    with pytest.raises(InputError, match="no finite, non-zero array"):
        orthonormal(np.zeros((2, 12)))
    with pytest.raises(InputError, match="give at least one"):
        site_means(vit, [], "blocks.0.hook_write")


def test_noise_has_its_size_and_its_seed(vit):
    site = "blocks.0.hook_resid_post"
    clean = read(vit, images(64), [site])[site]

    def noise(seed: int, **kwargs: object) -> torch.Tensor:
        with noisy(vit, site, 0.5, seed, **kwargs):
            return read(vit, images(64), [site])[site] - clean

    one, again, other = noise(1), noise(1), noise(2)
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)
    assert float(one.std()) == pytest.approx(0.5, rel=0.03)
    assert float(noise(1, relative=True).std()) == pytest.approx(0.5 * float(clean.std()), rel=0.03)
    with noisy(vit, "blocks.*.hook_write", 1.0, seed=3):
        twice = [read(vit, images(), ["blocks.0.hook_write"])["blocks.0.hook_write"] for _ in range(2)]
    assert not torch.equal(*twice)


def test_noise_along_directions_lies_in_their_span(vit):
    site = "blocks.0.hook_resid_post"
    directions = np.random.default_rng(0).normal(size=(2, 12))
    clean = read(vit, images(64), [site])[site]
    with noisy(vit, site, 0.5, seed=1, directions=directions):
        noise = (read(vit, images(64), [site])[site] - clean).double().numpy()
    axes = orthonormal(directions)
    inside = noise @ axes.T
    assert np.allclose(inside @ axes, noise, atol=1e-5)
    assert inside.reshape(-1, 2).std(axis=0) == pytest.approx(0.5, rel=0.08)
    with noisy(vit, site, 0.5, seed=1, directions=3 * directions):
        again = (read(vit, images(64), [site])[site] - clean).double().numpy()
    assert np.allclose(again, noise, atol=1e-5)  # length does not count
    with pytest.raises(InputError, match="13 values where the site has 12"):
        noisy(vit, site, 0.5, seed=1, directions=np.ones((1, 13)))
    with pytest.raises(InputError, match="at least 0"):
        noisy(vit, site, -1.0, seed=1)


def test_replacement_with_and_without_the_error_term(vit):
    site, later = "blocks.1.hook_resid_post", "blocks.2.hook_resid_post"
    clean = read(vit, images(), [site, later])

    def rounded(value: torch.Tensor) -> torch.Tensor:
        return (value * 2).round() / 2

    with replaced(vit, {site: rounded}):
        assert torch.equal(read(vit, images(), [site])[site], rounded(clean[site]))
    with replaced(vit, {site: rounded}, reconstruct={site: rounded}):
        assert torch.allclose(read(vit, images(), [later])[later], clean[later], atol=1e-5)
    errors = reconstruction_errors(vit, images(), {site: rounded})
    assert torch.allclose(errors[site], clean[site] - rounded(clean[site]))
    # Upstream is changed: the own error is that of the changed value, the clean one is not.
    with ablated(vit, "blocks.0.hook_write"):
        changed = read(vit, images(), [site])[site]
        with replaced(vit, {site: rounded}, errors=errors):
            held = read(vit, images(), [site])[site]
        with replaced(vit, {site: rounded}, reconstruct={site: rounded}):
            own = read(vit, images(), [site])[site]
    assert torch.allclose(own, changed, atol=1e-6)
    assert torch.allclose(held, rounded(changed) + errors[site], atol=1e-6)
    with pytest.raises(ConfigError, match="given twice"):
        replaced(vit, {site: rounded}, reconstruct={site: rounded}, errors=errors)
    with (
        pytest.raises(InputError, match="return the same shape"),
        replaced(vit, {site: lambda value: value[:, :1]}),
    ):
        read(vit, images(), [site])


# ------------------------------------------------------------------------------- Jacobian-vector products


def double(spec: dict) -> Backbone:
    backbone = load({"seed": 1, **spec})
    backbone.module.double()
    return backbone


SPECS = {
    "vit": {"kind": "timm", "name": "vit", "architecture": "vit_tiny_patch16_224", "options": VIT},
    "resnet": {
        "kind": "timm", "name": "resnet", "architecture": "resnet18", "image_size": 32, "options": RESNET,
    },
    "clip": {"kind": "hf-vision", "name": "clip", "architecture": "clip_vision_model", "options": {
        "hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16,
        "image_size": 32, "patch_size": 8}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("vit", "resid_pre"), ("vit", "write"), ("clip", "resid_mid"),
        ("resnet", "resid_pre"), ("resnet", "write"), ("resnet", "resid_post_preact"),
    ],
)  # fmt: skip
def test_products_equal_finite_differences_either_way(name, kind):
    backbone = double(SPECS[name])
    source = f"blocks.0.hook_{kind}"
    targets = ["blocks.1.hook_write", "blocks.2.hook_resid_pre", "blocks.2.hook_resid_post"]
    site = backbone.sites[source]
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn(2, 2, site.tokens, site.width, generator=generator, dtype=torch.float64)
    inputs = images(2, torch.float64)
    forward = jacobian_vector_products(backbone, inputs, source, targets, vectors, method="forward")
    backward = jacobian_vector_products(backbone, inputs, source, targets, vectors, method="double-backward")
    step = 1e-6

    def moved(vector: torch.Tensor) -> dict[str, torch.Tensor]:
        with replaced(backbone, {source: lambda value: value + vector}):
            return read(backbone, inputs, targets)

    for target in targets:
        assert forward[target].shape == (2, 2, backbone.sites[target].tokens, backbone.sites[target].width)
        assert torch.allclose(forward[target], backward[target], rtol=1e-9, atol=1e-12)
        assert forward[target].abs().max() > 0
    for number, vector in enumerate(vectors):
        up, down = moved(step * vector), moved(-step * vector)
        for target in targets:
            difference = (up[target] - down[target]) / (2 * step)
            scale = float(difference.abs().max())
            assert torch.allclose(forward[target][number], difference, atol=1e-5 * scale, rtol=1e-4), target
    assert not backbone.handles


def test_products_equal_torchs_own():
    backbone = double(SPECS["vit"])
    blocks = backbone.module.blocks
    source, target = "blocks.0.hook_resid_post", "blocks.2.hook_resid_post"
    inputs = images(2, torch.float64)
    x = read(backbone, inputs, [source])[source].clone()
    v = torch.randn(1, *x.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):
        _, expected = torch.autograd.functional.jvp(lambda value: blocks[2](blocks[1](value)), x, v[0])
    found = jacobian_vector_products(backbone, inputs, source, target, v)[target]
    assert torch.allclose(found[0], expected, rtol=1e-10, atol=1e-12)


def test_one_vector_for_all_tokens_and_targets_that_cannot_be_reached(vit):
    source = "blocks.0.hook_write"
    v = np.eye(12)[:3, None, None, :]
    found = jacobian_vector_products(vit, images(), source, ["blocks.0.hook_skip", "blocks.0.hook_resid_post"], v)
    assert not found["blocks.0.hook_skip"].any()
    expected = torch.tensor(v).float().expand(3, 3, 17, 12)
    assert torch.allclose(found["blocks.0.hook_resid_post"], expected)
    with pytest.raises(ConfigError, match="does not come after"):
        jacobian_vector_products(vit, images(), "blocks.1.hook_write", "blocks.0.hook_write", v)
    with pytest.raises(InputError, match="do not fit"):
        jacobian_vector_products(vit, images(), source, "blocks.1.hook_write", np.ones((1, 12)))
    with pytest.raises(ConfigError, match="is a difference"):
        jacobian_vector_products(vit, images(), "blocks.0.hook_delta", "blocks.1.hook_write", v)


class NoForward(torch.autograd.Function):
    """An operation with a reverse derivative only."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class Cubic(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + NoForward.apply(x)


def test_operations_without_forward_derivative_fall_back():
    module = nn.Sequential(nn.Conv2d(3, 3, 1), Cubic(), Cubic()).double().eval()
    backbone = Backbone("cubic", module, [BlockMap("1", 1), BlockMap("2", 1)], Preprocessing(size=4))
    source, target = "blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    v = torch.ones(1, 2, 16, 3, dtype=torch.float64)
    pre = read(backbone, x, [source])[source]
    found = jacobian_vector_products(backbone, x, source, target, v)[target]
    assert torch.allclose(found[0], 1 + 3 * pre**2)
    with pytest.raises((RuntimeError, NotImplementedError)):
        jacobian_vector_products(backbone, x, source, target, v, method="forward")
