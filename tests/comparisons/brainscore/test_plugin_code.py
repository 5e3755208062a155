"""The code that goes into a plugin, against this project's own: dictionaries, sites, preprocessing; what it imports."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from bridge.models import load
from bridge.streams import read
from comparisons.brainscore.choosing import layer_features
from comparisons.brainscore.exporting import COPIED
from comparisons.brainscore.plugin.dictionary import NEEDED, Dictionary
from comparisons.brainscore.plugin.model import preprocessed
from comparisons.brainscore.plugin.stream import Feature, Stream
from comparisons.brainscore.preparing import config_of, preprocessing_of, sites_of
from saes.architectures import base
from saes.sae import Architecture, Normalisation, SAEConfig, SparseAutoencoder

D, LATENTS = 12, 40


def dictionary(architecture: str, dtype: torch.dtype = torch.float32, **given: Any) -> SparseAutoencoder:
    """A dictionary of random tensors."""
    transcodes = architecture.endswith("transcoder")
    config = SAEConfig(
        architecture,  # type: ignore[arg-type]
        D,
        LATENTS,
        d_out=D if transcodes else None,
        k=5 if architecture == "topk" else None,
        **given,
    )
    draw = torch.Generator().manual_seed(7)
    tensors = {name: torch.randn(shape, generator=draw) * 0.5 for name, shape in config.shapes().items()}
    if "threshold" in tensors:
        tensors["threshold"] = tensors["threshold"].abs()
    return SparseAutoencoder(config, {name: value.to(dtype) for name, value in tensors.items()})


CASES = [
    *((name, {}) for name in get_args(Architecture)),
    *(("topk", {"normalize_activations": name}) for name in get_args(Normalisation)),
    *(("jumprelu", {"normalize_activations": name}) for name in ("layer_norm", "constant_norm_rescale")),
    ("topk", {"rescale_acts_by_decoder_norm": True}),
    ("standard", {"apply_b_dec_to_input": False}),
]


@pytest.mark.parametrize(("architecture", "given"), CASES)
def test_latents_are_those_of_the_dictionary(architecture: str, given: dict[str, Any]) -> None:
    sae = dictionary(architecture, **given)
    own = Dictionary(config_of(sae), sae.tensors())
    x = torch.randn(3, 10, D, generator=torch.Generator().manual_seed(1))
    assert torch.equal(own.encode(x), sae.encode(x))
    assert (own.encode(x) > 0).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_latents_have_the_dictionary_s_precision(dtype: torch.dtype) -> None:
    sae = dictionary("topk", dtype)
    own = Dictionary(config_of(sae), sae.tensors())
    x = torch.randn(4, D)
    assert torch.equal(own.encode(x), sae.encode(x))
    assert not list(own.parameters()), "Brain-Score takes the type of the first parameter for the network's"


@pytest.mark.parametrize(("architecture", "given"), [case for case in CASES if "transcoder" not in case[0]])
def test_what_latents_write_is_what_the_reconstruction_loses_without_them(
    architecture: str, given: dict[str, Any]
) -> None:
    sae = dictionary(architecture, **given)
    own = Dictionary(config_of(sae), sae.tensors(), writes=True)
    x = torch.randn(20, D, generator=torch.Generator().manual_seed(2))
    codes = sae.encode(x)
    which = torch.arange(0, LATENTS, 3)
    without = codes.clone()
    without[:, which] = 0
    lost = sae.decode(codes, x) - sae.decode(without, x)
    torch.testing.assert_close(own.written(codes, x, which), lost, rtol=1e-4, atol=1e-5)


def test_every_architecture_that_is_trained_is_read() -> None:
    """What trained dictionaries are at inference is known to the plugin."""
    from bridge.spec import kinds_in

    assert set(NEEDED) == set(get_args(Architecture))
    kinds = kinds_in("saes.architectures", base.ArchitectureSpec)
    assert {kind.model_fields["kind"].default for kind in kinds} >= {
        "relu", "topk", "batchtopk", "jumprelu", "gated", "matryoshka",
    }  # fmt: skip
    for kind in kinds:
        spec = kind()
        tensors = {
            "encoder": torch.randn(LATENTS, D),
            "decoder": torch.randn(LATENTS, D),
            "b_enc": torch.zeros(LATENTS),
        }
        tensors |= {"b_dec": torch.zeros(D), **kind(latents=LATENTS).extra(D, D)}
        held = spec.inference_tensors(tensors, torch.tensor(0.3))
        architecture = spec.inference(transcodes=False)
        config = SAEConfig(architecture, D, LATENTS, k=4 if architecture == "topk" else None)
        sae = SparseAutoencoder(config, held)
        x = torch.randn(9, D)
        assert torch.equal(Dictionary(config_of(sae), sae.tensors()).encode(x), sae.encode(x)), spec.kind


# ---------------------------------------------------------------------------------------------------------- sites

VIT = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 2, "num_classes": 5}
NETWORKS: dict[str, dict[str, Any]] = {
    "pre-activation": {"kind": "demo", "network": "residual"},
    "plain": {"kind": "demo", "network": "plain"},
    "own transformer": {"kind": "demo", "network": "vit"},
    "post-activation": {"kind": "cifar-resnet", "depth": 20},
    "in place": {"kind": "torchvision", "architecture": "resnet18", "image_size": 32},
    "bottleneck": {
        "kind": "timm", "architecture": "resnet50", "image_size": 64,
        "options": {"layers": [2, 1, 1, 1], "channels": [8, 16, 16, 16], "num_classes": 5, "zero_init_last": False},
    },
    "class token": {"kind": "timm", "architecture": "vit_tiny_patch16_224", "options": VIT},
    "channels last": {
        "kind": "timm", "architecture": "swin_tiny_patch4_window7_224",
        "options": {"img_size": 56, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2]},
    },
    "transformers": {
        "kind": "hf-vision", "architecture": "vit", "weights": None,
        "options": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
                    "image_size": 32, "patch_size": 8},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_every_site_is_read_as_the_project_reads_it(name: str) -> None:
    backbone = load({"name": name, "untrained": True, **NETWORKS[name]})
    names = list(backbone.sites)
    size = backbone.preprocessing.size  # type: ignore[union-attr]
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    wanted = read(backbone, images, names)
    with torch.inference_mode():
        output = backbone.forward(images)
    pools = {site: ("mean", "max")[number % 2] for number, site in enumerate(names)}
    features = {site: Feature("raw", pools[site], backbone.sites[site].prefix) for site in names}
    module = Stream(backbone.module, sites_of(backbone, names), features, backbone.layout).eval()
    found = layer_features(module, iter([images]), [f"stream.{site}" for site in names])
    for site in names:
        tokens = wanted[site][:, backbone.sites[site].prefix :]
        pooled = tokens.amax(1) if pools[site] == "max" else tokens.mean(1)
        np.testing.assert_allclose(found[f"stream.{site}"], pooled.numpy(), rtol=1e-4, atol=1e-5, err_msg=site)
    with torch.inference_mode():
        again = module(images)
    first = output if isinstance(output, torch.Tensor) else output[0]
    assert torch.equal(first, again if isinstance(again, torch.Tensor) else again[0]), "the network's own output"


def test_the_class_token_and_blocks_of_images() -> None:
    feature = Feature("raw", "class", 1)
    tokens = torch.randn(3, 5, 4)
    assert torch.equal(feature(tokens), tokens[:, 0])
    many = torch.randn(9, 1500, 4)  # more tokens than are encoded at once
    torch.testing.assert_close(Feature("raw", "mean", 0)(many), many.mean(1))


def test_the_logits_are_the_network_s_and_unread_sites_cost_nothing() -> None:
    from brainscore_vision.model_helpers.activations.pytorch import PytorchWrapper

    backbone = load({"kind": "demo", "name": "net", "network": "residual"})
    site = "blocks.5.hook_resid_post"
    sae = SparseAutoencoder(
        SAEConfig("standard", 32, 64),
        {
            "W_enc": torch.randn(32, 64),
            "b_enc": torch.zeros(64),
            "W_dec": torch.randn(64, 32),
            "b_dec": torch.zeros(32),
        },
    )
    calls = []
    own = Dictionary(config_of(sae), sae.tensors())
    encode = own.encode
    own.encode = lambda x: calls.append(len(x)) or encode(x)  # type: ignore[method-assign]
    module = Stream(backbone.module, sites_of(backbone, [site]), {site: Feature("sae", "mean", 0, own)}, "nchw")
    wrapper = PytorchWrapper(module, None, "net")
    images = list(np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32))
    logits = wrapper.get_activations(images, ["logits"])["logits"]
    assert not calls
    with torch.inference_mode():
        np.testing.assert_allclose(logits, backbone.module(torch.from_numpy(np.stack(images))), rtol=1e-5)
    features = wrapper.get_activations(images, [f"stream.{site}"])[f"stream.{site}"]
    assert features.shape == (2, 64)
    assert calls == [2]


@pytest.mark.parametrize("squash", [True, False])
@pytest.mark.parametrize("shape", [(90, 60), (61, 97), (64, 64)])
def test_images_are_prepared_as_by_the_project(squash: bool, shape: tuple[int, int]) -> None:
    backbone = load({"kind": "demo", "name": "net"})
    from dataclasses import replace

    backbone.preprocessing = replace(backbone.preprocessing, squash=squash, resize=71, interpolation="bicubic")
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = preprocessed(image, **preprocessing_of(backbone))
    assert np.array_equal(found, backbone.prepare([image]).numpy()[0])


# ------------------------------------------------------------------------------------------------------- imports


def test_the_plugin_s_code_imports_nothing_of_this_project() -> None:
    folder = Path(__file__).parents[3] / "comparisons" / "brainscore" / "plugin"
    assert {path.name for path in folder.glob("*.py")} == {*COPIED, "__init__.py", "plugin_test.py"}
    from comparisons.brainscore.network_made import PACKAGES, imported

    allowed = {*PACKAGES, "safetensors", "huggingface_hub", "brainscore_vision", "pytest", ".", "__future__"}
    import sys

    for path in folder.glob("*.py"):
        strangers = imported(path) - allowed - sys.stdlib_module_names
        assert not strangers, f"{path.name} imports {strangers}"
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load")
