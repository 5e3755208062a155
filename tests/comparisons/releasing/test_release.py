"""`ventral sae release`: what is trained, judged, written and pushed, and what is refused; recipes that ship."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_stand_in import TOKEN, Hub

import saes
from bridge.store import Store
from comparisons.config import load, parse, shipped
from comparisons.plan import Planner
from comparisons.releasing.judging import shortcomings
from comparisons.releasing.passes import Wanted, passes, plan_passes, wanted
from comparisons.releasing.spec import Gates
from saes.specs.train import TrainSAE

SITES = ["blocks.4.hook_resid_post", "blocks.5.hook_resid_post"]
Ventral = Callable[..., tuple[int, str, str]]
RECIPES = [name for name in shipped() if name.startswith("release_")]


@pytest.fixture
def content(tiny: dict[str, Any]) -> dict[str, Any]:
    """A recipe of two sites of the demo network, whose gates a short training passes."""
    training = {"batch": 64, "epochs": 20, "held_out": 0.2, "architecture": {"kind": "topk", "expansion": 2, "k": 12}}
    entry = {"kind": "train", "name": "topk", "sites": SITES, "source": "hooks", "training": training}
    del tiny["comparisons"], tiny["recordings"]
    model = {"kind": "demo", "name": "demo net"}
    gates = {"explained": 0.2, "live": 0.1, "tokens": 16}
    return {**tiny, "models": [model], "saes": [entry], "release": {"gates": gates, "licence": "mit"}}


@pytest.fixture
def recipe(content: dict[str, Any], written: Callable[[dict[str, Any]], Path]) -> Path:
    return written(content)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The sites of each pass that is really trained."""
    import saes.training

    seen: list[list[str]] = []
    train = saes.training.train

    def watched(jobs: Any, *arguments: Any, **options: Any) -> Any:
        seen.append([job.reads[0] for job in jobs])
        return train(jobs, *arguments, **options)

    monkeypatch.setattr(saes.training, "train", watched)
    return seen


# --------------------------------------------------------------------------------------------- recipes that ship


def test_recipes_ship_for_resnets_and_vits() -> None:
    assert {"release_resnet18", "release_resnet50", "release_vit_b16", "release_dinov2_s14"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_sites_exist_in_the_real_architecture(name: str) -> None:
    """Built with weights drawn at random, as the dry run builds it: no network is needed."""
    config = load(name)
    bare = config.model_copy(update={"models": [one.model_copy(update={"untrained": True}) for one in config.models]})
    planner = Planner(bare, Store())
    found = wanted(config, planner)
    blocks = {site.block for site in planner.sites(bare.models[0]).values()}
    assert {one.site.name for one in found} == {
        "blocks.0.hook_resid_pre",
        *(f"blocks.{block}.hook_resid_post" for block in blocks),
    }
    (entry,) = config.saes
    assert isinstance(entry, TrainSAE)
    assert isinstance(entry.tokens, int)
    assert all(one.site.tokens - one.site.prefix >= entry.tokens for one in found), "every site gives as many tokens"
    assert config.release is not None


# ------------------------------------------------------------------------------------------------- parts of it


def one(site: str, width: int, model: str = "net", entry: str = "topk") -> Wanted:
    from bridge.streams import Site

    place = Site(site, "resid_post", 0, 0, 0.5, width, 64, (8, 8), 0, "0")
    return Wanted(f"{site}/{entry}", entry, model, place, entry, 8 * width, 4, "recipe")


def test_passes_hold_as_many_sites_as_are_so_wide_together() -> None:
    some = [one("a", 30), one("b", 30), one("c", 50), one("d", 200), one("e", 10), one("a", 30, model="other")]
    assert passes(some, 100) == [
        ("topk", "net", ("a", "b")),
        ("topk", "net", ("c",)),
        ("topk", "net", ("d",)),
        ("topk", "net", ("e",)),
        ("topk", "other", ("a",)),
    ]
    assert passes([one("a", 30), one("a", 30)], 100) == [("topk", "net", ("a",))], "seeds of one site"
    assert passes([], 100) == []


def test_gates() -> None:
    good = {"fvu": 0.3, "dead": 0.1, "tokens": 20_000}
    assert shortcomings(good, Gates()) == []
    assert shortcomings({**good, "fvu": 0.5, "dead": 0.5}, Gates()) == [], "the bounds themselves pass"
    assert shortcomings({**good, "fvu": 0.61}, Gates()) == ["explains 0.390, less than 0.5"]
    assert shortcomings({**good, "dead": 0.75}, Gates()) == ["25% of the latents live, less than 50%"]
    assert shortcomings({**good, "tokens": 9_999}, Gates()) == ["measured on 9,999 tokens, fewer than 10,000"]
    assert shortcomings({**good, "fvu": None}, Gates()) == ["explains nothing measurable, less than 0.5"]
    assert shortcomings(None, Gates()) == ["not measured: no stimuli were held out"]


def test_workers_make_the_same_plan_again(content: dict[str, Any]) -> None:
    plan = plan_passes(parse(content), Store(), [("topk", "demo net", (site,)) for site in SITES])
    assert plan.recipe is not None
    again = plan.recipe.plan(Store())
    assert {name: stage.key for name, stage in again.stages.items()} == {n: s.key for n, s in plan.stages.items()}
    assert plan.results == ["pass 1: sae topk demo net", "pass 2: sae topk demo net"]


# ------------------------------------------------------------------------------------------------- the command


def test_a_dry_run_says_sites_widths_and_bytes(recipe: Path, ventral: Ventral, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said, _ = ventral("sae", "release", recipe, "--dry-run", "--out", out)
    assert code == 0
    assert [line.split()[:6] for line in said.split("dictionaries, ")[0].splitlines() if line.startswith("to add")] == [
        ["to", "add", f"{site}/topk", "32", "64", "12"] for site in SITES
    ]
    code, said, _ = ventral("sae", "release", recipe, "--dry-run", "--json", "--out", out)
    rows = json.loads(said)["dictionaries"]
    weights = 4 * (2 * 32 * 64 + 32 + 64)
    assert [(row["d_in"], row["latents"], row["bytes"], row["there"]) for row in rows] == [(32, 64, weights, False)] * 2
    assert not out.exists()
    assert ventral("sae", "release", recipe, "--out", out)[0] == 0
    rows = json.loads(ventral("sae", "release", recipe, "--dry-run", "--json", "--out", out)[1])["dictionaries"]
    assert [row["there"] for row in rows] == [True, True]
    file = next((out / SITES[0]).rglob("*.safetensors"))
    assert 0 <= file.stat().st_size - weights < 1000, "what is predicted is what is written, but for the header"


def test_a_dry_run_needs_no_images_and_no_weights(recipe: Path, ventral: Ventral) -> None:
    there = ["--set", "stimuli={kind: folder, name: none, path: no/such/folder}", "--dry-run", "--json"]
    code, said, _ = ventral("sae", "release", recipe, *there)
    assert code == 0
    assert [row["there"] for row in json.loads(said)["dictionaries"]] == [False, False]
    code, _, err = ventral("sae", "release", recipe, *there[:2])
    assert (code, err.startswith("error: There is no folder no/such/folder")) == (3, True)


def test_from_a_recipe_to_the_hub(
    recipe: Path,
    ventral: Ventral,
    tmp_path: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    stages: list[list[str]],
) -> None:
    from sae_lens import SAE

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    out = tmp_path / "out"
    code, said, err = ventral("sae", "release", recipe, "--out", out, "--repo", "lab/demo", "--json")
    assert code == 0, err
    told = json.loads(said)
    assert stages == [SITES], "all sites in one pass"
    ids = [f"{site}/topk" for site in SITES]
    assert [row["id"] for row in told["dictionaries"]] == ids
    held = hub.repositories["lab/demo"]
    assert told["commit"] == held.heads["main"]
    assert len(held.commits) == 2, "the hub's own and one of all dictionaries"
    x = torch.randn(40, 32, generator=torch.Generator().manual_seed(0))
    for row in told["dictionaries"]:
        local = saes.load(row["folder"])
        ours, theirs = saes.load("lab/demo", row["id"]), SAE.from_pretrained("lab/demo", row["id"])
        assert torch.equal(ours(x), local(x))
        torch.testing.assert_close(theirs(x), local(x), rtol=0, atol=1e-5)
        measured = local.config.metadata["metrics"]
        assert row["explained_variance"] == 1 - measured["fvu"]
        assert row["published"]
    page = held.commits[held.heads["main"]]["README.md"].decode()
    assert page == (out / "README.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in rows] == ids
    first = told["dictionaries"][0]
    for cell in ("64", "12", f"{first['explained_variance']:.4g}", f"{first['l0']:.4g}", "mit"):
        assert f" {cell} |" in rows[0]
    assert 'SAE.from_pretrained("lab/demo"' in page
    used = json.loads((out / ids[0] / "cfg.json").read_text())["metadata"]["stimuli_used"]
    assert f", {used['count']:,} stimuli of kind {used['kind']}." in page
    assert 'saes.load("lab/demo"' in page

    # Again: nothing is trained, nothing is committed.
    code, said, err = ventral("sae", "release", recipe, "--out", out, "--repo", "lab/demo", "--json")
    assert code == 0, err
    assert json.loads(said)["commit"] == told["commit"]
    assert (len(stages), len(held.commits)) == (1, 2)

    # Other dictionaries under the same names replace nothing unless that is asked for.
    changed = ["--set", "seed=5", "--out", tmp_path / "other", "--repo", "lab/demo"]
    code, _, err = ventral("sae", "release", recipe, *changed)
    assert code == 2
    assert "lab/demo already has" in err.splitlines()[-1]
    assert ventral("sae", "release", recipe, *changed, "--replace")[0] == 0
    assert len(held.commits) == 3


def test_a_release_in_parts_trains_what_is_missing(
    recipe: Path, ventral: Ventral, tmp_path: Path, stages: list[list[str]]
) -> None:
    out = tmp_path / "out"
    assert ventral("sae", "release", recipe, "--out", out, "--only", "blocks.4.*")[0] == 0
    weights = next(out.rglob("*.safetensors")).read_bytes()
    code, said, _ = ventral("sae", "release", recipe, "--out", out)
    assert code == 0
    assert stages == [SITES[:1], SITES[1:]]
    assert "2 of 2 dictionaries pass" in said
    assert "--repo OWNER/NAME" in said
    assert (out / SITES[0] / "topk" / "sae_weights.safetensors").read_bytes() == weights
    assert SITES[0] in (out / "README.md").read_text()
    assert 'SAE.load_from_disk("FOLDER/' in (out / "README.md").read_text()
    # Together or one after the other, a site's dictionary is the same but for rounding.
    assert ventral("sae", "release", recipe, "--out", tmp_path / "whole")[0] == 0
    for site in SITES:
        a, b = (saes.load(folder / site / "topk") for folder in (out, tmp_path / "whole"))
        torch.testing.assert_close(a.W_dec, b.W_dec, rtol=0, atol=1e-4)
    # What was damaged is made again; what another recipe made is not taken for this one's.
    (out / SITES[1] / "topk" / "sae_weights.safetensors").write_bytes(b"damaged")
    assert ventral("sae", "release", recipe, "--out", out)[0] == 0
    assert saes.load(out / SITES[1] / "topk").d_sae == 64
    assert ventral("sae", "release", recipe, "--out", out, "--set", "seed=3")[0] == 0
    assert stages[-1] == SITES


def test_what_is_below_the_gates_is_not_pushed(
    recipe: Path,
    ventral: Ventral,
    tmp_path: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    stages: list[list[str]],
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    out = tmp_path / "out"
    explained = {
        row["site"]: row["explained_variance"]
        for row in json.loads(ventral("sae", "release", recipe, "--out", out, "--json")[1])["dictionaries"]
    }
    worse, better = sorted(explained, key=lambda site: explained[site])
    between = sum(explained.values()) / 2
    asked = ["--out", out, "--repo", "lab/demo", "--set", f"release.gates.explained={between}"]
    code, said, err = ventral("sae", "release", recipe, *asked)
    assert code == 6
    assert f"({worse}/topk: explains {explained[worse]:.3f}, less than" in err
    assert "BELOW GATES" in next(line for line in said.splitlines() if line.startswith(worse))
    files = hub.repositories["lab/demo"].commits[hub.repositories["lab/demo"].heads["main"]]
    assert f"{better}/topk/cfg.json" in files
    assert not any(name.startswith(worse) for name in files)
    assert not (out / worse).exists()
    assert worse not in (out / "README.md").read_text()
    assert saes.load(tmp_path / "out-below-gates" / worse / "topk").d_sae == 64, "it is kept, apart"
    # Judged anew by other gates, without training.
    assert ventral("sae", "release", recipe, "--out", out, "--repo", "lab/demo")[0] == 0
    assert len(stages) == 1
    assert (out / worse / "topk").is_dir()
    assert not (tmp_path / "out-below-gates" / worse).exists()
    files = hub.repositories["lab/demo"].commits[hub.repositories["lab/demo"].heads["main"]]
    assert {f"{site}/topk/cfg.json" for site in SITES} <= set(files)
    # Where none passes, nothing is made on the hub.
    code, _, err = ventral(
        "sae", "release", recipe, "--out", out, "--repo", "lab/none", "--set", "release.gates.tokens=100000"
    )
    assert code == 6
    assert "2 of 2 dictionaries are below the gates" in err
    assert "lab/none" not in hub.repositories


def test_what_cannot_be_released_is_a_sentence(
    recipe: Path, ventral: Ventral, hub: Hub, monkeypatch: pytest.MonkeyPatch, stages: list[list[str]]
) -> None:
    for arguments, code, words in (
        (["--repo", "lab/demo"], 4, "Nobody is logged in, so nothing can be put into lab/demo"),
        (["--repo", "demo"], 2, "'demo' is no repository's name; give user/name"),
        (["--only", "blocks.9.*"], 2, "--only was given 'blocks.9.*', which no site of the release matches"),
        (["--set", "saes.0.sites=[blocks.77.hook_resid_post]"], 2, "No site matches 'blocks.77.hook_resid_post'"),
        (["--set", "saes=[]"], 2, "saes: names nothing to train"),
        (["--set", "saes.0.joint=true"], 2, "saes 'topk' is a crosscoder; a release holds dictionaries of one site"),
        (["--set", "saes.0.training.architecture.k=999"], 2, "k is 999 and the dictionary has 64 latents"),
    ):
        found, _, err = ventral("sae", "release", recipe, *arguments)
        assert found == code, err
        assert err.startswith("error: ")
        assert words in err
        assert err.count("\n") == 1
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    code, _, err = ventral("sae", "release", recipe, "--repo", "lab/demo")
    assert (code, "hub refuses lab/demo" in err) == (4, True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.stop()
    code, _, err = ventral("sae", "release", recipe, "--repo", "lab/demo")
    assert (code, "lab/demo cannot be reached" in err) == (4, True)
    assert stages == [], "found out before anything is trained"
