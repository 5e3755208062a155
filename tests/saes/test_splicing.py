"""Splicing: the error term gives the original back, and the effect on the output is what it is defined as."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from bridge.errors import ConfigError, InputError
from bridge.interventions import ablated
from bridge.models import load
from bridge.models.base import Backbone
from bridge.streams import BlockMap, read, run
from saes.sae import SAEConfig, SparseAutoencoder
from saes.splicing import output_of, reconstruction, spliced, splicing

VIT = {"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 12, "num_heads": 2, "num_classes": 5}
SITE, LATER = "blocks.1.hook_resid_post", "blocks.2.hook_resid_post"


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # faster than several on small networks
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def vit() -> Backbone:
    backbone = load({"kind": "timm", "name": "vit", "architecture": "vit_tiny_patch16_224", "options": VIT, "seed": 1})
    nn.init.normal_(backbone.module.head.weight, std=1.0, generator=torch.Generator().manual_seed(0))
    return backbone


@pytest.fixture(scope="module")
def demo() -> Backbone:
    return load({"kind": "demo", "name": "residual", "network": "residual"})


def images(n: int = 6, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def sae(d: int = 12, s: int = 48, k: int = 6, seed: int = 0, **metadata: object) -> SparseAutoencoder:
    generator = torch.Generator().manual_seed(seed)
    w_dec = nn.functional.normalize(torch.randn(s, d, generator=generator), dim=1)
    tensors = {"W_enc": w_dec.T.clone(), "W_dec": w_dec, "b_dec": torch.zeros(d), "b_enc": torch.zeros(s)}
    return SparseAutoencoder(SAEConfig("topk", d, s, k=k, metadata={"hook_name": SITE, **metadata}), tensors)


def perfect(d: int = 12, site: str = SITE) -> SparseAutoencoder:
    """relu(x) - relu(-x): a dictionary that loses nothing."""
    w_dec = torch.cat([torch.eye(d), -torch.eye(d)])
    tensors = {"W_enc": w_dec.T.clone(), "W_dec": w_dec, "b_dec": torch.zeros(d), "b_enc": torch.zeros(2 * d)}
    return SparseAutoencoder(SAEConfig("standard", d, 2 * d, metadata={"hook_name": site}), tensors)


def logits_of(backbone: Backbone, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return run(backbone, x)


# --------------------------------------------------------------------------------------------------- the context


@pytest.mark.parametrize("which", ["vit", "demo"])
def test_with_the_error_term_the_output_is_the_original(which, request):
    backbone = request.getfixturevalue(which)
    x = images(size=32 if which == "vit" else 64)
    width = backbone.sites[SITE].width
    one = sae(width, 4 * width, 2)
    original = logits_of(backbone, x)
    with spliced(backbone, one):
        without = logits_of(backbone, x)
    with spliced(backbone, one, error=True):
        whole = logits_of(backbone, x)
    scale = original.abs().max()
    assert (without - original).abs().max() > 1e-2 * scale
    assert (whole - original).abs().max() < 1e-5 * scale
    assert torch.equal(logits_of(backbone, x), original)


def test_the_site_holds_the_dense_reconstruction(vit):
    one, x = sae(), images()
    clean = read(vit, x, [SITE])[SITE]
    with spliced(vit, one):
        value = read(vit, x, [SITE])[SITE]
    assert torch.allclose(value, one(clean), atol=1e-5)
    half = reconstruction(one)(clean.bfloat16())
    assert half.dtype == torch.bfloat16
    assert half.shape == clean.shape


def test_several_sites_and_transcoders(vit):
    x = images()
    late = sae(seed=3)
    late.config.metadata["hook_name"] = LATER
    clean = read(vit, x, [SITE, LATER])
    with spliced(vit, [sae(), late]):
        both = read(vit, x, [SITE, LATER])
    with spliced(vit, sae()):
        first = read(vit, x, [LATER])[LATER]
    assert torch.allclose(both[LATER], late(first), atol=1e-4)

    tensors = sae().tensors()
    source, target = "blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out"
    config = SAEConfig("transcoder", 12, 48, metadata={"hook_name": source, "hook_name_out": target})
    coder = SparseAutoencoder(config, tensors)
    values = read(vit, x, [source, target])
    with spliced(vit, coder):
        assert torch.allclose(read(vit, x, [target])[target], coder(values[source]), atol=1e-5)
    with spliced(vit, coder, error=True):
        assert torch.allclose(read(vit, x, [LATER])[LATER], clean[LATER], atol=1e-5)
    with pytest.raises(ConfigError, match="one at a time"):
        spliced(vit, [coder, sae()])


# ------------------------------------------------------------------------------------------------------ the effect


def test_effects_are_those_of_all_outputs_at_once(vit):
    one, x = sae(), images(20)
    labels = torch.arange(20) % 5
    seen: list[int] = []
    batches = list(zip(x.split(8), labels.split(8), strict=True))
    found = splicing(vit, one, batches, progress=seen.append)
    assert seen == [8, 16, 20]
    assert found.outputs == 20
    clean = read(vit, x, [SITE])[SITE]
    original = logits_of(vit, x).double()
    outputs = {}
    with spliced(vit, one):
        outputs["spliced"] = logits_of(vit, x).double()
    with ablated(vit, SITE):
        outputs["zero"] = logits_of(vit, x).double()
    with ablated(vit, SITE, mean=clean.double().mean((0, 1)).numpy()):
        outputs["mean"] = logits_of(vit, x).double()
    p = original.softmax(1)
    ce = nn.functional.cross_entropy(original, labels).item()
    losses = {}
    for name, output in outputs.items():
        effect = getattr(found, name)
        kl = nn.functional.kl_div(output.log_softmax(1), p, reduction="batchmean").item()
        assert effect.kl == pytest.approx(kl, rel=1e-4)
        assert effect.cosine == pytest.approx(nn.functional.cosine_similarity(original, output).mean().item(), rel=1e-5)
        assert effect.agreement == (output.argmax(1) == original.argmax(1)).double().mean()
        assert effect.accuracy == (output.argmax(1) == labels).double().mean()
        losses[name] = nn.functional.cross_entropy(output, labels).item()
        assert effect.cross_entropy == pytest.approx(losses[name], rel=1e-4)
    assert found.original.kl == pytest.approx(0, abs=1e-12)
    assert found.original.agreement == 1
    assert found.original.cosine == pytest.approx(1)
    assert found.loss == "cross-entropy"
    for name in ("zero", "mean"):
        harm = losses[name] - ce
        expected = 1 - (losses["spliced"] - ce) / harm if harm > 0 else np.nan
        assert getattr(found, f"recovered_{name}") == pytest.approx(expected, rel=1e-3, nan_ok=True)
    json.dumps(found.as_json(), allow_nan=False)

    unlabelled = splicing(vit, one, list(x.split(8)))
    assert unlabelled.loss == "kl"
    assert unlabelled.original.accuracy is None
    assert unlabelled.recovered_zero == pytest.approx(1 - found.spliced.kl / found.zero.kl)
    given = splicing(vit, one, iter(x.split(8)), means={SITE: np.zeros(12)})
    assert given.mean == given.zero
    assert given.spliced == unlabelled.spliced


def test_a_dictionary_that_loses_nothing_recovers_all_and_the_mean_nothing(vit):
    x = images(12)
    found = splicing(vit, perfect(), [x])
    assert found.spliced.kl < 1e-9
    assert found.spliced.agreement == 1
    assert found.recovered_zero == pytest.approx(1)
    dead = perfect()
    dead.W_dec.data.zero_()
    found = splicing(vit, dead, [x])
    assert found.recovered_zero == pytest.approx(0, abs=1e-9)
    mean = read(vit, x, [SITE])[SITE].mean((0, 1))
    dead.b_dec.data.copy_(mean)
    assert splicing(vit, dead, [x]).recovered_mean == pytest.approx(0, abs=1e-4)


def test_networks_without_classes_have_a_cosine_alone():
    options = {"hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16,
               "image_size": 32, "patch_size": 8}  # fmt: skip
    clip = load(
        {"kind": "hf-vision", "name": "clip", "architecture": "clip_vision_model", "options": options, "seed": 1}
    )
    x = images(10)
    found = splicing(clip, sae(), list(x.split(4)), logits=False)
    original = logits_of(clip, x).pooler_output
    with spliced(clip, sae()):
        output = logits_of(clip, x).pooler_output
    assert found.spliced.cosine == pytest.approx(nn.functional.cosine_similarity(original, output).mean().item())
    assert found.spliced.kl is found.spliced.agreement is found.spliced.accuracy is None
    assert found.loss == "1 - cosine"
    assert found.recovered_zero == pytest.approx((found.spliced.cosine - found.zero.cosine) / (1 - found.zero.cosine))
    assert output_of((x, x)) is x
    with pytest.raises(InputError, match="output is a dict without logits"):
        output_of({})


class Words(nn.Module):
    """Embedding, two residual layers, logits over 20 letters at every token."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 12)
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.head = nn.Linear(12, 20)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tanh(self.linear(x))


def test_texts_are_compared_token_by_token_without_padding():
    torch.manual_seed(0)
    ids = torch.randint(1, 20, (5, 7))
    mask = torch.ones(5, 7, dtype=torch.int64)
    mask[2:, 4:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    maps = [BlockMap(f"layers.{number}", 1) for number in range(2)]
    backbone = Backbone("words", Words().eval(), maps, None, layout="btc", example=batch, tokenizer=lambda texts: batch)
    one = sae()
    one.config.metadata["hook_name"] = "blocks.0.hook_resid_post"
    labels = torch.where(mask.bool(), ids, -100)
    labels[0, 0] = -1
    found = splicing(backbone, one, [(batch, labels)])
    assert found.outputs == 14 + 12
    kept = mask.bool()
    original = logits_of(backbone, batch)[kept].double()
    with spliced(backbone, one):
        output = logits_of(backbone, batch)[kept].double()
    kl = nn.functional.kl_div(output.log_softmax(1), original.softmax(1), reduction="batchmean").item()
    assert found.spliced.kl == pytest.approx(kl, rel=1e-5)
    known = labels[kept] >= 0
    expected = nn.functional.cross_entropy(output[known], labels[kept][known]).item()
    assert found.spliced.cross_entropy == pytest.approx(expected, rel=1e-5)


def test_dictionaries_that_do_not_fit_are_refused(vit):
    def named(**metadata: object) -> SparseAutoencoder:
        return sae(**metadata)

    with pytest.raises(ConfigError, match=r"is of blocks.9.hook_resid_post, which vit lacks; did you mean"):
        spliced(vit, named(hook_name="blocks.9.hook_resid_post"))
    with pytest.raises(ConfigError, match="do not name its site"):
        spliced(vit, named(hook_name=None))
    with pytest.raises(ConfigError, match="crosscoder"):
        spliced(vit, named(sites=[SITE, LATER]))
    with pytest.raises(ConfigError, match="Several dictionaries replace one site"):
        spliced(vit, [sae(), sae()])
    with pytest.raises(InputError, match=r"is of width 16 and vit's blocks\.1\.hook_resid_post of 12"):
        spliced(vit, sae(16))
    with pytest.raises(InputError, match="give a list"):
        splicing(vit, sae(), iter([images()]))
    with pytest.raises(InputError, match="give at least one"):
        splicing(vit, sae(), [])
    with pytest.raises(InputError, match="give at least one"):
        splicing(vit, sae(), [], means={SITE: np.zeros(12)})
    with pytest.raises(InputError, match=r"Labels of shape \[5\] were given for outputs of shape \[6, 5\]; give \[6\]"):
        splicing(vit, sae(), [(images(), torch.zeros(5, dtype=torch.int64))])
    broken = images()
    broken[0] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        splicing(vit, perfect(), [broken])
    assert not vit.handles
