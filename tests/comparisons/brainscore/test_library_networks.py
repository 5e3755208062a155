"""Networks of libraries and of one's own in a plugin: made again, with the weights that were studied."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_stand_in import Hub
from submissions import exported

from bridge.errors import ConfigError
from comparisons.brainscore import rules
from comparisons.brainscore.verifying import imported

Ventral = Callable[..., tuple[int, str, str]]


@pytest.mark.slow
def test_networks_of_libraries(tmp_path: Path) -> None:
    """Networks that a library makes, with weights that go with the plugin."""
    vit = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    models = {
        "torchvision": {"kind": "torchvision", "architecture": "resnet18", "image_size": 64},
        "timm": {
            "kind": "timm", "architecture": "vit_tiny_patch16_224",
            "options": {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 36, "num_heads": 2, "num_classes": 5},
        },
        "transformers": {
            "kind": "hf-vision", "architecture": "vit", "weights": None,
            "options": {**vit, "image_size": 32, "patch_size": 8},
        },
    }  # fmt: skip
    for library, spec in models.items():
        site = "blocks.1.hook_resid_post"
        config = {
            "name": "study",
            "stimuli": {"kind": "battery", "name": "few", "families": ["blanks"], "size": 32},
            "models": [{"name": "net", **spec}],
            "submission": {"identifier": "a-net", "regions": dict.fromkeys(("V1", "V2", "V4", "IT"), site)},
        }
        made = exported(config, tmp_path / library)
        network = json.loads((tmp_path / library / "submission.json").read_text())["network"]
        assert network["library"] == library
        assert network["weights"]["path"] == "weights/network.safetensors"
        assert made.regions["IT"] == site
        wanted = ["torch", "torchvision", "safetensors", "huggingface_hub"]
        lines = (tmp_path / library / "requirements.txt").read_text().split()
        assert lines[:4] == wanted
        assert [line.partition("==")[0] for line in lines[4:]] == [name for name in (library,) if name != "torchvision"]


def test_a_transformer_lens_bridge_is_refused(tmp_path: Path) -> None:
    spec = {"kind": "hf-vision", "architecture": "vit", "weights": None, "backend": "transformer-lens"}
    with pytest.raises(ConfigError, match="use `backend: hooks`"):
        exported(library_study(spec), tmp_path / "bridged")


def saved(tensors: dict[str, torch.Tensor]) -> bytes:
    from safetensors.torch import save

    return save({name: value.clone().contiguous() for name, value in tensors.items()})


def library_study(model: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "study",
        "stimuli": {"kind": "battery", "name": "few", "families": ["blanks"], "size": 32},
        "models": [{"name": "net", "weights": "pretrained", **model}],
        "submission": {"identifier": "a-net", "regions": dict.fromkeys(("V1", "V2", "V4", "IT"), EARLIEST)},
    }


EARLIEST = "blocks.1.hook_resid_post"


def test_transformers_weights_stay_at_their_repository(tmp_path: Path, hub: Hub) -> None:
    """They are pinned to the commit, and other weights under the same commit are refused."""
    import transformers

    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    torch.manual_seed(0)
    network = transformers.ViTModel(config)
    files = {"config.json": config.to_json_string().encode(), "model.safetensors": saved(network.state_dict())}
    commit = hub.add("lab/vit", files)
    exported(library_study({"kind": "hf-vision", "model": "lab/vit"}), tmp_path / "a_net")
    about = json.loads((tmp_path / "a_net" / "submission.json").read_text())["network"]
    assert about["pretrained"] == {"repository": "lab/vit", "revision": commit}
    assert about["weights"] is None
    assert not (tmp_path / "a_net" / "weights").exists()
    assert all(one.problem is None for one in rules.examined(tmp_path / "a_net"))
    shutil.rmtree(tmp_path / "hub_cache")
    changed = {name: value + 1 if name.endswith("bias") else value for name, value in network.state_dict().items()}
    hub.repositories["lab/vit"].commits[commit]["model.safetensors"] = saved(changed)
    with imported(tmp_path / "a_net") as model, pytest.raises(RuntimeError, match="are not those that were submitted"):
        model.get_module("a-net")


def test_timm_weights_stay_at_their_repository(tmp_path: Path, hub: Hub) -> None:
    import timm

    torch.manual_seed(0)
    network = timm.create_model("resnet10t")
    commit = hub.add("timm/resnet10t.c3_in1k", {"model.safetensors": saved(network.state_dict())})
    exported(library_study({"kind": "timm", "architecture": "resnet10t.c3_in1k"}), tmp_path / "a_net")
    about = json.loads((tmp_path / "a_net" / "submission.json").read_text())["network"]
    assert about["pretrained"] == {"repository": "timm/resnet10t.c3_in1k", "revision": commit}
    assert "timm==" in (tmp_path / "a_net" / "requirements.txt").read_text()


def test_torchvision_weights_are_fetched_from_their_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By torchvision's own address, whose hash is checked, and not unpickled."""
    import hashlib

    import torchvision

    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "weights.pth")
    sha = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    file = tmp_path / f"resnet18-{sha[:8]}.pth"
    (tmp_path / "weights.pth").rename(file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.value, "url", file.as_uri())
    exported(library_study({"kind": "torchvision", "architecture": "resnet18", "image_size": 64}), tmp_path / "a_net")
    about = json.loads((tmp_path / "a_net" / "submission.json").read_text())["network"]
    assert about["pretrained"] == {"url": file.as_uri()}
    assert about["options"] == {"num_classes": 1000}


OWN = """
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(x)


class Net(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))
"""


def test_a_network_of_one_s_own_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is copied where it stands alone, and refused where it does not."""
    (tmp_path / "submitted_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = {
        "kind": "custom", "module": "submitted_network.Net", "options": {"depth": 3}, "weights": None,
        "blocks": "blocks.*", "preprocessing": {"size": 32},
    }  # fmt: skip
    exported(library_study(spec), tmp_path / "a_net")
    assert (tmp_path / "a_net" / "network.py").read_text() == OWN
    assert (
        json.loads((tmp_path / "a_net" / "submission.json").read_text())["models"]["a-net"]["readout"] == "network.head"
    )
    (tmp_path / "submitted_network.py").write_text("import bridge\n" + OWN)
    with pytest.raises(ConfigError, match="imports bridge, which Brain-Score's machines do not have"):
        exported(library_study(spec), tmp_path / "another")
