"""BatchNorm folded into convolutions: the same streams, nothing left behind, and nothing folded that must not be."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from bridge.folding import folded_batchnorm
from bridge.interventions import skip_off
from bridge.models import load
from bridge.models.base import Backbone, Preprocessing
from bridge.streams import BlockMap, read

SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 16, 16, 16], "num_classes": 3, "zero_init_last": False}
RESNETS = {
    "cifar": ({"kind": "cifar-resnet"}, 19),
    "torchvision": ({"kind": "torchvision", "architecture": "resnet18", "image_size": 64}, 20),
    "timm": ({"kind": "timm", "architecture": "resnet18", "image_size": 64, "options": SMALL}, 13),
    # The first norm of a pre-activation block reads the stream; the second follows a convolution.
    "demo": ({"kind": "demo", "network": "residual", "untrained": True}, 12),
    "groups": ({"kind": "timm", "architecture": "resnetv2_50d_gn", "options": {
        "layers": [1, 1, 1, 1], "channels": [128, 128, 256, 256]}, "image_size": 64}, 0),
    "vit": ({"kind": "timm", "architecture": "vit_tiny_patch16_224", "options": {
        "img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 12, "num_heads": 2}}, 0),
}  # fmt: skip


def with_statistics(backbone: Backbone) -> Backbone:
    """Norms whose scale, shift and running statistics are nothing special, as after training."""
    generator = torch.Generator().manual_seed(0)
    for layer in backbone.module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for value in (layer.running_var, layer.weight.data):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            for value in (layer.running_mean, layer.bias.data):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    return backbone


def images(backbone: Backbone) -> torch.Tensor:
    size = backbone.preprocessing.size
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", RESNETS)
def test_every_site_keeps_its_value(name):
    spec, layers = RESNETS[name]
    backbone = with_statistics(load({"name": name, "seed": 2, **spec}))
    sites = list(backbone.sites)
    before = read(backbone, images(backbone), sites)
    state = {key: value.clone() for key, value in backbone.module.state_dict().items()}
    with folded_batchnorm(backbone, sites) as folded:
        during = read(backbone, images(backbone), sites)
        assert backbone.module.state_dict().keys() == state.keys()
    after = read(backbone, images(backbone), sites)
    assert folded == layers
    for site in sites:
        assert torch.allclose(during[site], before[site], atol=1e-5 * float(before[site].abs().max())), site
        assert torch.equal(after[site], before[site])
    assert all(torch.equal(value, state[key]) for key, value in backbone.module.state_dict().items())
    assert not any("forward" in vars(layer) for layer in backbone.module.modules())


class Pair(nn.Module):
    """A block whose branch is a convolution and a norm, wired as the test asks."""

    def __init__(self, wiring: str = "plain"):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=wiring == "bias")
        self.norm = nn.BatchNorm2d(4)
        self.wiring = wiring

    def forward(self, x):
        y = self.conv(x)
        z = self.norm(y.relu() if self.wiring == "between" else y)
        return x + z + (y if self.wiring == "both used" else 0)


def network(wiring: str, block: BlockMap | None = None) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = nn.Sequential(nn.Conv2d(3, 4, 1), Pair(wiring), Pair(wiring)).eval()
    blocks = [block or BlockMap("1", 1), BlockMap("2", 1)]
    return with_statistics(Backbone(wiring, module, blocks, Preprocessing(size=8)))


@pytest.mark.parametrize(("wiring", "layers"), [("plain", 2), ("bias", 2), ("between", 0), ("both used", 0)])
def test_only_a_norm_that_reads_a_convolution_alone_is_folded(wiring, layers):
    backbone = network(wiring)
    x = images(backbone)
    sites = ["blocks.1.hook_resid_post"]
    before = read(backbone, x, sites)[sites[0]]
    with folded_batchnorm(backbone, sites) as folded:
        assert folded == layers
        assert torch.allclose(read(backbone, x, sites)[sites[0]], before, atol=1e-5)


def test_the_folded_convolution_is_torchs():
    backbone = network("bias")
    pair = backbone.module[1]
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    with folded_batchnorm(backbone, list(backbone.sites)):
        ours = pair.conv(x)
        assert pair.norm(ours) is ours
    assert torch.allclose(ours, fuse_conv_bn_eval(pair.conv, pair.norm)(x), atol=1e-5)


def test_left_alone_under_an_intervention_with_hooks_and_as_sites():
    backbone = load({"kind": "cifar-resnet", "name": "r", "seed": 0})
    sites = list(backbone.sites)
    with skip_off(backbone, [1]), folded_batchnorm(backbone, sites) as folded:
        assert folded == 0
    handle = backbone.module.get_submodule(backbone.blocks[0].write).register_forward_hook(lambda *_: None)
    with folded_batchnorm(backbone, sites) as folded:
        assert folded == 18
    handle.remove()
    double = network("plain")
    double.module.double()
    with folded_batchnorm(double, list(double.sites)) as folded:
        assert folded == 0
    # A convolution whose output is the write of its block is a site: its value must stay.
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))).eval()
    backbone = Backbone("site", module, [BlockMap("1", 1, attn="1.0", plain=True)], Preprocessing(size=8))
    with folded_batchnorm(backbone, ["blocks.0.hook_attn_out"]) as folded:
        assert folded == 0


def test_undone_after_an_exception():
    backbone = network("plain")
    with pytest.raises(KeyError), folded_batchnorm(backbone, list(backbone.sites)):
        raise KeyError
    assert not any("forward" in vars(layer) for layer in backbone.module.modules())
