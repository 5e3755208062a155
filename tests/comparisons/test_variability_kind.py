"""`kind: variability` through the command line, and the networks that a verdict is about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ConfigError
from bridge.store import Store
from comparisons.config import load, parse
from comparisons.networks import Network, networks_of
from comparisons.plan import make_plan
from comparisons.results import Result
from comparisons.running import Silent, execute

STIMULI = {"kind": "battery", "name": "few", "families": ["gratings"], "limit": {"gratings": 12}, "size": 32}


@pytest.fixture
def config() -> dict[str, Any]:
    return {
        "name": "p2",
        "stimuli": STIMULI,
        "models": [
            {"name": "residual", "kind": "demo", "network": "residual-narrow"},
            {"name": "plain", "kind": "demo", "network": "plain", "role": "control"},
            {"name": "untrained", "kind": "demo", "network": "residual-narrow", "untrained": True},
        ],
        "saes": [
            {
                "kind": "train",
                "name": "topk",
                "sites": ["blocks.1.hook_resid_post", "blocks.11.hook_resid_post"],
                "models": ["residual", "plain"],
                "tokens": 16,
                "training": {"batch": 128, "epochs": 1, "architecture": {"kind": "topk", "latents": 20, "k": 4}},
            }
        ],
        "capture": {"workers": 0},
        "comparisons": [
            {
                "kind": "variability",
                "images": 4,
                "labelled": 64,
                "vectors": 1,
                "dictionaries": ["topk"],
                "networks": [
                    {"name": "narrow", "trained": ["residual"], "plain": ["plain"], "untrained": ["untrained"]},
                    {"name": "chain", "trained": ["plain"]},
                ],
            }
        ],
    }


def test_streams_pass_on_and_chains_lose(config: dict[str, Any], tmp_path: Path) -> None:
    plan = make_plan(parse(config), Store(tmp_path))
    paths, _ = execute(plan, Store(tmp_path), Silent())
    parts = [json.loads((paths[name] / "results.json").read_text()) for name in plan.results]
    found: dict[str, Any] = {
        key: [one for part in parts for one in part.get(key, [])] for key in ("results", "verdicts", "dropped")
    }
    for one in found["results"]:
        Result.model_validate(one)
    t = {(one["model"], one["site"]): one["estimate"] for one in found["results"] if one["measure"] == "transport t"}
    assert all(value > 0.5 for (model, _), value in t.items() if model == "residual")
    assert all(abs(value) < 0.1 for (model, _), value in t.items() if model == "plain")
    assert len([key for key in t if key[0] == "plain"]) == 9, "within each of the three bases"
    verdicts = {one["subject"]: one for one in found["verdicts"]}
    assert verdicts["narrow"]["answer"] == verdicts["chain"]["answer"] == "INCONCLUSIVE"
    assert "at least 5 seeds" in " ".join(verdicts["narrow"]["reasons"])
    assert not any("nothing is carried" in text for text in found["dropped"])
    latents = {
        (one["model"], one["site"]): one["estimate"]
        for one in found["results"]
        if one["measure"] == "transport t_f of latents, median"
    }
    assert latents["residual", "blocks.1.hook_resid_post/topk"] > 0.5
    assert abs(latents["plain", "blocks.1.hook_resid_post/topk"]) < 0.2
    assert ("plain", "blocks.11.hook_resid_post/topk") not in latents, "nothing comes after the last block"
    measures = {one["measure"] for one in found["results"]}
    assert "additive law, held-out R2" in measures
    assert "transport of task-irrelevant minus relevant directions" in measures


@pytest.mark.slow
def test_the_order_of_sites_and_models_plays_no_part(config: dict[str, Any], tmp_path: Path) -> None:
    other = json.loads(json.dumps(config))
    other["saes"][0]["sites"].reverse()
    other["models"].reverse()
    found = [told(one, tmp_path) for one in (config, other)]
    assert len(found[0]) == 2
    assert found[0] == found[1]


def told(config: dict[str, Any], store: Path) -> dict[str, Any]:
    """The verdicts of a config's comparisons, by subject."""
    plan = make_plan(parse(config), Store(store))
    paths, _ = execute(plan, Store(store), Silent())
    parts = [json.loads((paths[name] / "results.json").read_text()) for name in plan.results]
    return {one["subject"]: one for part in parts for one in part.get("verdicts", [])}


def test_what_stands_beside_transport_can_be_left_out(config: dict[str, Any], tmp_path: Path) -> None:
    network = {"name": "narrow", "trained": ["residual"]}
    spec = {"kind": "variability", "images": 2, "vectors": 1, "networks": [network], "labelled": 0, "additive": False}
    config = {**config, "saes": [], "comparisons": [spec]}
    plan = make_plan(parse(config), Store(tmp_path))
    paths, _ = execute(plan, Store(tmp_path), Silent())
    measured = json.loads((paths["variability residual"] / "transport.json").read_text())
    assert measured["additive"] is None
    assert measured["task"] is None
    assert len(measured["pairs"]) == 66
    results = json.loads((paths["variability residual"] / "results.json").read_text())["results"]
    assert {one["measure"] for one in results} == {"transport t", "aligned share A", "bypass ratio of writes"}
    with pytest.raises(ConfigError, match="too few for eight categories"):
        parse({**config, "comparisons": [{**spec, "labelled": 8}]})


def test_networks_are_named_by_models_of_the_config(config: dict[str, Any]) -> None:
    parsed = parse({**config, "comparisons": []})
    assert networks_of(parsed, None) == [Network(name="residual", trained=["residual"], untrained=["untrained"])]
    with pytest.raises(ConfigError, match=r"'plane'; did you mean 'plain'"):
        networks_of(parsed, [Network(name="n", trained=["residual"], plain=["plane"])])
    with pytest.raises(ConfigError, match="two of them are named 'n'"):
        networks_of(parsed, [Network(name="n", trained=["residual"]), Network(name="n", trained=["plain"])])
    nothing = parse({**config, "comparisons": [], "models": config["models"][1:]})
    with pytest.raises(ConfigError, match="no trained model"):
        networks_of(nothing, None)


def test_the_config_of_five_seeds_names_what_a_verdict_asks_for(tmp_path: Path) -> None:
    plan = make_plan(load("five_seeds"), Store(tmp_path))
    verdicts = [name for name in plan.results if "verdict on" in name]
    assert verdicts == [
        "1: variability, verdict on residual-narrow",
        "1: variability, verdict on plain-narrow",
        "2: editing, verdict on residual-narrow",
    ]
    assert len(plan.stages[verdicts[0]].needs) == 15
    assert len(plan.stages[verdicts[2]].needs) == 45, "three blocks of fifteen networks"
