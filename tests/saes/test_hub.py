"""`saes.load`: what is pinned, checked and refused, from folders, the hub (a stand-in on loopback) and the registry."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hub_stand_in import Hub

import saes
from bridge.activations import weights_sha256
from bridge.errors import ConfigError, InputError, UnreachableError
from bridge.models import load as load_model
from saes.sae import Architecture, SAEConfig, SparseAutoencoder

SITE = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model({"kind": "cifar-resnet", "name": "ResNet-20", "seed": 1})


def dictionary(d: int = 16, noise: float = 0.0, seed: int = 0, **metadata: Any) -> SparseAutoencoder:
    """A dictionary whose first 2 d latents are +- an orthonormal basis: it reconstructs anything, up to noise."""
    draw = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(d, d, generator=draw))[0]
    directions = torch.cat([basis, -basis])
    decoder = directions + noise * torch.randn(2 * d, d, generator=draw)
    tensors = {"W_enc": directions.T.contiguous(), "W_dec": decoder, "b_enc": torch.zeros(2 * d)}
    config = SAEConfig("standard", d, 2 * d, metadata={"model_name": "ResNet-20", "hook_name": SITE, **metadata})
    return SparseAutoencoder(config, {**tensors, "b_dec": torch.ones(d)})


X = torch.randn(300, 16, generator=torch.Generator().manual_seed(3)) * 2 + 5


def files_of(sae: SparseAutoencoder, folder: Path, place: str = "") -> dict[str, bytes]:
    saes.save(sae, folder)
    return {place + path.name: path.read_bytes() for path in folder.iterdir()}


def test_importing_saes_imports_nothing_heavy() -> None:
    code = "import sys, saes; assert not {'torch', 'sae_lens', 'huggingface_hub'} & set(sys.modules); saes.load"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        saes.lod  # noqa: B018


# --------------------------------------------------------------------------------------------------------- folders


def test_a_folder_with_several_dictionaries(tmp_path: Path) -> None:
    for name in ("layer_1", "layer_2"):
        saes.save(dictionary(seed=len(name)), tmp_path / name)
    loaded = saes.load(tmp_path, "layer_1")
    assert loaded.config.metadata["source"].endswith("/layer_1")
    assert len(loaded.config.metadata["files"]["sae_weights.safetensors"]) == 64
    assert str(tmp_path) not in json.dumps(loaded.config.metadata)
    with pytest.raises(ConfigError, match=r"holds 2 dictionaries and no `id` is stated; .*layer_1, layer_2"):
        saes.load(tmp_path)
    with pytest.raises(ConfigError, match=r"no dictionary 'layer_3'; did you mean 'layer_[12]'"):
        saes.load(tmp_path, "layer_3")
    with pytest.raises(InputError, match="There is no folder"):
        saes.load(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"no dictionary of a known format \(CLIP-Scope, Prisma, SAELens, saev\)"):
        saes.load(tmp_path / "empty")


# --------------------------------------------------------------------------------------------------------- the hub


def test_a_repository_is_pinned_and_recorded(hub: Hub, tmp_path: Path) -> None:
    sae = dictionary()
    first = hub.add("lab/sae", {**files_of(sae, tmp_path / "a", "post/layer 1/"), "README.md": b"x"})
    loaded = saes.load("lab/sae", "post/layer 1")
    metadata = loaded.config.metadata
    assert (metadata["revision"], metadata["source"]) == (first, "lab/sae/post/layer 1")
    torch.testing.assert_close(loaded(X), sae(X), rtol=0, atol=0)
    assert saes.load("lab/sae").config.metadata["source"] == "lab/sae/post/layer 1"  # the only one there is
    # Another commit: said, and each of the two can be had.
    newer = hub.add("lab/sae", files_of(dictionary(seed=5), tmp_path / "b", "post/layer 1/"))
    with pytest.raises(ConfigError, match=f"lab/sae has changed: .* was {first} when .* is {newer} now; state one"):
        saes.load("lab/sae", "post/layer 1")
    assert torch.equal(saes.load("lab/sae", "post/layer 1", first).W_enc, sae.W_enc)
    assert not torch.equal(saes.load("lab/sae", "post/layer 1", newer).W_enc, sae.W_enc)


def test_a_cached_commit_needs_no_network(hub: Hub, tmp_path: Path) -> None:
    commit = hub.add("lab/sae", files_of(dictionary(), tmp_path / "a", "one/") | {"two/cfg.json": b"{}"})
    saes.load("lab/sae", "one")
    asked = len(hub.requests)
    saes.load("lab/sae", "one", commit)
    assert len(hub.requests) == asked
    hub.stop()
    for revision in (None, "main", commit):
        assert saes.load("lab/sae", "one", revision).config.metadata["revision"] == commit
    for call in (
        lambda: saes.load("lab/sae", "two"),
        lambda: saes.load("lab/sae", "one", "b" * 40),
        lambda: saes.load("lab/other", "one"),
    ):
        with pytest.raises(UnreachableError, match=r"cannot be fetched .*; connect to the network") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_offline_mode_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnreachableError, match="lab/sae cannot be fetched"):
        saes.load("lab/sae", "one")


def test_what_the_hub_lacks_or_breaks(hub: Hub, tmp_path: Path) -> None:
    files = files_of(dictionary(), tmp_path / "a", "one/")
    weights = "one/sae_weights.safetensors"
    commit = hub.add("lab/sae", files)
    with pytest.raises(ConfigError, match="no repository or revision 'lab/absent'"):
        saes.load("lab/absent")
    with pytest.raises(ConfigError, match="no repository or revision 'lab/sae'"):
        saes.load("lab/sae", "one", "v2")
    with pytest.raises(ConfigError, match=f"lab/sae at {commit} holds 1 dictionaries and it has no dictionary 'two'"):
        saes.load("lab/sae", "two")
    hub.truncated.add(weights)
    with pytest.raises(UnreachableError, match="lab/sae cannot be fetched"):
        saes.load("lab/sae", "one")
    hub.truncated.clear()
    saes.load("lab/sae", "one")
    # Damaged in the cache, then damaged where it was made.
    cached = next((tmp_path / "hub_cache").rglob("sae_weights.safetensors"))
    cached.resolve().write_bytes(cached.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"not the file that the hub has .*; delete .* and load again"):
        saes.load("lab/sae", "one")
    hub.add("lab/cut", {**files, weights: files[weights][:-8]})
    with pytest.raises(InputError, match="truncated or changed"):
        saes.load("lab/cut", "one")
    hub.add("lab/half", {"one/cfg.json": files["one/cfg.json"]})
    with pytest.raises(InputError, match=r"has no one/sae_weights\.safetensors, which a SAELens dictionary needs"):
        saes.load("lab/half", "one")


def test_what_another_program_cached_serves_offline(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    commit = hub.add("lab/sae", files_of(dictionary(), tmp_path / "a", "one/"))
    snapshot_download("lab/sae")
    hub.stop()
    assert saes.load("lab/sae", "one").config.metadata["revision"] == commit


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_sae_lens_loads_from_the_hub_what_we_saved(hub: Hub, tmp_path: Path, architecture: str) -> None:
    from sae_lens import SAE

    transcodes = architecture.endswith("transcoder")
    config = SAEConfig(
        architecture,
        16,
        40,
        k=5 if architecture == "topk" else None,
        apply_b_dec_to_input=not transcodes,
        d_out=12 if transcodes else None,
    )
    draw = torch.Generator().manual_seed(1)
    ours = SparseAutoencoder(config, {n: 0.3 * torch.randn(s, generator=draw) for n, s in config.shapes().items()})
    hub.add("lab/sae", files_of(ours, tmp_path / "a", "one/"))
    theirs, back = SAE.from_pretrained("lab/sae", "one"), saes.load("lab/sae", "one")
    bound = 1e-6 * max(1.0, float(theirs(X).detach().abs().max()))
    torch.testing.assert_close(ours(X), theirs(X), rtol=0, atol=bound)
    torch.testing.assert_close(back(X), theirs(X), rtol=0, atol=bound)
    torch.testing.assert_close(back.encode(X), theirs.encode(X), rtol=0, atol=bound)


def test_converted_formats_come_from_the_hub_too(hub: Hub, tmp_path: Path) -> None:
    state = {"pre_b": torch.zeros(4), "enc": torch.randn(4, 8), "dec": torch.randn(8, 4)}
    path = tmp_path / "1200013184.pt"
    torch.save({"model_state_dict": state, "d_in": 4, "n_features": 8, "k": 2}, path)
    commit = hub.add("lewington/CLIP-ViT-L-scope", {f"22_resid/{path.name}": path.read_bytes(), "README.md": b""})
    for id in ("22_resid", f"22_resid/{path.name}"):
        sae = saes.load("lewington/CLIP-ViT-L-scope", id, force=True)
        assert (sae.site, sae.config.metadata["revision"]) == ("blocks.22.hook_resid_post", commit)
        assert torch.equal(sae.W_dec, state["dec"])


# ------------------------------------------------------------------------------------------------------ the registry


def registered(monkeypatch: pytest.MonkeyPatch, **entry: Any) -> None:
    from sae_lens.loading import pretrained_saes_directory as directory

    defaults: dict[str, Any] = {
        "release": "tiny-res",
        "repo_id": "lab/registered",
        "model": "gpt2-small",
        "conversion_func": None,
        "saes_map": {"blocks.1.hook_resid_post": "folder one"},
        "expected_var_explained": {"blocks.1.hook_resid_post": 0.87},
        "expected_l0": {},
        "neuronpedia_id": {},
        "norm_scaling_factor": {},
        "config_overrides": None,
    }
    known = directory.get_pretrained_saes_directory()
    monkeypatch.setitem(known, "tiny-res", directory.PretrainedSAELookup(**{**defaults, **entry}))


def test_a_release_of_sae_lens_registry(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned although SAELens's loaders take no revision; overrides and norm scaling as SAELens applies them."""
    from sae_lens import SAE
    from sae_lens.loading import pretrained_sae_loaders as loaders

    registered(
        monkeypatch,
        norm_scaling_factor={SITE: 0.5},
        config_overrides={"normalize_activations": "expected_average_only_in"},
    )
    first = hub.add("lab/registered", files_of(dictionary(), tmp_path / "a", "folder one/"))
    plain = loaders.hf_hub_download
    ours, theirs = saes.load("tiny-res", SITE), SAE.from_pretrained("tiny-res", SITE)
    torch.testing.assert_close(ours(X), theirs(X), rtol=0, atol=1e-6 * 20)
    assert loaders.hf_hub_download is plain
    metadata = ours.config.metadata
    assert (metadata["revision"], metadata["source"]) == (first, "lab/registered/folder one")
    assert metadata["explained_variance_stated"] == 0.87
    second = hub.add("lab/registered", files_of(dictionary(seed=8), tmp_path / "b", "folder one/"))
    with pytest.raises(ConfigError, match="lab/registered has changed"):
        saes.load("tiny-res", SITE)
    pinned = {commit: saes.load("tiny-res", SITE, commit) for commit in (first, second)}
    assert torch.equal(pinned[first].W_enc, ours.W_enc)
    assert not torch.equal(pinned[second].W_enc, ours.W_enc)
    hub.stop()
    assert torch.equal(saes.load("tiny-res", SITE).W_enc, ours.W_enc)


def test_a_release_in_another_format(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemma Scope's params.npz, by SAELens's converter; a 27b model's width is stated by the repository's name."""
    width, d = 4096, 2304
    registered(
        monkeypatch,
        repo_id="google/gemma-scope-2b-pt-res",
        conversion_func="gemma_2",
        saes_map={"canonical": "layer_5/width_4k/average_l0_68"},
    )
    draw = np.random.default_rng(0)
    tensors = {
        "w_enc": draw.normal(size=(d, width)).astype(np.float16),
        "w_dec": draw.normal(size=(width, d)).astype(np.float16),
        "b_enc": np.zeros(width, np.float32),
        "b_dec": np.zeros(d, np.float32),
        "threshold": np.full(width, 60, np.float32),
    }
    np.savez(tmp_path / "params.npz", **tensors)
    content = (tmp_path / "params.npz").read_bytes()
    hub.add("google/gemma-scope-2b-pt-res", {"layer_5/width_4k/average_l0_68/params.npz": content})
    sae = saes.load("tiny-res", "canonical")
    assert (sae.config.architecture, sae.site) == ("jumprelu", "blocks.5.hook_resid_post")
    assert np.array_equal(sae.W_dec.numpy(), tensors["w_dec"].astype(np.float32))
    np.savez(tmp_path / "params.npz", w_enc=np.array([Path("x")], dtype=object))
    hub.add("google/gemma-scope-2b-pt-res", {"layer_5/width_4k/average_l0_68/params.npz": b"PK\x03\x04"}, "bad")
    with pytest.raises(InputError, match="SAELens cannot load it"):
        saes.load("tiny-res", "canonical", "bad")


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def test_a_release_of_pickled_files_runs_nothing(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    registered(monkeypatch, conversion_func="connor_rob_hook_z", saes_map={"z": "z.pt"})
    about = json.dumps({"act_size": 16, "dict_size": 32, "act_name": "blocks.1.attn.hook_z"}).encode()
    tensors = dictionary().tensors()
    for content, branch in ((tensors, "main"), ({**tensors, "extra": Harmful()}, "bad")):
        torch.save(content, "z.pt")
        hub.add("lab/registered", {"z.pt": Path("z.pt").read_bytes(), "z_cfg.json": about}, branch)
    loaded = saes.load("tiny-res", "z")
    assert loaded.config.metadata["reshape_activations"] == "hook_z"
    assert torch.equal(loaded.W_enc, tensors["W_enc"])
    with pytest.raises(InputError, match="SAELens cannot load it"):
        saes.load("tiny-res", "z", "bad")
    assert not Path("ran").exists()


def test_unknown_releases_and_ids(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    registered(monkeypatch)
    with pytest.raises(ConfigError, match=r"no release of SAELens's registry; did you mean 'tiny-res'"):
        saes.load("tiny-re", SITE)
    with pytest.raises(ConfigError, match=r"tiny-res has no dictionary None; allowed: blocks.1.hook_resid_post"):
        saes.load("tiny-res")
    with pytest.raises(ConfigError, match="no repository or revision 'lab/registered'"):
        saes.load("tiny-res", SITE)


# -------------------------------------------------------------------------------------------------- model and site


def test_another_model_or_site_is_refused_with_both_names(tmp_path: Path, model: Any) -> None:
    folder = saes.save(dictionary(), tmp_path / "a")
    assert saes.load(folder, model=model, site=SITE).site == SITE
    other = SimpleNamespace(name="ResNet-50", sites=model.sites)
    with pytest.raises(ConfigError, match="trained on ResNet-20, and the model at hand is ResNet-50"):
        saes.load(folder, model=other)
    with pytest.raises(ConfigError, match=r"trained at blocks\.1\.hook_resid_post, and the site at hand is blocks\.2"):
        saes.load(folder, site="blocks.2.hook_resid_post")
    assert saes.load(folder, model=other, site="blocks.2.hook_resid_post", force=True).site == SITE
    far = saes.save(dictionary(hook_name="blocks.40.hook_resid_post"), tmp_path / "b")
    with pytest.raises(ConfigError, match=r"of blocks\.40\.hook_resid_post, which ResNet-20 does not have"):
        saes.load(far, model=model)
    wide = saes.save(dictionary(d=24), tmp_path / "c")
    with pytest.raises(ConfigError, match=r"reads 24 values and blocks\.1\.hook_resid_post of ResNet-20 has 16"):
        saes.load(wide, model=model)
    pair = [SITE, "blocks.2.hook_resid_post"]
    crosscoder = saes.save(dictionary(d=32, sites=pair, widths=[16, 16], hook_name=None), tmp_path / "d")
    assert saes.load(crosscoder, model=model, site=pair[1]).config.metadata["sites"] == pair
    with pytest.raises(
        ConfigError, match=r"trained at blocks\.1\.hook_resid_post, blocks\.2.* site at hand is blocks\.3"
    ):
        saes.load(crosscoder, site="blocks.3.hook_resid_post")


def test_weights_decide_before_names(tmp_path: Path, model: Any) -> None:
    folder = saes.save(dictionary(weights=weights_sha256(model), model_name="my net"), tmp_path)
    saes.load(folder, model=model)
    again = load_model({"kind": "cifar-resnet", "name": "my net", "seed": 2})
    with pytest.raises(
        ConfigError, match=r"trained on my net with weights \w{12}\.\.\., and the model at hand, my net,"
    ):
        saes.load(folder, model=again)


def test_names_of_one_model_and_site_in_other_libraries(tmp_path: Path) -> None:
    from saes.identity import plain_site, same_model

    clip = "open-clip:laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"
    assert same_model(clip, "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K")
    assert same_model(clip, "clip_vit_b_32_datacomp_xl_s13b_b90k")
    assert not same_model(clip, "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K")
    assert plain_site("blocks.3.hook_out") == "blocks.3.hook_resid_post"
    assert plain_site("blocks.3.hook_mlp_out") == "blocks.3.hook_mlp_out"
    folder = saes.save(dictionary(hook_name="blocks.1.hook_out"), tmp_path)
    saes.load(folder, site=SITE)
    unnamed = saes.save(dictionary(hook_name=None, model_name=None), tmp_path)
    assert saes.load(unnamed, site=SITE).site == SITE


# ------------------------------------------------------------------------------------------------ explained variance


def explained(sae: SparseAutoencoder, x: torch.Tensor) -> float:
    x, hat = x.double(), sae(x).double()
    return 1 - float((x - hat).square().sum() / (x - x.mean(0)).square().sum())


def test_the_explained_variance_is_measured_and_recorded(tmp_path: Path) -> None:
    sae = dictionary(noise=0.05)
    folder = saes.save(sae, tmp_path)
    for given in (X, X.numpy(), X.reshape(10, 30, 16), {SITE: X}):
        measured = saes.load(folder, activations=given).config.metadata["measured"]
        assert measured["explained_variance"] == pytest.approx(explained(sae, X), abs=1e-9)
        assert 0.5 < measured["explained_variance"] < 1
        assert (measured["tokens"], measured["inputs"]) == (300, "as stored")
    assert "measured" not in saes.load(folder).config.metadata


def test_a_lost_normalisation_is_refused(tmp_path: Path) -> None:
    """The defect that this is for: the same tensors on activations of another scale and mean."""
    from saes.folding import folded
    from saes.input_scaling import Scaling

    trained = dictionary(noise=0.1)
    # Trained on (x - 5) / 40 with latents that have to pass 0.5, and published without saying so.
    trained.b_enc.data -= 0.5
    inputs = torch.randn(300, 16, generator=torch.Generator().manual_seed(4)) * 2
    raw = inputs * 40 + 5
    lost = saes.save(trained, tmp_path / "lost")
    right = saes.save(folded(trained, Scaling(torch.full((16,), 5.0), torch.full((16,), 40.0))), tmp_path / "right")
    assert saes.load(right, activations=raw).config.metadata["measured"]["explained_variance"] > 0.6
    shifted = raw / 400 + 3  # what a reader at another scale would hand over
    with pytest.raises(
        InputError, match=r"explains -?\d+\.\d{3} of the variance of 300 tokens, less than 0\.5: is its"
    ):
        saes.load(lost, activations=shifted)
    forced = saes.load(lost, activations=shifted, force=True)
    assert forced.config.metadata["measured"]["explained_variance"] < 0.5
    with pytest.raises(InputError, match=r"less than 0\.999"):
        saes.load(right, activations=raw, min_explained=0.999)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.ones(50, 16), "not defined on these activations"),
        (torch.ones(1, 16), "not defined on these activations"),
        (torch.zeros(0, 16), "No tokens"),
        (torch.full((9, 16), float("nan")), "not finite"),
        (torch.ones(9, 15), "Activations of width 15"),
    ],
)
def test_activations_that_measure_nothing(tmp_path: Path, given: torch.Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        saes.load(saes.save(dictionary(), tmp_path), activations=given)


def test_statistics_that_a_file_lacks_are_taken_from_the_activations(tmp_path: Path) -> None:
    """CLIP-Scope's normalised each dimension, saev's old ones mean and norm; as stored is tried too."""
    import io

    basis = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0)))[0]
    directions = torch.cat([basis, -basis])
    scales = torch.logspace(-2, 2, 16)
    raw = torch.randn(400, 16, generator=torch.Generator().manual_seed(1)) * scales + 5
    state = {"pre_b": torch.zeros(16), "enc": directions.T.contiguous(), "dec": directions}
    (tmp_path / "5_resid").mkdir()
    torch.save({"model_state_dict": state, "d_in": 16, "n_features": 32, "k": 12}, tmp_path / "5_resid" / "7.pt")
    with pytest.raises(InputError, match="scaled in training by statistics that the file does not hold; give"):
        saes.load(tmp_path)
    sae = saes.load(tmp_path, activations=raw)
    measured = sae.config.metadata["measured"]
    assert measured["inputs"] == "per_dimension"
    mean, deviation = raw.mean(0), raw.std(0)
    inputs = (raw - mean) / (deviation + 1e-6)
    pre = inputs @ state["enc"]
    values, indices = pre.topk(12, dim=-1)
    hat = torch.zeros_like(pre).scatter(-1, indices, values.relu()) @ directions * deviation + mean
    assert float(((sae(raw) - hat) / deviation).abs().max()) < 1e-3  # a mean of 500 deviations, in float32
    assert measured["explained_variance"] == pytest.approx(explained(sae, raw), abs=1e-9)
    # saev without a schema: one scale.
    content = io.BytesIO()
    bias = {"b_enc": torch.full((32,), -0.2), "b_dec": torch.zeros(16)}
    torch.save({"W_enc": state["enc"], "W_dec": directions, **bias}, content)
    header = json.dumps({"d_vit": 16, "exp_factor": 2})
    (tmp_path / "saev").mkdir()
    (tmp_path / "saev" / "sae.pt").write_bytes(header.encode() + b"\n" + content.getvalue())
    plain = torch.randn(400, 16, generator=torch.Generator().manual_seed(2)) * 1e-3 + 7
    assert saes.load(tmp_path, "saev", activations=plain).config.metadata["measured"]["inputs"] == "mean_norm"
    wide = torch.randn(400, 16, generator=torch.Generator().manual_seed(2)) * 1e3
    assert saes.load(tmp_path, "saev", activations=wide).config.metadata["measured"]["inputs"] == "as stored"


def test_captured_activations(tmp_path: Path, model: Any) -> None:
    import pandas as pd

    from bridge.activations import capture
    from bridge.stimuli.stimulus_set import ArraySource, StimulusSet

    images = ArraySource(np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8))
    table = pd.DataFrame(index=pd.Index([f"s{i:02d}" for i in range(12)], name="stimulus_id"))
    stimuli = StimulusSet("noise", table, images)
    kept = capture(model, stimuli, [SITE, "blocks.2.hook_resid_post"], tmp_path / "acts", tokens=4)
    sae = dictionary(weights=weights_sha256(model))
    folder = saes.save(sae, tmp_path / "sae")
    loaded = saes.load(folder, model=model, activations=kept)
    x = torch.from_numpy(kept.read(SITE)).flatten(0, 1)
    assert loaded.config.metadata["measured"]["explained_variance"] == pytest.approx(explained(sae, x), abs=1e-9)
    other = saes.save(dictionary(weights="0" * 64), tmp_path / "other")
    with pytest.raises(InputError, match=r"activations are of ResNet-20 with weights .* trained on ResNet-20 with wei"):
        saes.load(other, activations=kept)
    nameless = saes.save(dictionary(hook_name=None), tmp_path / "nameless")
    with pytest.raises(ConfigError, match="names no site and the activations have 2; state `site`"):
        saes.load(nameless, activations=kept)
    assert saes.load(nameless, activations=kept, site=SITE).site == SITE


def test_transcoders_are_measured_on_pairs(tmp_path: Path) -> None:
    config = SAEConfig("transcoder", 16, 32, d_out=16, apply_b_dec_to_input=False, metadata={})
    sae = dictionary()
    tensors = {**sae.tensors(), "b_dec": torch.full((16,), 2.0)}
    folder = saes.save(SparseAutoencoder(config, tensors), tmp_path)
    loaded = saes.load(folder, activations=(X, X + 2))
    assert loaded.config.metadata["measured"]["explained_variance"] > 0.999
    with pytest.raises(InputError, match="measured against the values that it is to give"):
        saes.load(folder, activations=X)
