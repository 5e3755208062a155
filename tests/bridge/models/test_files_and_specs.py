"""Weights from files, preprocessing as the libraries do it, a user's own module, and what is refused."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from bridge.errors import ConfigError, InputError, UnreachableError
from bridge.hub import commit_of, fetching
from bridge.models import AnyModel, Preprocessing, load
from bridge.models.checkpoints import read_tensors
from bridge.models.huggingface_vision import preprocessing_from
from bridge.streams import read

CIFAR = {"kind": "cifar-resnet", "name": "net"}
SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "num_classes": 3}


def spec_of(content: dict) -> object:
    return TypeAdapter(AnyModel).validate_python(content)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".th"])
def test_weights_come_back_from_files(tmp_path, suffix):
    from safetensors.torch import save_file

    state = load({**CIFAR, "seed": 4}).module.state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        wrapped = {"best_prec1": 91.0, "state_dict": {f"module.{key}": value for key, value in state.items()}}
        torch.save(wrapped if suffix == ".th" else state, path)
    loaded = load({**CIFAR, "weights": str(path)}).module.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in state.items())
    untrained = load({**CIFAR, "weights": str(path), "untrained": True, "seed": 9}).module.state_dict()
    assert not torch.equal(untrained["conv1.weight"], state["conv1.weight"])


class Harmful:
    """What a pickled checkpoint could do."""

    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_pickled_objects_are_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"weight": torch.ones(1)}, "extra": Harmful()}, "pickled.pt")
    Path("plain.pt").write_bytes(pickle.dumps(Harmful()))
    for name in ("pickled.pt", "plain.pt"):
        with pytest.raises(InputError, match=r"holds pickled Python objects|cannot be read") as caught:
            read_tensors(Path(name))
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="holds pickled Python objects, which could run code"):
        read_tensors(Path("pickled.pt"))
    assert not Path("ran").exists()


def test_untrained_networks_of_timm_write(tmp_path):
    """timm draws the last norm of a ResNet's block as zero; what then stands for 'untrained' is the stem alone."""
    small = {"kind": "timm", "name": "net", "architecture": "resnet18", "options": {"channels": [8, 8, 8, 8]}}
    drawn = {name: load({**small, **more}) for name, more in (("default", {}), ("again", {}), ("seed", {"seed": 1}))}
    gains = {name: net.module.layer1[0].bn2.weight for name, net in drawn.items()}
    assert (gains["default"] == 1).all()
    first = {name: net.module.conv1.weight for name, net in drawn.items()}
    assert torch.equal(first["default"], first["again"])
    assert not torch.equal(first["default"], first["seed"])
    zero = {**small, "options": {**small["options"], "zero_init_last": True}}
    assert (load(zero).module.layer1[0].bn2.weight == 0).all()
    assert spec_of(zero).fingerprint() != spec_of(small).fingerprint()


def test_bad_checkpoints_are_named(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(InputError, match=r"cut\.safetensors cannot be read"):
        load({**CIFAR, "weights": str(tmp_path / "cut.safetensors")})
    with pytest.raises(InputError, match="There is no checkpoint"):
        spec_of({**CIFAR, "weights": str(tmp_path / "missing.pt")}).fingerprint()
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds no table of tensors"):
        read_tensors(tmp_path / "list.pt")
    torch.save(load({**CIFAR, "depth": 32}).module.state_dict(), tmp_path / "deeper.pt")
    with pytest.raises(InputError, match="of another architecture than 'net'"):
        load({**CIFAR, "weights": str(tmp_path / "deeper.pt")})


def test_the_fingerprint_follows_the_bytes_and_not_the_name(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(load(CIFAR).module.state_dict(), path)
    spec = {"kind": "timm", "architecture": "resnet18", "weights": str(path)}
    one = spec_of({**spec, "name": "a"}).fingerprint()
    assert one == spec_of({**spec, "name": "b", "role": "control"}).fingerprint()
    path.write_bytes(path.read_bytes() + b" ")
    assert one != spec_of({**spec, "name": "a"}).fingerprint()


def test_specs_and_fingerprints_import_no_heavy_library(tmp_path):
    code = f"""
import sys
from pydantic import TypeAdapter
from bridge.models import AnyModel
read = TypeAdapter(AnyModel).validate_python
for spec in (
    dict(kind="cifar-resnet"), dict(kind="torchvision", architecture="resnet18"), dict(kind="timm", architecture="x"),
    dict(kind="hf-vision", architecture="vit"), dict(kind="language", architecture="gpt2"),
    dict(kind="hf-vision", model="some/repository", revision="{"0" * 40}"),
    dict(kind="custom", module="torch.nn.Identity", preprocessing=dict(size=8), blocks="*"),
):
    read(dict(spec, name="x")).fingerprint()
heavy = {{"torch", "timm", "transformers", "torchvision", "pandas", "huggingface_hub"}} & set(sys.modules)
assert not heavy, heavy
"""
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)


@pytest.mark.parametrize("shape", [(175, 175), (64, 97), (300, 41)])
def test_preprocessing_equals_the_libraries(shape):
    import timm.data
    from torchvision.transforms._presets import ImageClassification
    from torchvision.transforms.functional import InterpolationMode

    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    ours = Preprocessing(size=32, resize=37, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), interpolation="bicubic")
    settings = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    preset = ImageClassification(
        crop_size=32, resize_size=37, interpolation=InterpolationMode.BICUBIC, antialias=True, **settings
    )
    timms = timm.data.create_transform(
        input_size=(3, 32, 32), crop_pct=32 / 37, interpolation="bicubic", is_training=False, **settings
    )
    for theirs in (preset, timms):
        assert np.allclose(ours(image), theirs(Image.fromarray(image)).numpy(), atol=1e-6)
    squashed = Preprocessing(size=32, squash=True, **settings)(image)
    assert squashed.shape == (3, 32, 32)


def test_preprocessing_of_a_model_is_what_its_library_states():
    spec = {"kind": "timm", "name": "t", "architecture": "resnet18.a1_in1k", "options": SMALL}
    timm_made = load(spec).preprocessing
    assert (timm_made.size, timm_made.resize, timm_made.interpolation) == (224, 235, "bicubic")
    with pytest.raises(InputError, match="makes no square image"):
        preprocessing_from({"size": {"shortest_edge": 224}}, "odd")
    squash = preprocessing_from({"size": {"height": 32, "width": 32}, "resample": 2}, "vit")
    assert (squash.size, squash.squash, squash.mean) == (32, True, (0.5, 0.5, 0.5))


def test_networks_that_are_no_residual_stream_are_refused():
    for architecture in ("vgg11", "densenet121"):
        spec = {"kind": "timm", "name": architecture, "architecture": architecture, "image_size": 32}
        with pytest.raises(ConfigError, match="is no sequence of residual blocks"):
            load(spec)
    with pytest.raises(ConfigError, match="did you mean 'resnet50'"):
        load({"kind": "timm", "name": "typo", "architecture": "resnt50"})
    with pytest.raises(ConfigError, match="does not take the options"):
        load({"kind": "timm", "name": "options", "architecture": "resnet18", "options": {"width": 3}})
    with pytest.raises(ConfigError, match="did you mean 'IMAGENET1K_V1'"):
        load({"kind": "torchvision", "name": "v", "architecture": "resnet18", "version": "IMAGENET1K_V9"})
    with pytest.raises(ValidationError, match="timm"):
        spec_of({"kind": "tim", "name": "typo"})


def test_without_a_network_one_sentence(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    spec = {"kind": "hf-vision", "name": "dino", "model": "facebook/dinov2-base"}
    for call in (lambda: load(spec), spec_of(spec).fingerprint):
        with pytest.raises(UnreachableError, match="facebook/dinov2-base cannot be fetched") as caught:
            call()
        assert "\n" not in str(caught.value)
    with pytest.raises(UnreachableError, match=r"timm/resnet18\.a1_in1k cannot be fetched"):
        load({"kind": "timm", "name": "r", "architecture": "resnet18.a1_in1k", "weights": "pretrained"})
    with pytest.raises(InputError, match=r"model folder .* cannot be read"):
        load({"kind": "hf-vision", "name": "none", "model": str(tmp_path)})
    (tmp_path / "models--some--net" / "refs").mkdir(parents=True)
    (tmp_path / "models--some--net" / "refs" / "main").write_text("a" * 40)
    assert commit_of("some/net", None) == "a" * 40
    assert commit_of("some/net", "b" * 40) == "b" * 40
    with pytest.raises(ZeroDivisionError), fetching("a bug"):
        _ = 1 / 0


OWN = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
    def forward(self, x):
        return x + self.conv2(self.norm(x).relu())

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)
        self.layers = nn.Sequential(Block(width), Block(width))
    def forward(self, x):
        return self.layers(self.stem(x)).mean((2, 3))
"""


def test_a_module_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "own_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = {"kind": "custom", "name": "own", "module": "own_network.Net", "options": {"width": 6},
            "preprocessing": {"size": 8}, "blocks": "layers.*"}  # fmt: skip
    before = spec_of(spec).fingerprint()
    by_glob = load(spec)
    stated = [{"module": f"layers.{n}", "write": f"layers.{n}.conv2"} for n in (0, 1)]
    by_hand = load({**spec, "blocks": stated})
    assert by_glob.blocks == by_hand.blocks
    inputs = torch.randn(2, 3, 8, 8)
    values = read(by_glob, inputs, by_glob.sites)
    assert values["blocks.1.hook_write"].shape == (2, 64, 6)
    for wrong, said in [
        ({"blocks": "layer.*"}, "has no module 'layer"),
        ({"blocks": [{"module": "layers.0", "write": "layers.0.conv3"}]}, "did you mean 'layers.0.conv2'"),
        ({"module": "own_network.Nett"}, "cannot be imported"),
        ({"module": "own_network.torch"}, "nothing that can be called"),
        ({"options": {"depth": 3}}, "does not take the options"),
    ]:
        with pytest.raises(ConfigError, match=said):
            load({**spec, **wrong})
    with pytest.raises(ConfigError, match="is not its output"):
        _ = load({**spec, "blocks": [{"module": "layers.0", "write": "layers.0.norm"}]}).sites
    (tmp_path / "own_network.py").write_text(OWN + "\n# another version")
    assert spec_of(spec).fingerprint() != before


@pytest.mark.data
def test_the_pretrained_cifar_resnet_recognises_its_images(data_folder):
    backbone = load({**CIFAR, "weights": str(data_folder / "resnet_cifar10" / "resnet20-12fca82f.th")})
    assert len(backbone.sites) == 52
    values = read(backbone, torch.zeros(1, 3, 32, 32), ["blocks.8.hook_resid_post"])
    assert values["blocks.8.hook_resid_post"].shape == (1, 64, 64)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8),
              np.zeros((3, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)  # fmt: skip
def test_images_of_another_type_or_shape_are_refused(image):
    with pytest.raises(InputError, match=r"expected uint8 \[height, width, 3\]"):
        Preprocessing(size=4)(image)
