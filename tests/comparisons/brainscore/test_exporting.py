"""From a config to a plugin, its rules, its zip: with a stand-in for the hub on loopback where weights go there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hub_stand_in import TOKEN, Hub
from submissions import EARLY, LATE, exported, problems

from bridge.errors import ConfigError, InputError, UnreachableError
from comparisons.brainscore import identifiers, packing, rules
from comparisons.brainscore.verifying import imported
from comparisons.config import parse

Ventral = Callable[..., tuple[int, str, str]]


def test_a_plugin_is_whole(plugin: Path) -> None:
    assert all(one.problem is None for one in rules.examined(plugin)), rules.examined(plugin)
    assert identifiers.identifiers_of(plugin) == ["net-latents"]
    layers = json.loads((plugin / "region_layer_map" / "net-latents.json").read_text())
    assert layers == {"V1": f"stream.{EARLY}", "V2": f"stream.{EARLY}", "V4": f"stream.{LATE}", "IT": f"stream.{LATE}"}
    assert json.loads((plugin / "submission.json").read_text())["models"]["net-latents"]["readout"] == "network.head"
    card = (plugin / "README.md").read_text()
    assert EARLY in card
    assert "all latents" in card
    listed = re.findall(r"^\| `([^`]+)` \|", card.partition("## Files")[2].partition("## ")[0], re.MULTILINE)
    assert listed
    assert all((plugin / name).exists() for name in listed), listed
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


def test_a_site_is_chosen_on_a_benchmark(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Brain-Score's own LayerScores; the benchmark here is one of recordings of this project."""
    import brainscore_vision

    from bridge.recordings.recordings import Recordings
    from comparisons.brainscore.own import benchmark_of

    content["stimuli"] |= {"families": ["textures", "shapes"], "limit": {"textures": 40, "shapes": 40}}
    stimuli = parse(content).stimuli.load()
    import pandas as pd

    rng = np.random.default_rng(0)
    neuroids = pd.DataFrame({"neuroid_id": [f"u{n}" for n in range(6)], "region": "IT", "subject": "m"})
    recordings = Recordings("lab", rng.standard_normal((3, len(stimuli), 6)), tuple(stimuli.ids), neuroids)
    benchmark = benchmark_of(recordings, "IT", "pls", stimuli=stimuli, folder=tmp_path / "shown")
    monkeypatch.setattr(brainscore_vision, "load_benchmark", lambda identifier: benchmark)
    content["submission"]["regions"]["IT"] = {"benchmark": "MajajHong2015public.IT-pls"}
    content["submission"]["sites"] = [EARLY, LATE]
    made = exported(content, tmp_path / "net_latents")
    choice = json.loads((tmp_path / "net_latents" / "region_choice.json").read_text())["IT"]
    assert choice["on"] == "MajajHong2015public.IT-pls"
    assert made.regions["IT"] == max(choice["scores"], key=choice["scores"].get)
    content["submission"]["regions"]["V4"] = {"benchmark": "MajajHong2015public.IT-pls"}
    with pytest.raises(ConfigError, match="is a benchmark of IT"):
        exported(content, tmp_path / "another")
    content["submission"]["regions"]["V4"] = {"benchmark": "MajajHong2015publik.V4-pls"}
    with pytest.raises(ConfigError, match="did you mean"):
        exported(content, tmp_path / "another")

    def unreachable(identifier: str) -> None:
        raise OSError("NoCredentialsError: Unable to locate credentials")

    monkeypatch.setattr(brainscore_vision, "load_benchmark", unreachable)
    content["submission"]["regions"]["V4"] = EARLY
    with pytest.raises(UnreachableError, match="cannot be fetched"):
        exported(content, tmp_path / "another")
    assert not (tmp_path / "another").exists()


def test_a_folder_that_is_there_is_kept(content: dict[str, Any], plugin: Path) -> None:
    with pytest.raises(ConfigError, match="is there already"):
        exported(content, plugin)
    exported(content, plugin, replace=True)


def test_a_folder_that_python_cannot_import(content: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no Python package"):
        exported(content, tmp_path / "net-latents")


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


def test_weights_that_are_too_large_to_go_along(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comparisons.brainscore import exporting

    monkeypatch.setattr(exporting, "BUNDLED_BYTES", 1000)
    with pytest.raises(ConfigError, match="put them into a repository of the hub with --push user/name"):
        exported(content, tmp_path / "net_latents")
    assert not (tmp_path / "net_latents").exists()


def test_nothing_is_written_without_a_token_or_a_network(
    content: dict[str, Any], tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnreachableError, match="Nobody is logged in"):
        exported(content, tmp_path / "net_latents", push="lab/net-latents")
    with pytest.raises(ConfigError, match="no repository's name"):
        exported(content, tmp_path / "net_latents", push="net-latents")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.stop()
    with pytest.raises(UnreachableError, match="lab/net-latents cannot be reached"):
        exported(content, tmp_path / "net_latents", push="lab/net-latents")
    assert not (tmp_path / "net_latents").exists()


def test_dictionaries_of_the_hub_stay_there(
    content: dict[str, Any], tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was loaded from a commit is named by it: the branch that it came from may then move, and is no
    longer taken for what it was."""
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
    hub.add("lab/saes", {"late/sae_weights.safetensors": b"others"})
    with imported(tmp_path / "net_latents") as model:
        assert model.get_module("net-latents") is not None
    monkeypatch.setenv("VENTRAL_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="lab/saes has changed"):
        exported(content, tmp_path / "again")
    assert not (tmp_path / "again").exists()
