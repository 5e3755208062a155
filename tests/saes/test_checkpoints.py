"""Dictionaries on disk: SAELens reads what is saved, what SAELens saves is read, and what is wrong is said."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file

from bridge.errors import InputError, StorageError
from saes.checkpoints import CFG, WEIGHTS, read_folder, save
from saes.sae import Architecture, SAEConfig, SparseAutoencoder

X = torch.randn(40, 12, generator=torch.Generator().manual_seed(5)) * 2 + 1


def made(architecture: str, dtype: torch.dtype = torch.float32, **given: Any) -> SparseAutoencoder:
    """A small dictionary of 24 latents over 12 values (10 out for transcoders), seeded."""
    transcodes = architecture.endswith("transcoder")
    defaults: dict[str, Any] = {
        "d_in": 12,
        "d_sae": 24,
        "d_out": 10 if transcodes else None,
        "k": 4 if architecture == "topk" else None,
        "apply_b_dec_to_input": not transcodes,
        "metadata": {"model_name": "net", "hook_name": "blocks.1.hook_resid_post", "sites": ["a", "b"], "seed": 3},
    }
    config = SAEConfig(architecture, **{**defaults, **given})  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(1)
    tensors = {name: torch.randn(shape, generator=draw) * 0.3 for name, shape in config.shapes().items()}
    if "threshold" in tensors:
        tensors["threshold"] = tensors["threshold"].abs()
    return SparseAutoencoder(config, {name: value.to(dtype) for name, value in tensors.items()})


def same(ours: SparseAutoencoder, theirs: Any, x: torch.Tensor = X, atol: float = 1e-6) -> None:
    """Latents and reconstructions of both, within atol of the largest value (float32 itself has 1.2e-7)."""
    assert (theirs.encode(x) != 0).any()
    for mine, other in ((ours.encode(x), theirs.encode(x)), (ours(x), theirs(x))):
        torch.testing.assert_close(mine, other, rtol=0, atol=atol * max(1.0, float(other.detach().abs().max())))


# ------------------------------------------------------------------------------------------------------ both ways


CASES: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in get_args(Architecture)]
CASES += [
    ("topk", {"rescale_acts_by_decoder_norm": True}),
    ("topk", {"normalize_activations": "layer_norm"}),
    ("standard", {"normalize_activations": "constant_norm_rescale"}),
    ("jumprelu", {"apply_b_dec_to_input": False}),
    ("standard", {"normalize_activations": "expected_average_only_in"}),
]


@pytest.mark.parametrize(("architecture", "given"), CASES)
def test_sae_lens_loads_what_is_saved(tmp_path: Path, architecture: str, given: dict[str, Any]) -> None:
    from sae_lens import SAE

    ours = made(architecture, **given)
    theirs = SAE.load_from_disk(save(ours, tmp_path / "sae"))
    assert theirs.cfg.architecture() == architecture
    same(ours, theirs)
    assert theirs.cfg.metadata.hook_name == "blocks.1.hook_resid_post"
    assert theirs.cfg.metadata.sites == ["a", "b"]
    # Back again, from our file and from the one that SAELens makes of it.
    theirs.save_model(tmp_path / "resaved")
    for folder in ("sae", "resaved"):
        back = read_folder(tmp_path / folder)
        same(back, theirs)
        assert back.config.metadata["seed"] == 3
        assert {**back.config.__dict__, "metadata": None} == {**ours.config.__dict__, "metadata": None}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_are_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    from sae_lens import SAE

    ours = made("jumprelu", dtype)
    back, theirs = read_folder(save(ours, tmp_path)), SAE.load_from_disk(tmp_path)
    for name, value in ours.tensors().items():
        assert back.tensors()[name].dtype == theirs.state_dict()[name].dtype == dtype
        assert torch.equal(back.tensors()[name], value)
        assert torch.equal(theirs.state_dict()[name], value)
    same(back, theirs, atol=0)


def test_mixed_types_are_saved_as_the_widest(tmp_path: Path) -> None:
    ours = made("jumprelu", torch.bfloat16)
    ours.threshold.data = ours.threshold.data.float()
    back = read_folder(save(ours, tmp_path))
    assert {value.dtype for value in back.tensors().values()} == {torch.float32}
    assert torch.equal(back.W_enc, ours.W_enc.float())


TRAINERS = {
    "StandardTrainingSAE": {},
    "GatedTrainingSAE": {},
    "TopKTrainingSAE": {"k": 4},
    "BatchTopKTrainingSAE": {"k": 4},
    "MatryoshkaBatchTopKTrainingSAE": {"k": 4, "matryoshka_widths": [8, 24]},
    "JumpReLUTrainingSAE": {"jumprelu_init_threshold": 0.05},
}


@pytest.mark.parametrize("kind", TRAINERS)
def test_what_sae_lens_saves_is_read(tmp_path: Path, kind: str) -> None:
    """Golden checkpoints of SAELens's own training classes, by both of its ways of saving."""
    import sae_lens

    maker, config = getattr(sae_lens, kind), getattr(sae_lens, f"{kind}Config")
    trained = maker(config(d_in=12, d_sae=24, decoder_init_norm=0.7, **TRAINERS[kind]))
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in trained.named_parameters():
            if name != "threshold":
                value += 0.3 * torch.randn(value.shape, generator=draw)
        if hasattr(trained, "topk_threshold"):
            trained.topk_threshold.fill_(0.8)
    trained.cfg.metadata.hook_name = "blocks.2.hook_resid_post"
    trained.save_inference_model(tmp_path / "inference")
    trained.save_model(tmp_path / "model")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "inference")
    inference, model = read_folder(tmp_path / "inference"), read_folder(tmp_path / "model")
    same(inference, theirs)
    # SAELens cannot load BatchTopK from save_model. What it folds, we apply as it stands: equal reconstructions.
    torch.testing.assert_close(model(X), theirs(X), rtol=0, atol=2e-6)
    assert inference.site == model.site == "blocks.2.hook_resid_post"


def test_configs_from_before_6_0_are_read_as_sae_lens_reads_them(tmp_path: Path) -> None:
    from sae_lens import SAE

    ours = made("topk")
    save_file(ours.tensors(), tmp_path / WEIGHTS)
    old = {
        "hook_point": "blocks.3.hook_resid_pre",
        "model_name": "gpt2",
        "d_in": 12,
        "d_sae": 24,
        "dtype": "torch.float32",
        "device": "cuda",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 4},
        "normalize_activations": False,
        "prepend_bos": True,
    }
    (tmp_path / CFG).write_text(json.dumps(old))
    back = read_folder(tmp_path)
    same(back, SAE.load_from_disk(tmp_path))
    assert (back.config.architecture, back.config.k, back.site) == ("topk", 4, "blocks.3.hook_resid_pre")
    # A scaling factor of ones was stored for a time; any other is refused.
    save_file({**ours.tensors(), "scaling_factor": torch.ones(24)}, tmp_path / WEIGHTS)
    same(read_folder(tmp_path), ours)
    save_file({**ours.tensors(), "scaling_factor": torch.full((24,), 2.0)}, tmp_path / WEIGHTS)
    with pytest.raises(InputError, match="scaling_factor"):
        read_folder(tmp_path)
    (tmp_path / CFG).write_text(json.dumps({**old, "activation_fn_str": "tanh-relu"}))
    with pytest.raises(InputError, match="activation function is 'tanh-relu'"):
        read_folder(tmp_path)


# -------------------------------------------------------------------------------------------------- what is wrong


def edit(folder: Path, **given: Any) -> None:
    cfg = json.loads((folder / CFG).read_text())
    (folder / CFG).write_text(json.dumps({**cfg, **given}))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


BROKEN = {
    "no folder": (shutil.rmtree, r"cfg\.json cannot be read \(No such file"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), r"sae_weights\.safetensors is missing"),
    "truncated weights": (lambda folder: truncate(folder / WEIGHTS), "truncated or changed"),
    "changed weights": (
        lambda folder: save_file({"W_enc": torch.zeros(12, 24)}, folder / WEIGHTS),
        r"not the file that was saved \(sha256",
    ),
    "truncated cfg": (lambda folder: truncate(folder / CFG), r"cfg\.json is no JSON"),
    "a list": (lambda folder: (folder / CFG).write_text("[1]"), "holds no table of settings"),
    "d_sae": (lambda folder: edit(folder, d_sae=25), r"W_enc has the shape \[12, 24\].* ask for \[12, 25\]"),
    "no d_in": (lambda folder: edit(folder, d_in=None), "d_in = None; expected a positive whole number"),
    "k": (lambda folder: edit(folder, k=25), "k = 25 of 24 latents"),
    "architecture": (lambda folder: edit(folder, architecture="jumprelu"), "missing: threshold"),
    "unknown": (lambda folder: edit(folder, architecture="temporal"), "architecture is 'temporal'; these can"),
    "dtype": (lambda folder: edit(folder, dtype="float8"), "states the type 'float8'"),
    "newer": (lambda folder: edit(folder, format=99), "is of format 99; this version reads up to 1"),
    "whitened": (lambda folder: edit(folder, normalize_activations="covariance_whitening"), "fold it into"),
    "neither": (lambda folder: edit(folder, metadata={}, architecture="my own"), "neither SAELens's of today nor"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_folder_is_refused_in_one_sentence(tmp_path: Path, case: str) -> None:
    folder = save(made("topk"), tmp_path / "sae")
    damage, words = BROKEN[case]
    damage(folder)
    with pytest.raises(InputError, match=words) as caught:
        read_folder(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_without_a_recorded_hash_damage_is_still_seen(tmp_path: Path) -> None:
    folder = save(made("standard"), tmp_path)
    edit(folder, sha256=None)
    truncate(folder / WEIGHTS)
    with pytest.raises(InputError, match="no complete safetensors file"):
        read_folder(folder)
    (folder / WEIGHTS).write_bytes(b"")
    with pytest.raises(InputError, match="no complete safetensors file"):
        read_folder(folder)


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def test_pickles_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = save(made("standard"), tmp_path / "sae")
    edit(folder, sha256=None)
    (folder / WEIGHTS).write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InputError, match="no complete safetensors file"):
        read_folder(folder)
    (folder / WEIGHTS).rename(folder / "weights.pt")
    with pytest.raises(InputError, match=r"missing \(pickled files such as weights\.pt are not read\)"):
        read_folder(folder)
    assert not Path("ran").exists()


def test_a_full_disk_leaves_the_old_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = made("standard"), made("topk")
    folder = save(old, tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    synced, fsync = [], os.fsync

    def full(file: int) -> None:
        synced.append(file)
        if len(synced) == 2:  # the weights went through, cfg.json does not
            raise OSError(28, "No space left on device")
        fsync(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        save(new, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    same(read_folder(folder), old)
    monkeypatch.undo()
    same(read_folder(save(new, folder)), new)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write"):
        save(new, tmp_path / "file" / "sae")


def test_killed_between_the_two_files_it_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(made("standard"), tmp_path)
    replaced, replace = [], os.replace

    def killed(*given: Any) -> None:
        if replaced:
            raise KeyboardInterrupt
        replaced.append(given)
        replace(*given)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save(made("standard", torch.float64), folder)
    assert sorted(path.name for path in folder.iterdir()) == [CFG, WEIGHTS]
    with pytest.raises(InputError, match="not the file that was saved"):
        read_folder(folder)


def test_what_the_format_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    odd = made("standard", metadata={"metrics": {"fvu": float("nan")}})
    with pytest.raises(InputError, match="cannot be written as JSON"):
        save(odd, tmp_path / "a")
    with pytest.raises(InputError, match="make it a transcoder"):
        save(made("standard", d_out=10, apply_b_dec_to_input=False), tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_a_crosscoder_is_a_plain_dictionary_of_the_concatenation(tmp_path: Path) -> None:
    from sae_lens import SAE

    metadata = {"sites": ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"], "widths": [4, 8]}
    ours = made("standard", metadata=metadata)
    back = read_folder(save(ours, tmp_path))
    assert {name: back.config.metadata[name] for name in metadata} == metadata
    assert load_file(tmp_path / WEIGHTS)["W_enc"].shape == (12, 24)
    same(back, SAE.load_from_disk(tmp_path))
