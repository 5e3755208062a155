"""`ventral sae train` and `eval`: what they leave, what they print, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_stand_in import TOKEN, Hub

import saes

LATE = "blocks.5.hook_resid_post"
Ventral = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tiny: dict[str, Any], written: Callable[[dict[str, Any]], Path]) -> Path:
    """A config that trains two seeds at one site of the demo network."""
    entry = {
        "kind": "train",
        "name": "topk",
        "sites": [LATE],
        "seeds": 2,
        "training": {"batch": 64, "epochs": 4, "architecture": {"kind": "topk", "expansion": 4}},
    }
    tiny.pop("comparisons")
    return written({**tiny, "models": [{"kind": "demo", "name": "demo net"}], "saes": [entry]})


def test_train_shows_its_plan_and_leaves_dictionaries(config: Path, ventral: Ventral, tmp_path: Path) -> None:
    code, out, _ = ventral("sae", "train", config, "--dry-run")
    assert code == 0
    lines = [line.split("  ") for line in out.splitlines() if line.startswith(("to do", "cached"))]
    assert [(line[0], line[1].strip()) for line in lines] == [
        ("to do", "capture demo net of few, 16 tokens"),
        ("to do", "sae topk demo net"),
    ]
    assert not (tmp_path / "out").exists()

    code, out, _ = ventral("sae", "train", config, "--out", tmp_path / "out")
    assert code == 0
    folder = tmp_path / "out" / "demo net" / LATE / "topk"
    assert saes.load(folder).d_sae == 128
    assert saes.load(folder.with_name("topk.1")).site == LATE
    row = next(line for line in out.splitlines() if line.startswith(f"{folder} "))
    assert "held out of the training" in out

    code, out, _ = ventral("sae", "train", config, "--out", tmp_path / "out", "--json")
    assert code == 0
    found = json.loads(out)
    assert list(found) == [str(folder), str(folder.with_name("topk.1"))]
    held = found[str(folder)]["held_out"]
    assert row.split()[-3:] == [f"{held['fvu']:.3f}", f"{held['l0']:.1f}", f"{held['dead']:.0%}"]
    assert held == saes.load(folder).config.metadata["metrics"]
    assert 0 < found[str(folder.with_name("topk.1"))]["seed_stability"]["mean_cosine"] < 1
    _, out, _ = ventral("sae", "train", config, "--dry-run")
    assert out.count("cached  ") == 2


def test_eval_measures_a_folder_on_the_stimuli_of_a_config(config: Path, ventral: Ventral, tmp_path: Path) -> None:
    assert ventral("sae", "train", config, "--out", tmp_path / "out")[0] == 0
    folder = tmp_path / "out" / "demo net" / LATE / "topk"
    code, out, _ = ventral("sae", "eval", folder, config, "--json", "--limit", 4)
    assert code == 0
    found = json.loads(out)
    assert found["activations"]["tokens"] == 12 * 64
    np.testing.assert_allclose(found["activations"]["l0"], 8, atol=0.5)
    assert found["output"]["outputs"] == 4
    code, out, _ = ventral("sae", "eval", folder, config, "--limit", 4)
    assert code == 0
    assert f"at {LATE} of demo net, 768 tokens" in out
    assert f"variance unexplained             {found['activations']['fvu']:.4g}" in out
    assert "4 stimuli" in out
    code, _, err = ventral("sae", "eval", folder, config, "--model", "demo nett")
    assert code == 2
    assert err.startswith("error: There is no model 'demo nett' in the config; did you mean 'demo net'?")
    code, _, err = ventral("sae", "eval", folder, config, "--site", "blocks.5.hook_write")
    assert code == 2
    assert f"was trained at {LATE}, and the site at hand is blocks.5.hook_write" in err
    code, _, err = ventral("sae", "eval", folder, config, "--set", "models.0.network=residual-wide")
    assert code == 2
    assert "was trained on demo net with weights" in err


def test_what_cannot_be_done_is_said_in_a_sentence(config: Path, ventral: Ventral, tmp_path: Path) -> None:
    code, _, err = ventral("sae", "train", config, "--set", "saes=[]")
    assert (code, err) == (2, "error: saes: is empty; add at least one (such as {kind: train, name: topk}).\n")
    code, _, err = ventral("sae", "eval", tmp_path / "absent", config)
    assert code != 0
    assert err.startswith(f"error: There is no folder {tmp_path / 'absent'}")
    assert err.count("\n") == 1
    (tmp_path / "file").write_text("in the way")
    code, _, err = ventral("sae", "train", config, "--out", tmp_path / "file")
    assert code != 0
    assert err.splitlines()[-1].startswith("error: Cannot write")


def test_a_dictionary_that_names_no_site_needs_one(config: Path, ventral: Ventral, tmp_path: Path) -> None:
    assert ventral("sae", "train", config, "--out", tmp_path / "out")[0] == 0
    sae = saes.load(tmp_path / "out" / "demo net" / LATE / "topk")
    sae.config.metadata["hook_name"] = None
    saes.save(sae, tmp_path / "nameless")
    code, _, err = ventral("sae", "eval", tmp_path / "nameless", config)
    assert (code, err) == (2, "error: The dictionary does not name its site; give --site.\n")
    assert ventral("sae", "eval", tmp_path / "nameless", config, "--site", LATE, "--limit", 4)[0] == 0


def test_what_was_trained_is_pushed_and_loaded_again(
    config: Path, ventral: Ventral, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert ventral("sae", "train", config, "--out", tmp_path / "out")[0] == 0
    code, out, _ = ventral("sae", "push", tmp_path / "out" / "demo net", "lab/mine")
    assert code == 0
    *pushed, commit = out.splitlines()
    assert pushed == [f"lab/mine {LATE}/topk", f"lab/mine {LATE}/topk.1"]
    sae = saes.load("lab/mine", id=f"{LATE}/topk")
    assert commit == f"commit {sae.config.metadata['revision']}"
    code, out, _ = ventral("sae", "eval", "lab/mine", config, "--id", f"{LATE}/topk", "--limit", 4)
    assert code == 0
    assert f"at {LATE} of demo net" in out
