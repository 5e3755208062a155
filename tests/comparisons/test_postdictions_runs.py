"""`kind: postdictions` through a config on a shipped network and its untrained copy, and what it cannot say."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from planned import made

from bridge.errors import ConfigError
from bridge.store import Store
from comparisons.config import load, parse
from comparisons.plan import make_plan

EARLY, MIDDLE, END = (f"blocks.{number}.hook_resid_post" for number in (0, 1, 11))


def content(**fields: Any) -> dict[str, Any]:
    stimuli = {"kind": "battery", "name": "few", "families": ["shapes"], "size": 64, "limit": {"shapes": 40}}
    return {
        "name": "post",
        "stimuli": stimuli,
        "models": [{"kind": "demo", "name": "net"}, {"kind": "demo", "name": "untrained", "untrained": True}],
        "capture": {"workers": 0},
        "comparisons": [{"kind": "postdictions", "sites": [EARLY, END], "images": 60, "noise": 200}],
        **fields,
    }


def test_every_postdiction_has_numbers_by_depth() -> None:
    told = made(content())
    found = {(one.model, one.measure, one.site): one for one in told.results}

    def value(measure: str, site: str, model: str = "net") -> float:
        return found[model, measure, site].estimate

    assert value("receptive field R2, median", EARLY) > value("receptive field R2, median", END)
    assert value("Gabor simplicity, median", EARLY) > value("Gabor simplicity, median", END)
    for site in (EARLY, END):
        spread = [value(f"Gabor simplicity, {word}", site) for word in ("least", "median", "greatest")]
        assert spread == sorted(spread)
        assert 0 <= value("lifetime sparseness, median", site) <= 1
        assert 0 < value("participation ratio over width", site) <= 1
    # An untrained network without biases is linear in contrast: its tuning keeps its shape.
    assert value("overloading over contrast, median", END, "untrained") < 0.05
    assert found["untrained", "participation ratio", END].role == "untrained"
    assert not any("redundancy" in one.measure or "another site" in one.measure for one in told.results)
    assert "postdictions" not in " ".join(told.dropped)


def test_features_found_at_several_sites_are_counted() -> None:
    training = {"batch": 256, "epochs": 2, "architecture": {"kind": "topk", "expansion": 2}}
    entry = {"kind": "train", "name": "topk", "models": ["net"], "sites": [EARLY, MIDDLE], "tokens": 64,
             "least_explained": -1, "training": training}  # fmt: skip
    asked = content(
        models=[{"kind": "demo", "name": "net"}],
        saes=[entry],
        comparisons=[{"kind": "postdictions", "sites": [EARLY, MIDDLE], "parts": ["redundancy"]}],
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(unexplained|dead after).*", UserWarning)
        told = made(asked)
    shares = [one for one in told.results if one.comparison == "postdictions"]
    assert [one.site for one in shares] == [None, EARLY, MIDDLE]
    assert all(0 <= one.estimate <= 1 and one.dictionary == "topk" for one in shares)


def test_unknown_sites_are_refused() -> None:
    asked = content(comparisons=[{"kind": "postdictions", "sites": ["blocks.40.*"]}])
    with pytest.raises(ConfigError, match="No site matches"):
        make_plan(parse(asked), Store())


def test_the_shipped_config_plans_every_network() -> None:
    plan = make_plan(load("demo_postdictions"), Store())
    assert sum(name.startswith("postdictions ") for name in plan.stages) == 11
