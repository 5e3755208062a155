"""The mechanism against forward passes written out by hand, and what it must leave behind: nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from bridge import streams
from bridge.errors import ConfigError
from bridge.models import load
from bridge.models.base import Backbone, Preprocessing
from bridge.streams import BlockMap, read, run, tapped

RESNET = {"layers": [2, 1, 1, 1], "channels": [8, 16, 16, 16], "num_classes": 3, "zero_init_last": False}
VIT = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 2, "init_values": 0.3}


def stirred(backbone: Backbone) -> Backbone:
    """Norms and biases away from their initial ones and zeros."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in [*backbone.module.parameters(), *backbone.module.buffers()]:
            if value.dtype.is_floating_point and value.ndim == 1:
                value += 0.1 * torch.rand(value.shape, generator=generator)
    return backbone


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # faster than several on small networks
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def networks() -> dict[str, Backbone]:
    specs = {
        "cifar": {"kind": "cifar-resnet", "depth": 20},
        "basic": {"kind": "timm", "architecture": "resnet18", "image_size": 32, "options": RESNET},
        "bottleneck": {"kind": "timm", "architecture": "resnet50", "image_size": 32, "options": RESNET},
        "preact": {"kind": "timm", "architecture": "resnetv2_50", "image_size": 64, "options": {
            **RESNET, "channels": [32, 64, 64, 64]}},
        "vit": {"kind": "timm", "architecture": "vit_tiny_patch16_224", "options": VIT},
    }  # fmt: skip
    return {name: stirred(load({"name": name, "seed": 2, **spec})) for name, spec in specs.items()}


def images(backbone: Backbone, n: int = 2) -> torch.Tensor:
    size = backbone.preprocessing.size
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def no_change(kind: str, value: torch.Tensor) -> torch.Tensor:
    return value


# The blocks of each network written out: block, its input, `at(kind, value)` stands where each site is.


def by_hand_basic(block, x, at):
    x = at("resid_pre", x)
    write = at("write", block.bn2(block.conv2(functional.relu(block.bn1(block.conv1(x))))))
    skip = at("skip", x if block.downsample is None else block.downsample(x))
    return at("resid_post", functional.relu(at("resid_post_preact", write + skip)))


def by_hand_bottleneck(block, x, at):
    x = at("resid_pre", x)
    inner = functional.relu(block.bn2(block.conv2(functional.relu(block.bn1(block.conv1(x))))))
    write = at("write", block.bn3(block.conv3(inner)))
    skip = at("skip", x if block.downsample is None else block.downsample(x))
    return at("resid_post", functional.relu(at("resid_post_preact", write + skip)))


def by_hand_preact(block, x, at):
    x = at("resid_pre", x)
    ready = block.norm1(x)
    skip = at("skip", x if block.downsample is None else block.downsample(ready))
    write = at("write", block.conv3(block.norm3(block.conv2(block.norm2(block.conv1(ready))))))
    return at("resid_post", write + skip)


def by_hand_vit(block, x, at):
    x = at("resid_pre", x)
    attn = at("attn_out", block.ls1(block.attn(block.norm1(x))))
    middle = at("resid_mid", x + attn)
    # The branch is what the network goes on from: a changed middle is a changed attention branch.
    mlp = at("mlp_out", block.ls2(block.mlp(block.norm2(middle))))
    write, skip = at("write", middle - x + mlp), at("skip", x)
    return at("resid_post", write + skip)


BY_HAND = {
    "basic": (by_hand_basic, "layer1"),
    "bottleneck": (by_hand_bottleneck, "layer1"),
    "preact": (by_hand_preact, "stages.0.blocks"),
    "vit": (by_hand_vit, "blocks"),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("index", [0, 1])
def test_a_changed_site_has_exactly_the_effect_that_it_has_by_hand(networks, name, index):
    backbone, (by_hand, path) = networks[name], BY_HAND[name]
    block = backbone.module.get_submodule(path)[index]
    pre, post = f"blocks.{index}.hook_resid_pre", f"blocks.{index}.hook_resid_post"
    clean = read(backbone, images(backbone), backbone.sites)
    like = SimpleNamespace(value=None)

    def keep(module, args, output):
        like.value = args[0].clone()

    handle = block.register_forward_hook(keep)
    run(backbone, images(backbone))
    handle.remove()
    x = like.value.detach()

    def edit(value: torch.Tensor) -> torch.Tensor:
        return value.roll(1, dims=0) * 0.7 - 0.2

    kinds = [n.rpartition("hook_")[2] for n in backbone.sites if n.startswith(f"blocks.{index}.")]
    with torch.no_grad():
        assert torch.allclose(backbone.to_tokens(by_hand(block, x, no_change)), clean[post], atol=1e-5)
        for kind in kinds:
            if kind == "delta":
                continue
            seen: list[torch.Tensor] = []

            def at(here, value, kind=kind, seen=seen):
                seen.append(here)
                return edit(value) if here == kind else value

            expected = backbone.to_tokens(by_hand(block, x, at))
            assert kind in seen
            with tapped(backbone, {f"blocks.{index}.hook_{kind}": edit}):
                found = read(backbone, images(backbone), [pre, post])[post]
            assert torch.allclose(found, expected, atol=2e-5 * float(expected.abs().max())), kind
            assert not torch.allclose(found, clean[post], atol=1e-3), kind


def test_taps_see_what_earlier_taps_left_and_contexts_nest(networks):
    backbone = networks["basic"]
    write, skip = "blocks.1.hook_write", "blocks.1.hook_skip"
    total = "blocks.1.hook_resid_post_preact"
    clean = read(backbone, images(backbone), [write, skip, total])
    with tapped(backbone, {total: lambda value: value + 5}):
        inner = read(backbone, images(backbone), [write, skip, total])
        with tapped(backbone, {write: lambda value: 2 * value}):
            both = read(backbone, images(backbone), [write, skip, total])
    # What changes the sum does not show in the parts, whichever way the network is made to carry it.
    assert torch.equal(inner[write], clean[write])
    assert torch.equal(inner[skip], clean[skip])
    assert torch.allclose(inner[total], clean[total] + 5, atol=1e-5)
    assert torch.allclose(both[write], 2 * clean[write])
    assert torch.allclose(both[total], 2 * clean[write] + clean[skip] + 5, atol=1e-5)
    after = read(backbone, images(backbone), [total])
    assert torch.equal(after[total], clean[total])
    assert not backbone.handles
    assert not backbone.layers


def hooks_on(backbone: Backbone) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in backbone.module.modules())


def test_the_pass_stops_after_the_last_site_that_is_needed(networks):
    backbone = networks["vit"]
    ran: list[str] = []
    blocks = backbone.module.blocks
    handles = [block.register_forward_pre_hook(lambda m, a, i=i: ran.append(i)) for i, block in enumerate(blocks)]
    try:
        read(backbone, images(backbone), ["blocks.0.hook_resid_mid"])
        assert ran == [0]
        with tapped(backbone, {"blocks.0.hook_resid_post": lambda value: None}, stop=True):
            assert run(backbone, images(backbone)) is None
            assert run(backbone, images(backbone)) is None  # a pass that was cut short leaves nothing behind
        assert ran == [0, 0, 0]
        assert run(backbone, images(backbone)) is not None
    finally:
        for handle in handles:
            handle.remove()


def test_hooks_come_off_after_exceptions(networks):
    backbone = networks["bottleneck"]
    before = hooks_on(backbone)
    clean = backbone.forward(images(backbone))

    def fails(value: torch.Tensor) -> None:
        raise KeyError("from a tap")

    with pytest.raises(KeyError, match="from a tap"), tapped(backbone, {"blocks.1.hook_write": fails}):
        run(backbone, images(backbone))
    with pytest.raises(KeyError), tapped(backbone, {"blocks.0.hook_skip": torch.zeros_like}):
        raise KeyError
    assert hooks_on(backbone) == before
    assert torch.equal(backbone.forward(images(backbone)), clean)


def test_values_that_are_read_are_the_readers_own(networks):
    backbone = networks["cifar"]
    first = read(backbone, images(backbone), ["blocks.2.hook_resid_post"])["blocks.2.hook_resid_post"]
    kept = first.clone()
    read(backbone, images(backbone) + 1, backbone.sites)
    assert torch.equal(first, kept)
    assert not first.requires_grad


def test_a_site_that_is_not_there_is_answered_with_the_nearest(networks):
    backbone = networks["vit"]
    with pytest.raises(ConfigError, match=r"did you mean 'blocks\.1\.hook_resid_post'"):
        read(backbone, images(backbone), ["blocks.1.hook_residpost"])
    with pytest.raises(ConfigError, match="No site matches"):
        streams.match_sites("layers.*", list(backbone.sites))
    with pytest.raises(ConfigError, match="is not a site's name"):
        streams.split_name("blocks.x.hook_resid_post")
    assert streams.match_sites(["blocks.*.hook_resid_post", "stem"], list(backbone.sites)) == [
        "blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post",
    ]  # fmt: skip


class Overwriting(nn.Module):
    """Adds into its own input, as some networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.add_(self.conv(x))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.bn(self.conv(x)))


def small(*blocks: nn.Module, maps: list[BlockMap]) -> Backbone:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), *blocks).eval()
    return Backbone("small", module, maps, Preprocessing(size=8))


def test_blocks_that_overwrite_their_input():
    torch.manual_seed(0)
    backbone = small(Overwriting(), Overwriting(), maps=[BlockMap("1", 1), BlockMap("2", 1)])
    values = read(backbone, images(backbone), backbone.sites)
    assert values["blocks.1.hook_write"].abs().max() > 0.01
    assert torch.equal(values["blocks.0.hook_resid_post"], values["blocks.1.hook_resid_pre"])
    total = values["blocks.1.hook_write"] + values["blocks.1.hook_skip"]
    assert torch.allclose(total, values["blocks.1.hook_resid_post"], atol=1e-6)


def test_in_a_plain_network_the_skip_is_zero_and_delta_is_output_minus_input():
    torch.manual_seed(0)
    backbone = small(
        Plain(), Plain(), maps=[BlockMap("1", 1, plain=True), BlockMap("2", 1, "2.bn", plain=True, act=True)]
    )
    values = read(backbone, images(backbone), backbone.sites)
    for index in (0, 1):
        of = {kind: values.get(f"blocks.{index}.hook_{kind}") for kind in streams.KINDS}
        assert not of["skip"].any()
        assert torch.equal(of["delta"], of["resid_post"] - of["resid_pre"])
    assert torch.equal(values["blocks.0.hook_write"], values["blocks.0.hook_resid_post"])
    assert torch.equal(values["blocks.1.hook_write"], values["blocks.1.hook_resid_post_preact"])
    for index in (0, 1):
        with tapped(backbone, {f"blocks.{index}.hook_skip": lambda value: value + 1}):
            changed = read(backbone, images(backbone), backbone.sites)
        before = "resid_post_preact" if index else "resid_post"
        found, clean = changed[f"blocks.{index}.hook_{before}"], values[f"blocks.{index}.hook_{before}"]
        assert torch.allclose(found, clean + 1, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (BlockMap("layer1.0", 1, write="layer1.0.bn1", act=True), "no non-linearity of skip"),
        (BlockMap("layer1.0", 1, write="layer1.0.bn2"), "is not its output"),
        (BlockMap("layer1.0", 1, write="layer1.1.bn2", act=True), "runs 0 times"),
        (BlockMap("layer1.0", 1, act=True), "no `write`"),
        (BlockMap("layer1.0", 1, write="layer1.0.bn2", skip="layer1.0.shortcut", plain=True, act=True), "yet has a"),
        (BlockMap("layer2.0", 1), "without a `write`"),
    ],
)
def test_a_map_that_does_not_describe_its_block_is_refused(networks, wrong, said):
    good = networks["cifar"]
    with pytest.raises(ConfigError, match=said):
        _ = Backbone("wrong", good.module, [wrong], Preprocessing(size=32)).sites


def test_half_precision_streams_are_read_in_their_own_type(networks):
    backbone = load({"kind": "cifar-resnet", "name": "bf16", "depth": 20})
    backbone.module.to(torch.bfloat16)
    values = read(backbone, images(backbone).to(torch.bfloat16), ["blocks.8.hook_resid_post"])
    assert values["blocks.8.hook_resid_post"].dtype == torch.bfloat16
