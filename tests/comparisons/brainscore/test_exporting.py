"""From a config to a plugin, its rules, its zip: with a stand-in for the hub on loopback where weights go there."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hub_stand_in import TOKEN, Hub

import saes
from bridge.errors import ConfigError, InputError, UnreachableError
from comparisons.brainscore import packing, rules
from comparisons.brainscore.exporting import export, registration
from comparisons.brainscore.verifying import imported
from comparisons.config import parse
from comparisons.run import Silent
from saes.sae import SAEConfig, SparseAutoencoder

EARLY, LATE = "blocks.5.hook_resid_post", "blocks.9.hook_resid_post"
Ventral = Callable[..., tuple[int, str, str]]


def dictionary(site: str, d: int, seed: int = 0) -> SparseAutoencoder:
    """+- an orthonormal basis: it reconstructs anything, and half of its latents are active."""
    basis = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed)))[0]
    directions = torch.cat([basis, -basis])
    tensors = {"W_enc": directions.T.contiguous(), "W_dec": directions, "b_enc": torch.zeros(2 * d)}
    tensors |= {"b_dec": torch.zeros(d), "threshold": torch.full((2 * d,), 1e-3)}
    return SparseAutoencoder(SAEConfig("jumprelu", d, 2 * d, metadata={"hook_name": site}), tensors)


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """A config with dictionaries of two sites of the embedded ResNet, in folders."""
    for site, d in ((EARLY, 32), (LATE, 64)):
        saes.save(dictionary(site, d), tmp_path / "saes" / site)
    load = {"kind": "load", "least_explained": -1}
    return {
        "name": "study",
        "stimuli": {"kind": "battery", "name": "few", "families": ["textures"], "limit": {"textures": 10}, "size": 64},
        "models": [{"kind": "demo", "name": "net"}],
        "saes": [
            {**load, "name": "early", "path": str(tmp_path / "saes" / EARLY), "site": EARLY},
            {**load, "name": "late", "path": str(tmp_path / "saes" / LATE), "site": LATE},
        ],
        "submission": {
            "identifier": "net-latents",
            "features": ["sae"],
            "regions": {"V1": EARLY, "V2": EARLY, "V4": LATE, "IT": LATE},
        },
    }


def exported(content: dict[str, Any], out: Path, **options: Any) -> Any:
    return export(parse(content), out, reporter=Silent(), **options)


@pytest.fixture
def plugin(content: dict[str, Any], tmp_path: Path) -> Path:
    exported(content, tmp_path / "net_latents")
    return tmp_path / "net_latents"


def test_a_plugin_is_whole(plugin: Path) -> None:
    assert all(one.problem is None for one in rules.examined(plugin)), rules.examined(plugin)
    assert rules.identifiers_of(plugin) == ["net-latents"]
    layers = json.loads((plugin / "region_layer_map" / "net-latents.json").read_text())
    assert layers == {"V1": f"stream.{EARLY}", "V2": f"stream.{EARLY}", "V4": f"stream.{LATE}", "IT": f"stream.{LATE}"}
    assert json.loads((plugin / "submission.json").read_text())["models"]["net-latents"]["readout"] == "network.head"
    card = (plugin / "README.md").read_text()
    assert EARLY in card
    assert "all latents" in card
    assert not (plugin / "metadata.yaml").exists()
    with imported(plugin) as model:
        module = model.get_module("net-latents")
        assert model.get_layers("net-latents") == [f"stream.{EARLY}", f"stream.{LATE}"]
    assert next(iter(module.named_children()))[0] == "stream", "before the network: the last child gives the logits"
    assert not list(plugin.rglob("__pycache__"))


def test_the_same_config_gives_the_same_bytes(content: dict[str, Any], plugin: Path, tmp_path: Path) -> None:
    shutil.move(plugin, tmp_path / "first" / "net_latents")
    exported(content, plugin)
    assert packing.packed(plugin) == packing.packed(tmp_path / "first" / "net_latents")


def test_all_kinds_of_features(content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simple, complex and ablated features are those of the latents with these scores."""
    from comparisons import feature_simplicity

    def scores(backbone: Any, features: Any, **options: Any) -> dict[str, np.ndarray]:
        return {site: np.linspace(0, 1, 2 * backbone.sites[site].width) for site in features}

    monkeypatch.setattr(feature_simplicity, "feature_simplicity", scores)
    content["submission"] |= {"features": ["simple", "complex", "ablated", "raw"], "metadata": True, "bibtex": "@a{b}"}
    made = exported(content, tmp_path / "net_latents")
    assert made.identifiers == [f"net-latents-{kind}" for kind in ("simple", "complex", "ablated", "raw")]
    assert any("metadata.yaml" in notice and "2.5.0" in notice for notice in made.notices)
    assert any("complex has 4 features" in notice or "complex has 7 features" in notice for notice in made.notices)
    plugin = tmp_path / "net_latents"
    assert all(one.problem is None for one in rules.examined(plugin)), rules.examined(plugin)
    models = json.loads((plugin / "submission.json").read_text())["models"]
    assert models["net-latents-simple"]["features"][EARLY]["latents"] == list(range(32, 64))
    assert models["net-latents-ablated"]["features"][EARLY]["latents"] == list(range(32, 64))
    assert models["net-latents-complex"]["features"][EARLY]["latents"] == list(range(7))
    assert "dictionary" not in models["net-latents-raw"]["features"][EARLY]
    document = yaml.safe_load((plugin / "metadata.yaml").read_text())
    assert document["schema_version"] == "2.0"
    assert set(document["models"]) == set(models)


def test_no_simple_latents(content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from comparisons import feature_simplicity

    def scores(backbone: Any, features: Any, **options: Any) -> dict[str, np.ndarray]:
        return {site: np.full(2 * backbone.sites[site].width, 0.2) for site in features}

    monkeypatch.setattr(feature_simplicity, "feature_simplicity", scores)
    content["submission"]["features"] = ["simple"]
    with pytest.raises(InputError, match="None of the 64 latents"):
        exported(content, tmp_path / "net_latents")
    assert not (tmp_path / "net_latents").exists()


def test_a_site_is_chosen_by_what_it_predicts(content: dict[str, Any], tmp_path: Path) -> None:
    """Recordings that are linear in the features of one site choose it; the table says so, and that it is simulated."""
    from bridge.models import load
    from bridge.streams import read

    content["stimuli"] |= {"families": ["textures", "shapes"], "limit": {"textures": 40, "shapes": 40}}
    config = parse(content)
    stimuli = config.stimuli.load()
    backbone = load(content["models"][0])
    inputs = backbone.prepare([stimuli.image(row) for row in range(len(stimuli))])
    stream = read(backbone, inputs, [LATE])[LATE].mean(1).numpy()
    responses = stream @ np.random.default_rng(0).standard_normal((64, 9))
    rows = [
        {"image": name, "unit": f"u{unit}", "region": "IT", "subject": "m", "value": responses[row, unit]}
        for row, name in enumerate(stimuli.ids)
        for unit in range(9)
    ]
    import pandas as pd

    pd.DataFrame(rows).to_csv(tmp_path / "it.csv", index=False)
    about = {"stimulus_id": "image", "neuroid_id": "unit", "region": "region", "subject": "subject", "value": "value"}
    (tmp_path / "it.yaml").write_text(yaml.safe_dump(about))
    content["recordings"] = [{"kind": "table", "name": "lab", "path": str(tmp_path / "it.csv")}]
    content["submission"]["regions"]["IT"] = {"recordings": "lab"}
    content["submission"]["regions"]["V4"] = EARLY
    content["submission"]["sites"] = [EARLY, LATE]
    made = exported(content, tmp_path / "net_latents")
    assert made.regions["IT"] == LATE
    choice = json.loads((tmp_path / "net_latents" / "region_choice.json").read_text())["IT"]
    assert choice["on"] == "lab"
    assert choice["scores"][LATE] > choice["scores"][EARLY]
    assert f"{choice['scores'][LATE]:.4f}" in (tmp_path / "net_latents" / "README.md").read_text()
    content["submission"]["regions"]["V1"] = {"recordings": "lab"}
    with pytest.raises(InputError, match="hold no responses in V1"):
        exported(content, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_folder_that_is_there_is_kept(content: dict[str, Any], plugin: Path) -> None:
    with pytest.raises(ConfigError, match="is there already"):
        exported(content, plugin)
    exported(content, plugin, replace=True)


def test_a_folder_that_python_cannot_import(content: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no Python package"):
        exported(content, tmp_path / "net-latents")


def test_networks_of_libraries(tmp_path: Path) -> None:
    """Networks that a library makes, with weights that go with the plugin; a TransformerLens bridge is refused."""
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
    config["models"] = [{"name": "net", **models["transformers"], "backend": "transformer-lens"}]
    with pytest.raises(ConfigError, match="use `backend: hooks`"):
        exported(config, tmp_path / "bridged")


# ---------------------------------------------------------------------------------------------------------- hub


@pytest.fixture
def logged_in(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


def test_weights_on_the_hub(content: dict[str, Any], tmp_path: Path, logged_in: Hub) -> None:
    plugin = tmp_path / "net_latents"
    made = exported(content, plugin, push="lab/net-latents")
    about = json.loads((plugin / "submission.json").read_text())
    entries = [about["network"]["weights"], *(own["weights"] for own in about["dictionaries"].values())]
    assert {entry["revision"] for entry in entries} == {made.commit}
    assert not (plugin / "weights").exists()
    assert made.commit is not None
    assert made.commit in (plugin / "README.md").read_text()
    assert all(one.problem is None for one in rules.examined(plugin)), rules.examined(plugin)
    with imported(plugin) as model:
        assert model.get_module("net-latents") is not None


def test_a_file_that_the_hub_changed(content: dict[str, Any], tmp_path: Path, logged_in: Hub) -> None:
    plugin = tmp_path / "net_latents"
    made = exported(content, plugin, push="lab/net-latents")
    shutil.rmtree(tmp_path / "hub_cache")
    files = logged_in.repositories["lab/net-latents"].commits[str(made.commit)]
    files["net_latents/network.safetensors"] = files[f"net_latents/{EARLY}.early.safetensors"]
    with imported(plugin) as model, pytest.raises(RuntimeError, match="is not the file that was submitted"):
        model.get_module("net-latents")


def test_a_revision_that_is_gone_and_no_network(content: dict[str, Any], tmp_path: Path, logged_in: Hub) -> None:
    plugin = tmp_path / "net_latents"
    exported(content, plugin, push="lab/net-latents")
    about = json.loads((plugin / "submission.json").read_text())
    about["network"]["weights"]["revision"] = "0" * 40
    (plugin / "submission.json").write_text(json.dumps(about))
    with imported(plugin) as model, pytest.raises(RuntimeError, match="RevisionNotFound"):
        model.get_module("net-latents")
    about["network"]["weights"]["revision"] = "main"
    (plugin / "submission.json").write_text(json.dumps(about))
    assert "which may change; name a commit" in problems(plugin)["weights"]
    shutil.rmtree(tmp_path / "hub_cache")
    logged_in.stop()
    with imported(plugin) as model, pytest.raises(RuntimeError, match="cannot be fetched"):
        model.get_module("net-latents")


def test_nothing_is_written_without_a_token_or_a_network(content: dict[str, Any], tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(UnreachableError, match="Nobody is logged in"):
        exported(content, tmp_path / "net_latents", push="lab/net-latents")
    with pytest.raises(ConfigError, match="no repository's name"):
        exported(content, tmp_path / "net_latents", push="net-latents")
    assert not (tmp_path / "net_latents").exists()


def test_dictionaries_of_the_hub_stay_there(content: dict[str, Any], tmp_path: Path, hub: Hub) -> None:
    """What was loaded from a commit is named by it; the branch that it came from may then move."""
    files = {path.name: path.read_bytes() for path in (tmp_path / "saes" / LATE).iterdir()}
    commit = hub.add("lab/saes", {f"late/{name}": data for name, data in files.items()})
    content["saes"][1] |= {"path": "lab/saes", "id": "late"}
    exported(content, tmp_path / "net_latents")
    about = json.loads((tmp_path / "net_latents" / "submission.json").read_text())
    entry = about["dictionaries"][f"{LATE}/late"]["weights"]
    assert (entry["repository"], entry["revision"]) == ("lab/saes", commit)
    assert entry["path"] == "late/sae_weights.safetensors"
    assert about["dictionaries"][f"{EARLY}/early"]["weights"]["repository"] is None
    with imported(tmp_path / "net_latents") as model:
        assert model.get_module("net-latents") is not None


# -------------------------------------------------------------------------------------------------------- rules


def problems(plugin: Path) -> dict[str, str]:
    return {one.name: one.problem for one in rules.examined(plugin) if one.problem is not None}


def edited(plugin: Path, name: str, change: Callable[[str], str]) -> dict[str, str]:
    path = plugin / name
    path.write_text(change(path.read_text()))
    return problems(plugin)


LINE = registration({"net-latents": "sae"}).splitlines()[-1]
BROKEN: dict[str, tuple[str, Callable[[str], str], str, str]] = {
    "slash": ("__init__.py", lambda s: s.replace("'net-latents'", "'net/latents'"), "identifiers", "no slash"),
    "taken": ("__init__.py", lambda s: s.replace("'net-latents'", "'alexnet'"), "identifiers", "taken already"),
    "loop": ("__init__.py", lambda s: s.replace(LINE, "for n in 'ab':\n    model_registry[n] = None"), "identifiers",
             "computed"),
    "greedy": ("__init__.py", lambda s: s.replace(LINE, LINE + "  # [x]"), "identifiers", "does not find"),
    "comment": ("__init__.py", lambda s: s + "# model_registry['old'] was here\n", "identifiers", "nothing registers"),
    "two lines": ("__init__.py", lambda s: s + LINE + "\n", "identifiers", "registered twice"),
    "none": ("__init__.py", lambda s: s.replace(LINE, ""), "identifiers", "registers no model"),
    "region": ("region_layer_map/net-latents.json", lambda s: s.replace('"V2"', '"V3"'), "region map",
               "no layer for V2"),
    "layer": ("region_layer_map/net-latents.json", lambda s: s.replace(LATE, "blocks.8.hook_resid_post"), "region map",
              "none of its layers"),
    "requirement": ("requirements.txt", lambda s: s + "sae_lens>=6\n", "environment", "sae-lens"),
    "import": ("model.py", lambda s: s + "\nimport saes.sae\n", "code", "model.py imports saes"),
    "unpickled": ("weights.py", lambda s: s + "\ntorch.load('x')\n", "code", "without weights_only=True"),
    "no function": ("model.py", lambda s: s.replace("def get_layers", "def layers"), "model.py", "no get_layers"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_named_and_nothing_is_packed(case: str, plugin: Path) -> None:
    name, change, rule, said = BROKEN[case]
    found = edited(plugin, name, change)
    assert said in found[rule], found
    with pytest.raises(InputError, match="is not packed"):
        packing.pack(plugin, unchecked=True)
    assert not plugin.with_suffix(".zip").exists()


def test_files_that_do_not_belong(plugin: Path) -> None:
    (plugin / "more").mkdir()
    (plugin / "more" / "test_more.py").write_text("")
    (plugin / "weights" / "old.pt").write_bytes(b"")
    (plugin / "test.py").unlink()
    found = problems(plugin)
    assert "move it up" in found["test files"]
    assert "there is no test.py" in found["test files"]
    assert "old.pt may be a pickle" in found["code"]


def test_weights_that_changed_or_are_gone(plugin: Path) -> None:
    path = plugin / "weights" / "network.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert "is not the file that was exported" in problems(plugin)["weights"]
    with imported(plugin) as model, pytest.raises(RuntimeError, match="is not the file that was submitted"):
        model.get_module("net-latents")
    path.unlink()
    assert "is missing" in problems(plugin)["weights"]


def test_a_zip_that_is_too_large(plugin: Path) -> None:
    (plugin / "weights" / "more.safetensors").write_bytes(np.random.default_rng(0).bytes(rules.ZIP_BYTES + 1))
    assert "the website takes 50 MB" in problems(plugin)["size"]


def test_a_zip(plugin: Path, ventral: Ventral, tmp_path: Path) -> None:
    code, _, error = ventral("brain-score", "zip", plugin)
    assert code == 3
    assert "have not passed" in error
    (plugin / "__pycache__").mkdir()
    (plugin / "__pycache__" / "model.pyc").write_bytes(b"")
    (plugin / ".hidden").write_text("")
    code, out, _ = ventral("brain-score", "zip", plugin, "--unchecked", "--out", tmp_path / "a.zip")
    assert code == 0
    assert "a.zip" in out
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"net_latents"}, "one entry at the top"
    assert "net_latents/models/net_latents/__init__.py" in names
    assert not any("__pycache__" in name or "/." in name for name in names)
    code, _, error = ventral("brain-score", "zip", tmp_path)
    assert code == 3
    assert "is no plugin" in error


def test_brain_score_s_own_search_finds_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """`searched` is `get_plugin_ids`."""
    import sys
    import tempfile
    from types import ModuleType

    monkeypatch.setitem(sys.modules, "pytest_check", ModuleType("pytest_check"))  # imported there, and not used

    from brainscore_core.plugin_management.parse_plugin_changes import get_plugin_ids

    texts = [
        registration({"a": "raw", "b-c": "sae"}),
        'model_registry["x"] = lambda: f(["y"])\n',
        "# model_registry['z']\nmodel_registry[name] = 1\n",
    ]
    with tempfile.TemporaryDirectory() as root:
        for number, text in enumerate(texts):
            folder = Path(root) / "models" / f"m{number}"
            folder.mkdir(parents=True)
            (folder / "__init__.py").write_text(text)
            assert get_plugin_ids("models", [f"m{number}"], root) == rules.searched(text)
