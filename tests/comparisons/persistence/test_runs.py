"""`kind: persistence` through a config on the shipped networks, with dictionaries of three seeds, and its mistakes."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from planned import Made, made

from bridge.models import load
from bridge.models.base import Backbone
from comparisons.persistence.networks import decode_baselines, decode_network
from comparisons.persistence.presenting import kept_tokens, prepared_batches, present
from comparisons.persistence.skip_ablation import CONDITIONS, condition, skip_ablation
from comparisons.persistence.variables import EDGES, OBJECTS, ORIENTATION, cells_of, edge_battery

EARLY, MIDDLE, END = (f"blocks.{number}.hook_resid_post" for number in (0, 1, 11))
QUICK = {"kind": "persistence", "scenes": 0, "gratings": 360, "permutations": 2, "draws": 200,
         "baselines": ["pixels", "Gabor bank"]}  # fmt: skip


def content(**fields: Any) -> dict[str, Any]:
    return {
        "name": "p1",
        "stimuli": {"kind": "battery", "name": "few", "families": ["shapes", "scenes"], "size": 64,
                    "limit": {"shapes": 40, "scenes": 40}},
        "models": [
            {"kind": "demo", "name": "residual"},
            {"kind": "demo", "name": "plain", "network": "plain", "role": "control"},
            {"kind": "demo", "name": "untrained", "untrained": True},
        ],
        "capture": {"workers": 0},
        "comparisons": [{**QUICK, "sites": [EARLY, END]}],
        **fields,
    }  # fmt: skip


@pytest.fixture(scope="module")
def net() -> Backbone:
    return load({"kind": "demo", "name": "net"})


@pytest.fixture(scope="module")
def vit() -> Backbone:
    return load({"kind": "demo", "name": "vit", "network": "vit"})


def curves(told: Made) -> dict[str, Any]:
    """All curves of a run."""
    return json.loads((told.folders["persistence"] / "curves.json").read_text())


def test_every_network_gets_a_verdict_and_a_curve() -> None:
    told = made(content())
    assert [one.subject for one in told.verdicts] == ["residual", "plain", "untrained"]
    assert all(one.prediction == "P1 persistence" for one in told.verdicts)
    trained = told.verdicts[0]
    assert trained.answer in ("SUPPORTED", "REFUTED", "INCONCLUSIVE")
    assert any("untrained (untrained)" in reason and "plain (control)" in reason for reason in trained.reasons)
    assert any("pixels" in reason and "Gabor bank" in reason for reason in trained.reasons)
    d = {(one.model, one.site): one for one in told.results if one.measure == "D of orientation"}
    assert trained.numbers["D at the last site"] == d["residual", END].estimate
    low, high = d["residual", END].interval or (0, 0)
    assert low < d["residual", END].estimate < high
    assert d["pixels", None].role == "reference"
    assert {one.measure for one in told.results} >= {
        "D of log frequency",
        "D of x of edges",
        "D of orientation, pooled",
    }
    points = curves(told)["models"][0]["points"]
    assert {one["site"] for one in points} == {EARLY, END}
    assert all(one["interval"] for one in points if one["d"] is not None)

    swapped = content(comparisons=[{**QUICK, "sites": [END, EARLY]}])
    again = made(swapped)
    assert [one.model_dump() for one in again.verdicts] == [one.model_dump() for one in told.verdicts]


def test_features_of_dictionaries_survive_or_not() -> None:
    read = [EARLY, MIDDLE, "blocks.4.hook_resid_post"]
    saes = [{"kind": "train", "name": "topk", "models": ["residual"], "sites": read, "seeds": 3,
             "tokens": 64, "least_explained": -1,
             "training": {"batch": 256, "epochs": 3, "architecture": {"kind": "topk", "expansion": 4}}}]  # fmt: skip
    comparison = {**QUICK, "sites": [EARLY, END], "baselines": [], "simplicity_images": 50}
    asked = content(models=[{"kind": "demo", "name": "residual"}], saes=saes, comparisons=[comparison])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(unexplained|dead after).*", UserWarning)
        told = made(asked)
    measures = {one.measure for one in told.results if one.dictionary == "topk"}
    assert any(one.startswith("survival of features to age ") for one in measures)
    assert any("over the seed ceiling" in one for one in measures)
    (lasting,) = curves(told)["models"][0]["survival"]
    assert lasting["seeds"] == 3
    assert set(lasting["curves"]) == {"all", "simple", "not simple", "between", "complex"}
    # The measure on which seeds of one site agree more; across bases there is one alone.
    assert [one["by"] for one in lasting["pairs"]][1:] == ["activation correlation"] * 2
    assert lasting["pairs"][0]["by"] in ("decoder cosine", "activation correlation")
    all_of = lasting["curves"]["all"]
    assert all(0 <= value <= 1 for value in all_of["survival"])
    assert all(one is None or one >= other for one, other in zip(all_of["corrected"], all_of["survival"], strict=True))


def test_skip_ablation_takes_the_skip_away(net: Backbone) -> None:
    sites = {name: net.sites[name] for name in (EARLY, END)}
    rows = skip_ablation(net, [1], sites, scenes=64, calibration=64, draws=100)
    (row,) = rows
    assert set(row["conditions"]) == set(CONDITIONS)
    full, off = row["conditions"]["full"], row["conditions"]["skip off"]
    assert full["agreement"] == 1
    assert off["agreement"] < 1
    assert full["block"]["simple"] != off["block"]["simple"]
    assert set(row["shares"]) == {"skip off", "skip mean"}
    with pytest.raises(Exception, match="no ablation"):
        condition(net, 0, "all off", {})


def test_a_skip_that_carries_everything_has_a_share_of_one() -> None:
    """Blocks that write nothing: without the skip of the first, nothing at all arrives at the end."""
    import torch

    net = load({"kind": "demo", "name": "net"})
    with torch.no_grad():
        for block in net.module.blocks:  # type: ignore[union-attr]
            block.conv2.weight.zero_()
    sites = {name: net.sites[name] for name in (EARLY, MIDDLE)}
    (row,) = skip_ablation(net, [1], sites, scenes=32, calibration=32, draws=100)
    off = row["conditions"]["skip off"]["end"]["simple"]["d"]
    assert abs(off) < 1e-6
    assert row["conditions"]["block off"]["end"]["simple"]["d"] == row["conditions"]["full"]["end"]["simple"]["d"]
    share = row["shares"]["skip off"]["simple"]
    assert share is None or share[0] == pytest.approx(1)


def test_transformers_are_normalised_and_keep_their_class_token(vit: Backbone) -> None:
    sites = {name: site for name, site in vit.sites.items() if site.kind == "resid_post"}
    site = next(iter(sites.values()))
    kept = kept_tokens(site)
    assert kept[0] == 0
    assert len(kept) == 17
    stimuli = edge_battery(64, 4, 0, 0).load().select(range(8))
    found = present(vit, prepared_batches(vit, stimuli), sites)[site.name]
    tokens = found.tokens.reshape(8, 17, -1)
    np.testing.assert_allclose(np.square(tokens).mean(axis=2), 1, rtol=1e-4)
    assert found.pooled.shape == (8, 64)


def test_a_network_that_shows_gratings_by_their_energy_carries_orientation(net: Backbone) -> None:
    """Curves of the shipped network on few stimuli; transfer matrices stand within one basis."""
    sites = {name: net.sites[name] for name in (EARLY, MIDDLE, END)}
    found = decode_network(net, sites, scenes=0, variables=[ORIENTATION], permutations=5, draws=100)
    assert {one.view for one in found.points} == {"tokens", "pooled"}
    assert len(found.points) == 6
    (matrix,) = found.transfer
    assert matrix["sites"] == [EARLY, MIDDLE]
    assert matrix["matrix"][0][0] > matrix["matrix"][1][0]


def test_baselines_have_the_numbers_that_filters_have() -> None:
    """Pixels do not carry orientation across phases to a linear reader; a bank of Gabor energies does."""
    found = decode_baselines(
        ["pixels", "Gabor bank"], scenes=0, variables=[ORIENTATION], permutations=0, draws=100, gratings=360
    )
    assert found["pixels"][0].d < 0.1
    assert found["Gabor bank"][0].d > 0.6


def test_every_variable_fits_its_stimuli() -> None:
    stimuli = edge_battery(32, 0, 0, 160).load()
    for one in (*EDGES, *OBJECTS):
        table = stimuli.table[stimuli.table["family"] == one.family]
        held = one.held(table)
        assert len(np.unique(held)) >= 3, one.name
        cells, target = cells_of(one, table), one.target(table)
        for cell in np.unique(cells):
            assert len(np.unique(target[cells == cell], axis=0)) == 1, one.name
        assert np.isfinite(target).all()
        if one.apart:
            assert table[one.apart].nunique() >= 2
