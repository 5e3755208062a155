"""The section `submission` of a config: what it takes, and what it says where it cannot be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ConfigError
from bridge.store import Store
from comparisons.brainscore.chosen_parts import parts_of
from comparisons.config import parse
from comparisons.plan import Planner

SITE = "blocks.5.hook_resid_post"
CONTENT: dict[str, Any] = {
    "name": "study",
    "stimuli": {"kind": "battery", "name": "few", "families": ["gratings"], "limit": {"gratings": 12}, "size": 32},
    "models": [{"kind": "demo", "name": "net"}, {"kind": "demo", "name": "other", "network": "vit"}],
    "recordings": [{"kind": "simulated", "name": "brain", "truth": "residual"}],
    "saes": [
        {"kind": "train", "name": "topk", "models": ["net"], "sites": [SITE]},
        {
            "kind": "train",
            "name": "joint",
            "models": ["net"],
            "sites": [SITE, "blocks.6.hook_resid_post"],
            "joint": True,
        },
        {"kind": "train", "name": "across", "models": ["net"], "sites": [SITE], "writes": "blocks.6.hook_write",
         "training": {"architecture": {"kind": "relu"}}},
    ],
    "submission": {
        "identifier": "my-model",
        "model": "net",
        "regions": {"V1": "stem", "V2": SITE, "V4": SITE, "IT": {"recordings": "brain"}},
    },
}  # fmt: skip


def planned(**given: Any) -> Any:
    content = copy.deepcopy(CONTENT)
    content["submission"] |= given
    return parts_of(Planner(parse(content), Store()))


def test_sites_are_those_of_the_regions_and_of_the_choice() -> None:
    parts = planned(sites=["blocks.[78].hook_resid_post"])
    assert list(parts.sites) == [
        "blocks.0.hook_resid_pre", SITE, "blocks.7.hook_resid_post", "blocks.8.hook_resid_post",
    ]  # fmt: skip
    assert parts.given == {"V1": "blocks.0.hook_resid_pre", "V2": SITE, "V4": SITE}
    assert not parts.made


def test_sites_of_a_choice_without_a_dictionary_are_passed_over() -> None:
    regions = {"V1": SITE, "V2": SITE, "V4": SITE, "IT": {"recordings": "brain"}}
    parts = planned(features=["sae"], dictionary="topk", regions=regions)
    assert list(parts.sites) == [SITE]
    assert parts.names == {SITE: f"{SITE}/topk"}


def test_names_of_models_and_directory() -> None:
    one = parse(CONTENT).submission
    assert one is not None
    assert one.identifiers() == {"my-model": "raw"}
    assert one.directory() == "my_model"
    several = one.model_copy(update={"features": ["raw", "ablated"]})
    assert several.identifiers() == {"my-model-raw": "raw", "my-model-ablated": "ablated"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"identifier": "lab/model"}, "submission.identifier: was given 'lab/model'"),
        ({"identifier": "my model"}, "submission.identifier"),
        ({"identifier": "it's"}, "submission.identifier"),
        ({"features": ["sea"]}, "did you mean 'sae'?"),
        ({"features": ["sae", "sae"]}, "'sae' stands twice"),
        ({"features": []}, "submission.features"),
        ({"feature": ["sae"]}, "there is no such key; did you mean 'features'?"),
        ({"regions": {"V1": "stem", "V2": SITE, "IT": SITE}}, "there is none for V4"),
        ({"regions": {"V1": "stem", "V2": SITE, "V3": SITE, "V4": SITE, "IT": SITE}}, "there is no region 'V3'"),
        ({"regions": {"V1": "stem", "V2": SITE, "V4": SITE, "IT": {"recordings": "a", "benchmark": "b"}}}, "either"),
        ({"model": "ned"}, "submission.model: there is no model 'ned'; did you mean 'net'?"),
        ({"model": None}, "submission.model: the config has 2 models; name one of net, other"),
        ({"regions": {"V1": "stem", "V2": SITE, "V4": SITE, "IT": {"recordings": "brian"}}}, "did you mean 'brain'?"),
        ({"regions": {"V1": "stm", "V2": SITE, "V4": SITE, "IT": SITE}}, "submission.regions.V1: model 'net': No site"),
        ({"regions": {"V1": "blocks.*", "V2": SITE, "V4": SITE, "IT": SITE}}, "give one"),
        ({"pool": "class"}, "net has no class token"),
        ({"features": ["sae"], "dictionary": "topq"}, "has no dictionary 'topq'; did you mean 'topk'?"),
        ({"features": ["sae"], "dictionary": "topk"}, "submission.regions: blocks.0.hook_resid_pre of net has no"),
        ({"features": ["sae"], "regions": dict.fromkeys(("V1", "V2", "V4", "IT"), SITE)}, "has 2 dictionaries"),
        (
            {"features": ["sae"], "dictionary": "joint",
             "regions": dict.fromkeys(("V1", "V2", "V4", "IT"), "blocks.6.hook_resid_post")},
            "reads 2 sites together",
        ),
        (
            {"features": ["ablated"], "dictionary": "across", "regions": dict.fromkeys(("V1", "V2", "V4", "IT"), SITE)},
            "writes blocks.6.hook_write, not the site that it reads",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        planned(**given)
    assert said in str(error.value), str(error.value)


def test_a_config_without_a_submission(ventral: Any, written: Callable[[dict[str, Any]], Path], tmp_path: Path) -> None:
    content = {key: value for key, value in CONTENT.items() if key != "submission"}
    code, _, error = ventral("brain-score", "export", written(content), "--out", tmp_path / "out")
    assert code == 2
    assert "submission: is missing" in error
    assert not (tmp_path / "out").exists()


def test_an_identifier_that_brain_score_has(ventral: Any, written: Any, tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    content["submission"]["identifier"] = "alexnet"
    code, _, error = ventral("brain-score", "export", written(content), "--out", tmp_path / "out")
    assert code == 2
    assert "Brain-Score has a model 'alexnet' already" in error
    assert not (tmp_path / "out").exists()
