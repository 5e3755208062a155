"""`kind: editing` on small networks, from dictionaries that the run trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bridge.errors import ConfigError
from bridge.store import Store
from comparisons.config import parse
from comparisons.plan import make_plan
from comparisons.running import Silent, execute

SAE = {
    "kind": "train",
    "name": "topk",
    "sites": ["blocks.0.hook_resid_post", "blocks.3.hook_resid_post"],
    "tokens": 32,
    "training": {"batch": 512, "epochs": 6, "architecture": {"kind": "topk", "latents": 24, "k": 4}},
}


@pytest.fixture
def config() -> dict[str, Any]:
    return {
        "name": "p3",
        "stimuli": {"kind": "battery", "name": "few", "families": ["scenes"], "size": 64, "images_per_exemplar": 5},
        "models": [
            {"name": "residual", "kind": "demo", "network": "residual-narrow"},
            {"name": "plain", "kind": "demo", "network": "plain-narrow", "role": "control"},
            {"name": "untrained", "kind": "demo", "network": "residual-narrow", "untrained": True},
        ],
        "saes": [{**SAE, "sites": SAE["sites"][:1]}],
        "capture": {"workers": 0},
        "comparisons": [
            {
                "kind": "editing",
                "networks": [
                    {"name": "narrow", "trained": ["residual"], "plain": ["plain"], "untrained": ["untrained"]}
                ],
            }
        ],
    }


def test_streams_keep_their_latents_and_chains_delete_them(config: dict[str, Any], tmp_path: Path) -> None:
    plan = make_plan(parse(config), Store(tmp_path / "store"))
    paths, _ = execute(plan, Store(tmp_path / "store"), Silent())
    found = [json.loads((paths[name] / "results.json").read_text()) for name in plan.results]
    results = [one for part in found for one in part["results"]]
    slope = {one["model"]: one["estimate"] for one in results if one["measure"] == "edit slope, median"}
    assert abs(slope["residual"]) < 0.3
    assert slope["plain"] == pytest.approx(-1, abs=0.25)
    causal = {one["model"]: one["estimate"] for one in results if one["measure"] == "causal edit slope, median"}
    assert abs(causal["residual"]) < 0.2
    assert causal["plain"] == pytest.approx(-1, abs=0.1)
    verdicts = {one["subject"]: one for part in found for one in part.get("verdicts", [])}
    assert set(verdicts) == {"narrow", "plain"}
    assert all(one["answer"] == "INCONCLUSIVE" for one in verdicts.values()), "24 latents are too few"
    assert verdicts["narrow"]["numbers"]["median edit slope, plain"] == pytest.approx(slope["plain"])
    stage = next(name for name in plan.results if name.startswith("editing residual"))
    table = pd.read_csv(paths[stage] / "latents.csv")
    assert list(table["latent"]) == list(range(24))
    assert table["live"].sum() > 10


def test_the_order_of_sites_and_models_plays_no_part(config: dict[str, Any], tmp_path: Path) -> None:
    sites = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    verdicts = []
    for turn in (1, -1):
        made = {**config, "saes": [{**SAE, "sites": sites[::turn]}], "models": config["models"][::turn]}
        plan = make_plan(parse(made), Store(tmp_path))
        paths, _ = execute(plan, Store(tmp_path), Silent())
        parts = [json.loads((paths[name] / "results.json").read_text()) for name in plan.results]
        verdicts.append({one["subject"]: one for part in parts for one in part.get("verdicts", [])})
    assert len(verdicts[0]) >= 2
    assert verdicts[0] == verdicts[1]


def test_dictionaries_must_be_read_by_a_block_of_their_basis(config: dict[str, Any], tmp_path: Path) -> None:
    config["saes"] = [{**SAE, "sites": SAE["sites"][1:]}]
    with pytest.raises(ConfigError, match="whose next block shares its basis"):
        make_plan(parse(config), Store(tmp_path / "store"))
    config["saes"] = [SAE, {**SAE, "name": "other"}]
    with pytest.raises(ConfigError, match=r"several of blocks.0.hook_resid_post of residual match"):
        make_plan(parse(config), Store(tmp_path / "store"))
    config["saes"] = []
    with pytest.raises(ConfigError, match="add `saes`"):
        make_plan(parse(config), Store(tmp_path / "store"))


def test_as_many_scenes_as_the_largest_dictionary_needs(
    config: dict[str, Any], written: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    plan = make_plan(parse(config), Store(tmp_path / "store"))
    shown = next(stage for name, stage in plan.stages.items() if name.startswith("capture residual of drawn scenes"))
    # 1.1 x 50 tokens x 24 latents / 16 tokens an image = 83 images, in steps of 160
    assert shown.inputs["stimuli"]["images_per_exemplar"] == 5
    config["comparisons"][0]["images"] = 500
    plan = make_plan(parse(config), Store(tmp_path / "store"))
    shown = next(stage for name, stage in plan.stages.items() if name.startswith("capture residual of drawn scenes"))
    assert shown.inputs["stimuli"]["images_per_exemplar"] == 20
