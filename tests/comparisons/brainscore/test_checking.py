"""`ventral brain-score check`: in the present environment for the quick tests, in a clean one for the slow ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_stand_in import TOKEN, Hub
from submissions import exported, random_dictionary, study

from bridge.errors import ConfigError, InputError, UnreachableError
from comparisons.brainscore import checking, environments
from comparisons.brainscore.feature_findings import features_found, predictions
from comparisons.config import parse
from saes.sae import SparseAutoencoder

Ventral = Callable[..., tuple[int, str, str]]


RESNET = ("residual", {"blocks.5.hook_resid_post": 32, "blocks.9.hook_resid_post": 64}, "topk")
TRANSFORMER = ("vit", {"blocks.1.hook_resid_mid": 64, "blocks.4.hook_resid_post": 64}, "jumprelu")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The embedded ResNet with random dictionaries."""
    out = tmp_path / "demo_residual"
    exported(study(*RESNET, tmp_path / "saes"), out)
    return out


def test_a_plugin_passes_here(plugin: Path, ventral: Ventral, tmp_path: Path) -> None:
    """All of Brain-Score's own tests, and the features; then, and only then, it is packed."""
    before = {path: path.read_bytes() for path in plugin.rglob("*") if path.is_file()}
    code, out, error = ventral("brain-score", "check", plugin, "--here")
    assert code == 0, out + error
    for words in checking.GENERIC.values():
        assert f"ok    generic: {words}" in out
    assert "ok    plugin's tests (passed)" in out
    assert "ok    demo-residual: independent of the batch" in out
    assert "MajajHong2015public.IT-pls" in out
    assert "Nothing is wrong." in out
    assert "note: demo-residual gives 8 logits" in out
    assert {path: path.read_bytes() for path in plugin.rglob("*") if path.is_file()} == before
    code, out, _ = ventral("brain-score", "zip", plugin)
    assert code == 0
    first = plugin.with_suffix(".zip").read_bytes()
    ventral("brain-score", "zip", plugin)
    assert plugin.with_suffix(".zip").read_bytes() == first
    (plugin / "README.md").write_text("another text")
    code, _, error = ventral("brain-score", "zip", plugin)
    assert code == 3
    assert "these very files have not passed" in error


def test_what_fails_is_said_with_what_brain_score_would_do(plugin: Path, ventral: Ventral) -> None:
    """A model with a blank image for one of its layers, too few features, and features that see the whole batch."""
    path = plugin / "stream.py"
    text = path.read_text()
    path.write_text(text.replace("features.mean(1)\n", "(features - features.mean((0, 1))).mean(1)[:, :20].relu()\n"))
    assert path.read_text() != text
    code, out, _ = ventral("brain-score", "check", plugin, "--here")
    assert code == 1
    assert "FAIL  demo-residual: independent of the batch" in out
    assert "FAIL  demo-residual: rank of 25 or more" in out
    assert "FAIL  demo-residual: no vector of zeros" in out
    assert "the metric rdm is NaN" in out
    assert "FAIL  plugin's tests" in out
    code, _, error = ventral("brain-score", "zip", plugin)
    assert code == 3
    assert "have not passed" in error


def test_a_broken_rule_ends_the_check(plugin: Path, ventral: Ventral) -> None:
    init = plugin / "__init__.py"
    init.write_text(init.read_text().replace("demo-residual", "alexnet"))
    code, out, _ = ventral("brain-score", "check", plugin, "--here")
    assert code == 1
    assert "'alexnet' is taken already" in out
    assert "tested and scored under another name" in out
    assert "generic" not in out


# ------------------------------------------------------------------------------------------ findings and predictions

LAYER = {"shape": [64, 100], "finite": True, "zero": [], "rank": 60, "constant": 0, "differences": {"shuffled": 1e-7}}


def answer(**given: Any) -> dict[str, Any]:
    return {
        "regions": {"V1": "a", "IT": "a"},
        "layers": {"a": {**LAYER, **given}},
        "seconds_an_image": 0.03,
        "memory": 2**30,
        "logits": 1000,
    }


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"shape": [64, 10, 14, 14]}, "one vector an image"),
        ({"finite": False}, "finite features"),
        ({"zero": [3]}, "no vector of zeros"),
        ({"rank": 24}, "rank of 25 or more"),
        ({"differences": {"shuffled": 0.1}}, "independent of the batch"),
        ({"differences": {"shuffled": float("nan")}}, "independent of the batch"),
        ({"shape": [64, 2_000_000]}, "memory below 29 GiB"),
    ],
)
def test_every_fault_has_its_finding(given: dict[str, Any], rule: str) -> None:
    wrong = [one for one in features_found("m", answer(**given)) if one.problem is not None]
    assert [one.name for one in wrong] == [f"m: {rule}"]
    assert wrong[0].otherwise
    assert all(one.problem is None for one in features_found("m", answer()))


def test_memory_and_time_are_predicted() -> None:
    rows = {row[1]: row[2:] for row in predictions("m", answer())}
    assert rows["MajajHong2015public.IT-pls"] == ["100", f"{1 + 3200 * 100 * 4 * 7 / 2**30:.2f}", "1.6"]
    assert "MajajHong2015public.V4-pls" not in rows, "a region without a layer"


# ------------------------------------------------------------------------------------------------- environments


def test_without_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environments.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match="uv, which is not installed"):
        environments.clean_environment(None)


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        ("error: Failed to fetch: `torch`\n  dns error", UnreachableError, "cannot be fetched"),
        ("  x No solution found: timm==0.1 needs torch<1", InputError, "cannot be installed beside"),
    ],
)
def test_requirements_that_cannot_be_had(
    said: str, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        failed = command[1] != "venv"
        if not failed:
            Path(command[-1]).mkdir(parents=True)
        return subprocess.CompletedProcess(command, int(failed), "", said if failed else "")

    monkeypatch.setattr(environments, "_run", run)
    (tmp_path / "requirements.txt").write_text("timm==0.1  # old\n")
    with pytest.raises(error, match=words):
        environments.clean_environment(tmp_path / "requirements.txt")
    assert not list((Path(os.environ["VENTRAL_CACHE"]) / "brainscore-environments").glob("*/bin"))


def test_a_clean_environment_is_made_once_and_old_ones_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if command[1] == "venv":
            Path(command[-1], "bin").mkdir(parents=True)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(environments, "_run", run)
    stated = tmp_path / "requirements.txt"
    made = []
    for number in range(5):
        stated.write_text(f"timm=={number}\n")
        made.append(environments.clean_environment(stated))
        before = len(calls)
        assert environments.clean_environment(stated) == made[-1]
        assert len(calls) == before, "the second time nothing is run"
    assert "--offline" in calls[1], "uv's cache comes first"
    assert [path.parents[1].is_dir() for path in made] == [False, False, True, True, True]


@pytest.fixture
def kept_environments(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Clean environments of the slow tests are made once for all of them."""
    shared = tmp_path_factory.getbasetemp() / "shared_cache"
    monkeypatch.setenv("VENTRAL_CACHE", str(shared))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.usefixtures("kept_environments")
@pytest.mark.parametrize("which", [RESNET, TRANSFORMER], ids=["resnet", "transformer"])
def test_a_plugin_passes_in_a_clean_environment_and_scores_the_same_there(
    which: Any, hub: Hub, tmp_path: Path, ventral: Ventral, monkeypatch: pytest.MonkeyPatch, data_folder: Path
) -> None:
    """Weights come from a stand-in for the hub through the real client; V4 (210325) is scored here and there."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    plugin = tmp_path / f"demo_{which[0]}"
    made = exported(study(*which, tmp_path / "saes"), plugin, push="lab/plugin")
    assert made.commit is not None
    shutil.rmtree(tmp_path / "hub_cache")
    for name, value in {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}.items():
        monkeypatch.setenv(name, value)
    options = {"sessions": ["210325"]}
    content = {
        "name": "v4",
        "stimuli": {"kind": "dataset", "name": "cowley2023_v4", "options": options},
        "recordings": [{"kind": "dataset", "name": "cowley2023_v4", "options": options}],
    }
    (tmp_path / "v4.yaml").write_text(json.dumps(content))
    code, out, error = ventral("brain-score", "check", plugin, "--on", tmp_path / "v4.yaml")
    assert code == 0, out + error
    assert "ok    clean environment" in out
    assert f"ok    demo-{which[0]}: same score there as here" in out
    row = next(line.split() for line in out.splitlines() if line.split()[1:2] == ["V4"])
    here, there = float(row[2]), float(row[3])
    assert np.isfinite(here)
    assert abs(here - there) <= 1e-6
    assert hub.asked(f"GET /lab/plugin/resolve/{made.commit}"), "the weights came from the hub"
    site, d = list(which[1].items())[1]
    own = own_score(which[0], random_dictionary(site, d, which[2]), site, content, tmp_path / "images")
    assert abs(own - there) <= 1e-6, "what this project reads and encodes itself scores the same"


def own_score(network: str, sae: SparseAutoencoder, site: str, content: dict[str, Any], folder: Path) -> float:
    """Brain-Score's score of V4 from this project's own features: stream, dictionary, mean over places."""
    from brainscore_vision.benchmark_helpers import PrecomputedFeatures

    from bridge.models import load
    from bridge.streams import read
    from comparisons.brainscore.features import feature_assembly
    from comparisons.brainscore.own import benchmark_of
    from comparisons.brainscore.scoring_there import recordings_of

    stimuli, recordings = recordings_of(parse(content))
    benchmark = benchmark_of(recordings, "V4", "pls", stimuli=stimuli, folder=folder)
    shown = benchmark._assembly.stimulus_set
    rows = stimuli.rows_of([str(name) for name in shown["stimulus_id"]])
    backbone = load({"kind": "demo", "name": "net", "network": network})
    prefix, parts = backbone.sites[site].prefix, []
    for at in range(0, len(rows), 64):
        images = backbone.prepare([stimuli.image(int(row)) for row in rows[at : at + 64]])
        parts.append(sae.encode(read(backbone, images, [site])[site])[:, prefix:].mean(1).numpy())
    features = feature_assembly(np.concatenate(parts), shown, site, "own")
    return float(benchmark(PrecomputedFeatures(features, visual_degrees=backbone.degrees)))


@pytest.mark.slow
@pytest.mark.usefixtures("kept_environments")
def test_a_revision_that_is_gone_is_told_by_the_check(
    hub: Hub, tmp_path: Path, ventral: Ventral, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    plugin = tmp_path / "demo_residual"
    exported(study(*RESNET, tmp_path / "saes"), plugin, push="lab/plugin")
    about = json.loads((plugin / "submission.json").read_text())
    about["network"]["weights"]["revision"] = "0" * 40
    (plugin / "submission.json").write_text(json.dumps(about))
    for name, value in {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}.items():
        monkeypatch.setenv(name, value)
    code, out, _ = ventral("brain-score", "check", plugin)
    assert code == 1
    assert "cannot be fetched" in out
    assert "RevisionNotFound" in out
