"""Published formats: small files in their exact layouts, against the formulas of the code that wrote them."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

import saes
from bridge.errors import ConfigError, InputError

D, S, K = 6, 18, 3


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.5


X = draw(50, D, seed=9) * 2 + 1
STATE = {"W_enc": draw(D, S, seed=1), "b_enc": draw(S, seed=2), "W_dec": draw(S, D, seed=3), "b_dec": draw(D, seed=4)}


def top_k(pre: torch.Tensor, k: int) -> torch.Tensor:
    values, indices = pre.topk(k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, indices, values)


def check(sae: Any, latents: torch.Tensor, reconstruction: torch.Tensor, x: torch.Tensor = X) -> None:
    torch.testing.assert_close(sae.encode(x), latents, rtol=0, atol=2e-6)
    torch.testing.assert_close(sae(x), reconstruction, rtol=0, atol=5e-6)


# ---------------------------------------------------------------------------------------------------------- Prisma


def prisma_config(**given: Any) -> dict[str, Any]:
    """The fields of a published config.json that matter here, and some that do not."""
    return {
        "model_class_name": "HookedViT",
        "model_name": "open-clip:laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
        "vit_model_cfg": None,
        "hook_point_layer": 9,
        "layer_subtype": "hook_mlp_out",
        "hook_point_head_index": None,
        "context_size": 50,
        "use_patches_only": False,
        "d_in": D,
        "activation_fn_str": "relu",
        "activation_fn_kwargs": {},
        "cls_token_only": False,
        "normalize_activations": None,
        "device": {"__type__": "torch.device", "value": "cuda"},
        "dtype": {"__type__": "torch.dtype", "value": "torch.float32"},
        "seed": 42,
        "architecture": "standard",
        "expansion_factor": 3,
        "d_sae": S,
        "l1_coefficient": 1e-05,
        **given,
    }


def prisma(folder: Path, weights: str = "n_images_2600058.pt", state: Any = None, **given: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(prisma_config(**given)))
    torch.save(OrderedDict(STATE if state is None else state), folder / weights)
    return folder


def test_prisma_standard(tmp_path: Path) -> None:
    sae = saes.load(prisma(tmp_path))
    latents = ((X - STATE["b_dec"]) @ STATE["W_enc"] + STATE["b_enc"]).relu()
    check(sae, latents, latents @ STATE["W_dec"] + STATE["b_dec"])
    metadata = sae.config.metadata
    assert metadata["model_name"].endswith("CLIP-ViT-B-32-DataComp.XL-s13B-b90K")
    assert (sae.site, metadata["tokens"], metadata["seed"]) == ("blocks.9.hook_mlp_out", "all", 42)
    assert set(metadata["files"]) == {"config.json", "n_images_2600058.pt"}


def test_prisma_top_k_of_the_class_token_with_layer_norm(tmp_path: Path) -> None:
    given = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}, "normalize_activations": "layer_norm"}
    sae = saes.load(prisma(tmp_path, "weights.pt", cls_token_only=True, **given))
    mean, centred = X.mean(-1, keepdim=True), X - X.mean(-1, keepdim=True)
    deviation = centred.std(-1, keepdim=True)
    latents = top_k((centred / (deviation + 1e-5) - STATE["b_dec"]) @ STATE["W_enc"] + STATE["b_enc"], K).relu()
    check(sae, latents, (latents @ STATE["W_dec"] + STATE["b_dec"]) * deviation + mean)
    assert sae.config.metadata["tokens"] == "class"


def test_prisma_gated(tmp_path: Path) -> None:
    extra = {"b_gate": draw(S, seed=5), "r_mag": draw(S, seed=6), "b_mag": draw(S, seed=7)}
    sae = saes.load(prisma(tmp_path, state={**STATE, **extra}, architecture="gated"))
    inputs = X - STATE["b_dec"]
    gate = (inputs @ STATE["W_enc"] + extra["b_gate"] > 0).float()
    latents = gate * (inputs @ (STATE["W_enc"] * extra["r_mag"].exp()) + extra["b_mag"]).relu()
    check(sae, latents, latents @ STATE["W_dec"] + STATE["b_dec"])


def test_prisma_takes_the_checkpoint_of_the_most_images(tmp_path: Path) -> None:
    prisma(tmp_path, "n_images_900.pt", state={**STATE, "b_dec": torch.zeros(D)})
    prisma(tmp_path, "n_images_10000.pt")
    assert torch.equal(saes.load(tmp_path).b_dec, STATE["b_dec"])
    assert torch.equal(saes.load(tmp_path, "n_images_900.pt").b_dec, torch.zeros(D))
    assert torch.equal(saes.load(tmp_path / "n_images_900.pt").b_dec, torch.zeros(D))


class VisionModelSAERunnerConfig:
    """Stands for the config object that some published weights.pt have pickled beside the tensors."""


def test_prisma_pickled_config_objects_are_refused(tmp_path: Path) -> None:
    prisma(tmp_path)
    torch.save({"cfg": VisionModelSAERunnerConfig(), "state_dict": STATE}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"weights\.pt holds pickled Python objects, which could run code"):
        saes.load(tmp_path)
    from safetensors.torch import save_file

    save_file(STATE, tmp_path / "weights.safetensors")  # what the sentence advises
    assert torch.equal(saes.load(tmp_path).W_enc, STATE["W_enc"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"activation_fn_str": "tanh-relu"}, "standard dictionary with tanh-relu"),
        ({"architecture": "jumprelu"}, "a jumprelu dictionary with relu"),
        ({"d_sae": None}, "states d_sae = None"),
        ({"activation_fn_str": "topk"}, "states k = None"),
        ({"d_sae": S + 1}, "W_enc has the shape"),
        ({"is_transcoder": True}, "transcoder"),
    ],
)
def test_prisma_what_cannot_be_applied_is_said(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        saes.load(prisma(tmp_path, **given))


def test_prisma_sae_clip_is_sae_lens_of_2024(tmp_path: Path) -> None:
    """Prisma-Multimodal/sae_clip: layer_N_checkpoint_M/{cfg.json, ctx, sae_weights, sparsity}.safetensors."""
    from safetensors.torch import save_file

    folder = tmp_path / "layer_6_checkpoint_19501056"
    folder.mkdir()
    old = {"hook_point": "blocks.6.hook_mlp_out", "model_name": "wkcn/TinyCLIP-ViT-40M-32-Text-19M-LAION400M"}
    cfg = {**old, "d_in": D, "d_sae": S, "dtype": "torch.float32", "activation_fn_str": "relu"}
    (folder / "cfg.json").write_text(json.dumps({**cfg, "normalize_activations": "none", "architecture": "standard"}))
    save_file(STATE, folder / "sae_weights.safetensors")
    save_file({"sparsity": torch.zeros(S)}, folder / "sparsity.safetensors")
    sae = saes.load(tmp_path)
    latents = ((X - STATE["b_dec"]) @ STATE["W_enc"] + STATE["b_enc"]).relu()
    check(sae, latents, latents @ STATE["W_dec"] + STATE["b_dec"])
    assert sae.site == "blocks.6.hook_mlp_out"


# ------------------------------------------------------------------------------------------------------------ saev


def saev(path: Path, header: dict[str, Any], state: dict[str, torch.Tensor] = STATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    torch.save(state, content)
    path.write_bytes((json.dumps(header) + "\n").encode() + content.getvalue())
    return path.parent


OLD = {"d_vit": D, "exp_factor": 3, "sparsity_coeff": 4e-4, "n_reinit_samples": 10, "ghost_grads": False, "seed": 0}


def modern(schema: int, activation: str, **params: Any) -> dict[str, Any]:
    sizes = {"d_vit": D, "exp_factor": 3} if schema < 3 else {"d_model": D, "d_sae": S}
    cfg = {**sizes, "normalize_w_dec": True, "activation": {"cls": activation, "params": params}}
    return {"schema": schema, "cfg": cfg, "commit": "abc", "lib": "0.1.0"}


def test_saev_without_a_schema_subtracts_the_bias(tmp_path: Path) -> None:
    sae = saes.load(saev(tmp_path / "sae.pt", OLD), force=True)
    latents = ((X - STATE["b_dec"]) @ STATE["W_enc"] + STATE["b_enc"]).relu()
    check(sae, latents, latents @ STATE["W_dec"] + STATE["b_dec"])


@pytest.mark.parametrize(
    "header",
    [
        {"schema": 1, "cls": "TopK", "cfg": {"d_vit": D, "exp_factor": 3, "top_k": K}},
        {**modern(1, "TopK", top_k=K), "cls": "SparseAutoencoderConfig"},
        modern(2, "TopK", top_k=K),
        modern(3, "TopK", top_k=K),
        modern(4, "TopK", top_k=K, sparsity={}),
        modern(5, "TopK", kind="top-k", top_k=K, sparsity={"cls": "NoSparsity", "params": {}}),
    ],
)
def test_saev_with_a_schema_does_not(tmp_path: Path, header: dict[str, Any]) -> None:
    sae = saes.load(saev(tmp_path / "sae.pt", header), force=True)
    latents = top_k(X @ STATE["W_enc"] + STATE["b_enc"], K)
    assert (latents >= 0).all()  # theirs has no ReLU; on these inputs none is needed
    check(sae, latents, latents @ STATE["W_dec"] + STATE["b_dec"])
    assert (sae.config.metadata["saev_schema"], sae.config.metadata["trained_as"]) == (header["schema"], "topk")


def test_saev_relu_and_batch_top_k(tmp_path: Path) -> None:
    pre = X @ STATE["W_enc"] + STATE["b_enc"]
    relu = saes.load(saev(tmp_path / "relu" / "sae.pt", modern(4, "Relu")))
    check(relu, pre.relu(), pre.relu() @ STATE["W_dec"] + STATE["b_dec"])
    state = {**STATE, "activation.threshold": torch.tensor(0.7)}
    batch = saes.load(saev(tmp_path / "batch" / "sae.pt", modern(5, "BatchTopK", top_k=K), state))
    latents = torch.where(pre > 0.7, pre, 0.0)
    check(batch, latents, latents @ STATE["W_dec"] + STATE["b_dec"])
    assert (batch.config.architecture, batch.config.metadata["trained_as"]) == ("jumprelu", "batchtopk")


def test_saev_several_in_one_repository(tmp_path: Path) -> None:
    """osunlp/SAE_DINOv3_*: layer_N/RUN/sae.pt."""
    saev(tmp_path / "layer_6" / "3zih0tpa" / "sae.pt", modern(4, "Relu"))
    saev(tmp_path / "layer_7" / "l9stkmwt" / "sae.pt", modern(4, "Relu"))
    assert saes.load(tmp_path, "layer_7/l9stkmwt").d_sae == S
    assert saes.load(tmp_path, "layer_7/l9stkmwt/sae.pt").d_sae == S
    with pytest.raises(ConfigError, match=r"holds 2 dictionaries and no `id` is stated; .*layer_6/3zih0tpa, layer_7/"):
        saes.load(tmp_path)
    with pytest.raises(ConfigError, match=r"no dictionary 'layer_7/l9stkmw'; did you mean 'layer_7/l9stkmwt'"):
        saes.load(tmp_path, "layer_7/l9stkmw")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not begin with saev's line"),
        (b"\x80\x02}q\x00.", "does not begin with saev's line"),
        (b'{"schema": 9, "cfg": {}}\n', "schema 9; those up to 5"),
    ],
)
def test_saev_damaged_files(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "sae.pt").write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        saes.load(tmp_path)
    assert "\n" not in str(caught.value)
    saev(tmp_path / "sae.pt", modern(4, "Relu"))
    (tmp_path / "sae.pt").write_bytes((tmp_path / "sae.pt").read_bytes()[:-200])
    with pytest.raises(InputError, match=r"sae\.pt cannot be read"):
        saes.load(tmp_path)
    header = modern(4, "Step")
    with pytest.raises(InputError, match="activation 'Step'"):
        saes.load(saev(tmp_path / "sae.pt", header))


# ------------------------------------------------------------------------------------------------------ CLIP-Scope


def clip_scope(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"pre_b": STATE["b_dec"], "enc": STATE["W_enc"], "dec": STATE["W_dec"]}
    torch.save({"model_state_dict": state, "d_in": D, "n_features": S, "k": K}, path)
    return path


def test_clip_scope(tmp_path: Path) -> None:
    clip_scope(tmp_path / "22_resid" / "100000512.pt")
    clip_scope(tmp_path / "22_resid" / "1200013184.pt")
    clip_scope(tmp_path / "2_resid" / "1200013184.pt")
    sae = saes.load(tmp_path, "22_resid", force=True)
    latents = top_k((X - STATE["b_dec"]) @ STATE["W_enc"], K)
    assert (latents >= 0).all()
    check(sae, latents, latents @ STATE["W_dec"] + STATE["b_dec"])
    assert (sae.site, sae.config.metadata["tokens_seen"]) == ("blocks.22.hook_resid_post", 1200013184)
    early = saes.load(tmp_path, "22_resid/100000512.pt", force=True)
    assert early.config.metadata["tokens_seen"] == 100000512
    torch.save({"weights": torch.zeros(3)}, tmp_path / "2_resid" / "1200013184.pt")
    with pytest.raises(InputError, match="not one of CLIP-Scope's checkpoints"):
        saes.load(tmp_path, "2_resid")


# ------------------------------------------------------------------------------------------------------- statistics


def test_folded_statistics_are_those_of_scaled_inputs() -> None:
    from saes.folding import folded
    from saes.input_scaling import Scaling
    from saes.sae import SAEConfig, SparseAutoencoder

    mean, scales = draw(D, seed=11), draw(D, seed=12).abs() + 0.3
    gated = {"b_gate": draw(S, seed=5), "r_mag": draw(S, seed=6), "b_mag": draw(S, seed=7)}
    plain = {name: value for name, value in STATE.items() if name != "b_enc"}
    for scale in (scales, torch.full((D,), 1.7)):
        for subtracts in (True, False):
            for kind, tensors in (("topk", STATE), ("gated", {**plain, **gated})):
                k = K if kind == "topk" else None
                config = SAEConfig(kind, D, S, k=k, apply_b_dec_to_input=subtracts)  # type: ignore[arg-type]
                sae = SparseAutoencoder(config, {name: value.double() for name, value in tensors.items()})
                inputs = (X.double() - mean) / scale
                whole = folded(sae, Scaling(mean.double(), scale.double()))
                torch.testing.assert_close(whole.encode(X.double()), sae.encode(inputs), rtol=0, atol=1e-12)
                torch.testing.assert_close(whole(X.double()), sae(inputs) * scale + mean, rtol=0, atol=1e-12)
    rescaled = SAEConfig("topk", D, S, k=K, rescale_acts_by_decoder_norm=True)
    with pytest.raises(InputError, match="cannot be folded"):
        folded(SparseAutoencoder(rescaled, STATE), Scaling(mean, scales))
