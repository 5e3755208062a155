"""Sites of transformers networks against transformers' own hidden states and against TransformerLens."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from bridge.errors import ConfigError, InputError
from bridge.models import load
from bridge.streams import read

VIT = {
    "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
GPT2 = {"n_embd": 24, "n_layer": 3, "n_head": 2, "vocab_size": 40, "n_positions": 16}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def vit(**kwargs: object):
    return load({"kind": "hf-vision", "name": "vit", "architecture": "vit", "options": VIT, "seed": 5, **kwargs})


def test_resid_post_is_the_next_hidden_state(images):
    backbone = vit()
    hidden = backbone.module(images, output_hidden_states=True).hidden_states
    values = read(backbone, images, ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"])
    for index, value in enumerate(values.values()):
        assert torch.equal(value, hidden[index])


def test_plain_hooks_and_transformerlens_agree(images):
    hooks, bridge = vit(), vit(backend="transformer-lens")
    ours, theirs = (read(network, images, network.sites) for network in (hooks, bridge))
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        assert torch.allclose(value, theirs[name], atol=1e-5), name
    _, cache = bridge.module.run_with_cache(images)
    for name in ours:
        if name in cache:
            assert torch.allclose(ours[name], cache[name], atol=1e-5), name
    named = {name for name in ours if name in cache}
    assert {
        f"blocks.1.hook_{kind}" for kind in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
    } <= named


def test_eager_and_sdpa_attention_differ_by_rounding_only(images):
    eager, fused = vit(attention="eager"), vit(attention="sdpa")
    site = "blocks.2.hook_resid_post"
    assert torch.allclose(read(eager, images, [site])[site], read(fused, images, [site])[site], atol=1e-5)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(["?", "human", "body", "face", "animal", "natural", "object"])}
    bare = Tokenizer(WordLevel(words, unk_token="?"))
    bare.pre_tokenizer = Whitespace()
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="?").save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("backend", ["hooks", "transformer-lens"])
def test_texts_are_padded_and_the_padding_changes_nothing(tokenizer, backend):
    spec = {"kind": "language", "name": "gpt2", "architecture": "gpt2", "options": GPT2, "tokenizer": tokenizer}
    backbone = load({**spec, "tokens": 6, "backend": backend})
    inputs = backbone.prepare_texts(["human face", "animal body", "natural"])
    assert inputs["input_ids"].tolist() == [[1, 3, 0, 0, 0, 0], [4, 2, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0]]
    assert backbone.token_mask(inputs).sum(1).tolist() == [2, 2, 1]
    names = [name for name in backbone.sites if name.endswith("resid_post")]
    padded = read(backbone, inputs, names)
    assert padded[names[-1]].shape == (3, 6, 24)
    alone = read(backbone, {key: value[:1, :2] for key, value in inputs.items()}, names)
    for name in names:
        assert torch.allclose(padded[name][:1, :2], alone[name], atol=1e-6)
    with pytest.raises(InputError, match="has 7 tokens for gpt2, which takes 1 to 6"):
        backbone.prepare_texts(["face " * 7])
    with pytest.raises(InputError, match="has 0 tokens"):
        backbone.prepare_texts([""])
    with pytest.raises(ConfigError, match="reads texts, not images"):
        backbone.prepare([])


def test_language_sites_are_transformers_hidden_states():
    spec = {"kind": "language", "name": "gpt2", "architecture": "gpt2", "options": GPT2, "tokens": 8}
    backbone = load(spec)
    inputs = backbone.example
    hidden = backbone.module(**inputs, output_hidden_states=True).hidden_states
    values = read(backbone, inputs, [f"blocks.{index}.hook_resid_pre" for index in range(3)])
    for index, value in enumerate(values.values()):
        assert torch.equal(value, hidden[index])


def test_a_local_folder_is_a_model(tmp_path, images):
    drawn = vit()
    drawn.module.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": true, '
        '"resample": 3, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "do_normalize": true}'
    )
    spec = {"kind": "hf-vision", "name": "local", "model": str(tmp_path)}
    loaded = load(spec)
    site = "blocks.2.hook_resid_post"
    assert torch.equal(read(loaded, images, [site])[site], read(drawn, images, [site])[site])
    assert (loaded.preprocessing.size, loaded.preprocessing.resize) == (32, 36)
    assert loaded.preprocessing.interpolation == "bicubic"
    assert loaded.preprocessing.std == (0.2, 0.3, 0.4)
    untrained = load({**spec, "untrained": True, "seed": 9})
    assert not torch.allclose(read(untrained, images, [site])[site], read(drawn, images, [site])[site], atol=1e-2)


def test_architectures_without_a_bridge_or_without_blocks_are_refused():
    with pytest.raises(ConfigError, match="TransformerLens has no bridge for CLIPVisionModel"):
        load({"kind": "hf-vision", "name": "clip", "architecture": "clip_vision_model", "options": VIT,
              "backend": "transformer-lens"})  # fmt: skip
    with pytest.raises(ConfigError, match="no block was found"):
        load({"kind": "hf-vision", "name": "resnet", "architecture": "resnet", "options": {"depths": [1, 1, 1, 1]}})
    with pytest.raises(ConfigError, match="did you mean 'gpt2'"):
        load({"kind": "language", "name": "typo", "architecture": "gtp2"})
    with pytest.raises(ConfigError, match="either `model`"):
        load({"kind": "language", "name": "nothing"})
