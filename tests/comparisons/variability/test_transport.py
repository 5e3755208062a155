"""Transport against closed forms of linear networks, finite differences, and what skips and chains must give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bridge.errors import ConfigError, InputError
from bridge.models import load
from bridge.models.base import Backbone, Preprocessing
from bridge.streams import BlockMap, read, tapped
from comparisons.variability.linearity import additive_law, injected
from comparisons.variability.training import contrast, task_directions
from comparisons.variability.transport import (
    Products,
    bypass_ratios,
    carried_through,
    feature_cosines,
    feature_products,
    feature_transport,
    furthest,
    mask_traces,
    stream_products,
    stream_transport,
    transported,
    vectors_needed,
)

D, TOKENS = 24, 5


class LinearBlock(nn.Module):
    def __init__(self, weight: torch.Tensor, skip: float) -> None:
        super().__init__()
        self.write = nn.Linear(D, D, bias=False)
        self.write.weight = nn.Parameter(weight)
        self.keep = skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        write = self.write(x)
        return x + write if self.keep else write


class Chain(nn.Module):
    """Blocks x -> skip x + W x on tokens [batch, 5, 24]."""

    def __init__(self, weights: list[torch.Tensor], skip: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(LinearBlock(weight, skip) for weight in weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def linear(skip: float, scale: float = 0.3, blocks: int = 4, seed: int = 0) -> tuple[Backbone, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    weights = [scale / D**0.5 * torch.randn(D, D, generator=generator) for _ in range(blocks)]
    maps = [BlockMap(f"blocks.{n}", stage=1, write=f"blocks.{n}.write", plain=not skip) for n in range(blocks)]
    example = torch.randn(2, TOKENS, D, generator=generator)
    module = Chain(weights, skip).eval()
    return Backbone("linear", module, maps, Preprocessing(size=8), layout="btc", example=example), weights


def batch(n: int = 6, seed: int = 5) -> torch.Tensor:
    return torch.randn(n, TOKENS, D, generator=torch.Generator().manual_seed(seed))


POSTS = [f"blocks.{n}.hook_resid_post" for n in range(4)]


@pytest.mark.parametrize("skip", [1.0, 0.0])
def test_transport_has_its_closed_form_in_linear_networks(skip: float) -> None:
    """J = prod (skip I + W): t = tr J / d, w = |J|^2 / d."""
    net, weights = linear(skip)
    jacobian = torch.eye(D)
    for weight in weights[1:]:
        jacobian = (skip * torch.eye(D) + weight) @ jacobian
    found = transported(stream_products(net, batch(), POSTS[0], [POSTS[3]], 400, seed=1)[POSTS[3]])
    t, w = float(jacobian.trace() / D), float((jacobian**2).sum() / D)
    assert found.t == pytest.approx(t, abs=4 * (2 * w / (D * TOKENS * 6 * 400)) ** 0.5)
    assert found.w == pytest.approx(w, rel=0.02)
    assert found.aligned_share == pytest.approx(t**2 / w, abs=0.01)


def test_the_identity_transports_all_and_nothing_else_arrives() -> None:
    net, _ = linear(1.0, scale=0.0)
    for one in stream_transport(net, batch(), POSTS[:1], POSTS).values():
        assert (one.t, one.w, one.aligned_share) == pytest.approx((1, 1, 1), abs=1e-6)
        assert one.t_se == pytest.approx(0, abs=1e-6)


def test_a_chain_loses_identity_in_one_step_and_a_stream_keeps_it() -> None:
    stream, chain = (stream_transport(linear(skip, 1.0)[0], batch(16), POSTS[:3], POSTS) for skip in (1.0, 0.0))
    for pair in stream:
        assert abs(chain[pair].t) < 0.1
        assert stream[pair].t > 0.8


def test_the_error_of_t_is_its_spread_over_draws() -> None:
    net, _ = linear(1.0, 0.8)
    found = [transported(stream_products(net, batch(), POSTS[0], POSTS[3:], 1, seed=s)[POSTS[3]]) for s in range(60)]
    assert np.std([one.t for one in found]) == pytest.approx(np.mean([one.t_se for one in found]), rel=0.35)
    # and of the size that the number of vectors is chosen by
    d, w = TOKENS * D, found[0].w
    assert np.std([one.t for one in found]) == pytest.approx((2 * w / (d * 6)) ** 0.5, rel=0.5)
    assert vectors_needed(w=10, dimensions=500, images=10) == 10
    assert vectors_needed(w=1e-3, dimensions=500, images=10) == 1


def test_products_equal_finite_differences() -> None:
    net = load({"kind": "demo", "name": "net", "network": "residual"})
    inputs = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    source, target = "blocks.5.hook_resid_post", "blocks.7.hook_resid_post"
    site = net.sites[source]
    one = stream_products(net, inputs, source, [target], 1, seed=3)[target]
    v = torch.randn((1, 2, site.tokens, site.width), generator=torch.Generator().manual_seed(3))[0]
    moved = []
    for sign in (1, -1):

        def push(value: torch.Tensor, sign: int = sign) -> torch.Tensor:
            return value + sign * 1e-3 * v

        with tapped(net, {source: push}):
            moved.append(read(net, inputs, [target])[target])
    difference = (moved[0] - moved[1]) / 2e-3
    np.testing.assert_allclose((v * difference).sum(dim=(1, 2)).numpy(), one.aligned, rtol=0.02)


def test_directions_are_carried_through_projection_shortcuts_and_not_through_plain_blocks() -> None:
    residual, plain = (load({"kind": "demo", "name": n, "network": n}) for n in ("residual", "plain"))
    posts = [f"blocks.{n}.hook_resid_post" for n in range(12)]
    assert carried_through(residual, posts[1], posts[3]) is True
    assert carried_through(residual, posts[1], posts[4]) is False
    assert carried_through(plain, posts[1], posts[4]) is None
    assert furthest(residual, posts[1], posts) == posts[11]
    assert furthest(plain, posts[1], posts) == posts[3]
    assert furthest(plain, posts[3], posts) is None
    inputs = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    kept = transported(stream_products(residual, inputs, posts[2], [posts[4]], 1, seed=0)[posts[4]])
    assert kept.t > 0.5
    lost = transported(stream_products(plain, inputs, posts[2], [posts[4]], 1, seed=0)[posts[4]])
    assert np.isnan(lost.t)
    assert lost.w > 0


def test_a_relu_after_the_sum_transports_the_trace_of_its_mask() -> None:
    """With the writes off, t through ReLUs is the share of units that are active all the way."""
    from bridge.interventions import block_off

    net = load({"kind": "cifar-resnet", "name": "net", "untrained": True, "seed": 1})
    inputs = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    posts = [f"blocks.{n}.hook_resid_post" for n in range(3)]
    with block_off(net, [1, 2]):
        values = read(net, inputs, posts)
        found = transported(stream_products(net, inputs, posts[0], [posts[2]], 4, seed=0)[posts[2]])
        trace = mask_traces([values[name].numpy() for name in posts[1:]])[-1]
    assert 0.2 < trace < 0.9
    assert found.t == pytest.approx(trace, abs=0.02)
    with pytest.raises(InputError, match="share no basis"):
        mask_traces([np.zeros((1, 2, 3)), np.zeros((1, 2, 4))])


def test_features_are_transported_by_their_own_share() -> None:
    """The write takes 70% of one direction away and nothing of another; t_f says so, token by token."""
    direction, other = torch.eye(D)[0], torch.eye(D)[1]
    net, _ = linear(1.0, scale=0.0, blocks=2)
    with torch.no_grad():
        net.module.blocks[1].write.weight -= 0.7 * torch.outer(direction, direction)
    products = feature_products(net, batch(), POSTS[0], POSTS[1], torch.stack([direction, 2 * other]).numpy())
    t, se = feature_transport(products)
    np.testing.assert_allclose(t, [0.3, 1.0], atol=1e-6)
    np.testing.assert_allclose(se, 0, atol=1e-6)
    np.testing.assert_allclose(feature_cosines(products), [1, 1], atol=1e-6)
    many = feature_products(net, batch(), POSTS[0], POSTS[1], np.eye(D))  # more directions than images
    np.testing.assert_allclose(feature_transport(many)[0], [0.3] + [1.0] * (D - 1), atol=1e-6)
    plain, images = load({"kind": "demo", "name": "p", "network": "plain"}), torch.zeros(2, 3, 64, 64)
    with pytest.raises(ConfigError, match="cannot be carried"):
        feature_products(plain, images, "blocks.3.hook_resid_post", "blocks.4.hook_resid_post", np.eye(16))


def test_transport_needs_two_images_and_says_nothing_of_what_is_not_carried() -> None:
    net, _ = linear(1.0)
    with pytest.raises(InputError, match="at least two"):
        stream_transport(net, batch(1), POSTS[:1], POSTS)
    nothing = Products(np.zeros(3), np.zeros(3), np.ones(3), np.ones(3))
    assert np.isnan(transported(nothing).t)
    assert transported(nothing).w == 1


def test_bypass_ratios_are_of_the_gains_between_writes() -> None:
    assert bypass_ratios({(0, 1): 2.0, (1, 2): 3.0, (0, 2): 12.0}) == {(0, 2): 2.0}
    assert bypass_ratios({(0, 1): 0.0, (1, 2): 3.0, (0, 2): 12.0}) == {}


@pytest.mark.parametrize("skip", [1.0, 0.0])
def test_the_additive_law_holds_with_and_without_skips(skip: float) -> None:
    """So it is a check of linearity, and tells streams and chains apart by nothing."""
    net, _ = linear(skip, 1.0)
    law = additive_law(*injected(net, batch(200), POSTS[:3], POSTS[3], settings=30))
    assert law.held_out_r2 > 0.99
    gains = stream_transport(net, batch(), POSTS[:3], POSTS[3:], vectors=50)
    expected = [gains[name, POSTS[3]].w for name in POSTS[:3]]
    np.testing.assert_allclose(law.weights, expected, rtol=0.1, atol=0.02)
    with pytest.raises(InputError, match="at least 8"):
        additive_law(np.ones((4, 2)), np.ones(4))


def test_task_directions_are_told_apart_by_the_labels() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 100)
    values = rng.standard_normal((300, 10)) * np.array([1, 1, 1, 1, 3, 3, 1, 1, 1, 1])
    values[:, :2] += 4 * np.array([[0, 1], [1, 0], [-1, -1]])[labels]
    found = task_directions(values, labels)
    assert found.relevant.shape == found.irrelevant.shape == (2, 10)
    assert (found.relevant[:, :2] ** 2).sum() > 1.9
    assert np.abs(found.relevant @ found.irrelevant.T).max() < 1e-9
    assert (found.irrelevant[:, 4:6] ** 2).sum() > 1.5, "the within-class axes whose variance is nearest"
    with pytest.raises(InputError, match="two classes"):
        task_directions(values, np.zeros(300))
    assert contrast(np.array([0.8, 0.9]), np.array([0.4, np.nan, 0.5]))[0] == pytest.approx(0.4)
