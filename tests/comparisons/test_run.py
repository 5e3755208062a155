"""A run from config to folder: complete, repeatable, resumable, and named by content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.store import Store
from comparisons.config import parse
from comparisons.kinds.rsa import RSAComparison
from comparisons.plan import Planner, make_plan
from comparisons.results import Result, RunResults
from comparisons.running import Silent, execute, needed, run


class Counting(Silent):
    """Remembers which stages were computed."""

    def __init__(self) -> None:
        self.computed: list[str] = []

    def finished(self, stage: Any, seconds: float, reused: bool) -> None:
        self.computed.append(stage.id)


def test_a_run_leaves_results_report_and_figures(tiny: dict[str, Any], tmp_path: Path) -> None:
    results = run(parse(tiny), tmp_path / "out")
    read = RunResults.model_validate_json((tmp_path / "out" / "results.json").read_bytes())
    assert read == results
    # stem, and block 8's resid_pre, write, skip, preact, resid_post, delta; and pixels; two regions, two measures
    assert len(results.results) == (7 + 1) * 2 * 2
    assert {result.region for result in results.results} == {"V1", "IT"}
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    suffixes = {path.suffix for path in (tmp_path / "out" / "figures").iterdir()}
    assert suffixes == {".png", ".svg"}
    assert results.provenance["versions"]["rsatoolbox"]


def test_a_single_rdm_gets_a_result_without_a_ceiling(tiny: dict[str, Any], tmp_path: Path) -> None:
    results = run(parse(tiny), tmp_path / "out").results
    pooled = [result for result in results if result.region == "IT"]
    assert pooled
    assert all(result.ceiling is None and result.interval is not None and result.notes for result in pooled)
    assert any("only 20 bootstrap draws" in note for note in pooled[0].notes)
    several = [result for result in results if result.region == "V1"]
    assert all(result.ceiling is not None for result in several)
    assert any("3 subjects (t with 2 degrees of freedom)" in note for note in several[0].notes)


def test_a_repeated_run_computes_nothing_and_a_fresh_one_the_same(tiny: dict[str, Any], tmp_path: Path) -> None:
    config, store = parse(tiny), Store()
    first = run(config, tmp_path / "a", store=store)
    counting = Counting()
    again = run(config, tmp_path / "a", store=store, reporter=counting)
    elsewhere = run(config, tmp_path / "b", store=store, reporter=counting)
    assert counting.computed == []
    fresh = run(config, tmp_path / "c", store=Store(tmp_path / "empty"))
    assert first.results == again.results == elsewhere.results == fresh.results


@pytest.mark.parametrize(
    ("change", "computed_again"),
    [
        ({"title": "Another title"}, set()),
        ({"seed": 1}, {"rsa spearman", "rsa corr"}),
        ({"models": [{"kind": "cifar-resnet", "name": "renamed", "untrained": True}]}, {"rsa spearman", "rsa corr"}),
        (
            {"models": [{"kind": "cifar-resnet", "name": "net", "untrained": True, "seed": 5}]},
            {"capture net", "rdms net", "rsa spearman", "rsa corr"},
        ),
    ],
)
def test_what_changes_is_computed_again_and_nothing_else(
    tiny: dict[str, Any], tmp_path: Path, change: dict[str, Any], computed_again: set[str]
) -> None:
    run(parse(tiny), tmp_path / "out")
    counting = Counting()
    changed = run(parse({**tiny, **change}), tmp_path / "out", reporter=counting)
    assert set(counting.computed) == computed_again
    assert changed.title == change.get("title", "A tiny run")
    assert json.loads((tmp_path / "out" / "results.json").read_text())["title"] == changed.title


def test_changed_code_never_brings_an_old_number_back(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before = make_plan(parse(tiny), Store())
    monkeypatch.setattr("comparisons.plan.source_hash", lambda module: f"changed {module}")
    after = make_plan(parse(tiny), Store())
    assert all(before.stages[name].key != after.stages[name].key for name in before.stages)


def test_an_interrupted_run_goes_on_where_it_was(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(parse(tiny), tmp_path / "whole", store=Store(tmp_path / "other"))
    evaluate = "comparisons.rsa.evaluate"
    with monkeypatch.context() as broken:
        broken.setattr(evaluate, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(parse(tiny), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    counting = Counting()
    resumed = run(parse(tiny), tmp_path / "out", reporter=counting)
    assert counting.computed == ["rsa spearman", "rsa corr"]
    assert resumed.results == whole.results


def test_a_plan_knows_what_is_missing_before_it_computes(tiny: dict[str, Any]) -> None:
    store = Store()
    plan = make_plan(parse(tiny), store)
    assert needed(plan, store) == ["recordings", "capture net", "rdms net", "rsa spearman", "rsa corr"]
    execute(plan, store, Silent())
    assert needed(plan, store) == []


def test_dead_sites_are_left_out_and_named(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bridge.models.cifar_resnet as family

    build = family.CifarResNet.build

    def dead(self: Any) -> Any:
        backbone = build(self)
        backbone.module.layer3[2].bn2.weight.data.zero_()  # the last block writes nothing
        return backbone

    monkeypatch.setattr(family.CifarResNet, "build", dead)
    results = run(parse(tiny), tmp_path / "out")
    assert any("net blocks.8.hook_write was left out" in text for text in results.dropped)
    assert "blocks.8.hook_write" not in {result.site for result in results.results}
    assert "blocks.8.hook_resid_post" in {result.site for result in results.results}


def test_a_run_in_which_every_site_is_dead_says_so(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bridge.errors import InputError
    from comparisons.rdms import UndefinedPatterns

    def dead(patterns: np.ndarray) -> np.ndarray:
        raise UndefinedPatterns([0], len(patterns), "constant")

    monkeypatch.setattr("comparisons.rdms.correlation_rdm", dead)
    tiny["comparisons"][0]["references"] = []
    with pytest.raises(InputError, match="No site of any model is left to compare with made V1"):
        run(parse(tiny), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_reference_that_does_not_exist_for_these_stimuli_is_left_out(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comparisons.rdms import UndefinedPatterns

    def blank(*_: Any) -> np.ndarray:
        raise UndefinedPatterns([3], 12, "constant")

    monkeypatch.setattr("comparisons.references.pixel_rdm", blank)
    results = run(parse(tiny), tmp_path / "out")
    assert any("the reference pixels was left out: 1 of 12 patterns are constant" in text for text in results.dropped)
    assert "pixels" not in {result.model for result in results.results}


def test_estimates_are_those_of_rsatoolbox(tiny: dict[str, Any], tmp_path: Path, made_dataset: Any) -> None:
    """The whole path from image to number, against the library's functions on the same network's activations."""
    import rsatoolbox
    import torch

    from bridge.stimuli import load as load_stimuli
    from bridge.streams import read

    config = parse(tiny)
    results = run(config, tmp_path / "out").results
    stimuli, backbone = load_stimuli(config.stimuli), config.models[0].load()
    inputs = backbone.prepare([stimuli.image(row) for row in range(len(stimuli))])
    with torch.inference_mode():
        value = read(backbone, inputs, ["blocks.8.hook_resid_post"])["blocks.8.hook_resid_post"]
    dataset = rsatoolbox.data.Dataset(value.flatten(1).double().numpy())
    rdm = rsatoolbox.rdm.calc_rdm(dataset, method="correlation")
    region = made_dataset.recordings()[0]
    theirs = rsatoolbox.rdm.compare(rdm, rsatoolbox.rdm.RDMs(region.rdms), method="spearman").mean()
    ours = [r for r in results if (r.site, r.region, r.measure) == ("blocks.8.hook_resid_post", "V1", "spearman")]
    np.testing.assert_allclose(ours[0].estimate, theirs, atol=1e-3)  # float32 convolutions, other memory format


def test_renamed_recordings_are_shown_by_their_new_name(tiny: dict[str, Any], tmp_path: Path) -> None:
    simulated = {"kind": "simulated", "subjects": 2, "simple_dimensions": 2, "complex_dimensions": 2}
    for name in ("one", "other"):
        config = parse({**tiny, "recordings": [{**simulated, "name": name}]})
        assert {r.recordings for r in run(config, tmp_path / "out").results} == {name}


def test_two_comparisons_keep_their_own_sites_and_draws(tiny: dict[str, Any], tmp_path: Path) -> None:
    first = {"kind": "rsa", "sites": ["stem"], "measures": ["corr"], "draws": 20}
    second = {"kind": "rsa", "sites": ["stem", "blocks.2.hook_write"], "measures": ["corr"], "draws": 30}
    counting = Counting()
    results = run(parse({**tiny, "comparisons": [first, second]}), tmp_path / "out", reporter=counting).results
    assert sorted((r.site, r.n_draws) for r in results if r.region == "V1") == [
        ("blocks.0.hook_resid_pre", 20),
        ("blocks.0.hook_resid_pre", 30),
        ("blocks.2.hook_write", 30),
    ]
    assert counting.computed.count("capture net") == 1


def test_stimuli_that_were_left_out_are_named(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from bridge.stimuli.battery import Battery

    load = Battery.load
    monkeypatch.setattr(Battery, "load", lambda self: replace(load(self), dropped=("broken (truncated)",)))
    assert run(parse(tiny), tmp_path / "out").dropped == ("stimulus broken (truncated)",)


def damage(path: Path, how: str) -> None:
    """Change a file as disks and people do."""
    if how == "deleted":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:10])
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["deleted", "cut", "flipped"])
@pytest.mark.parametrize("what", ["rdms.npz", "regions.json", "results.json", "artefact.json", "sites.json"])
def test_damaged_artefacts_are_made_again(tiny: dict[str, Any], tmp_path: Path, what: str, how: str) -> None:
    store = Store(tmp_path / "store")
    whole = run(parse(tiny), tmp_path / "a", store=store)
    for path in store.root.glob(f"*/*/{what}"):
        damage(path, how)
    for path in store.root.glob("rsa/*/results.json"):  # whatever was damaged is needed again
        path.unlink()
    assert run(parse(tiny), tmp_path / "b", store=store).results == whole.results


@pytest.mark.parametrize("how", ["deleted", "cut", "flipped"])
@pytest.mark.parametrize("what", ["results.json", "report.html", "figures/rsa_corr_by_depth.png"])
def test_a_damaged_run_folder_is_written_anew(tiny: dict[str, Any], tmp_path: Path, what: str, how: str) -> None:
    config, out = parse(tiny), tmp_path / "out"
    run(config, out)
    before = (out / what).read_bytes()
    damage(out / what, how)
    run(config, out)
    if what.endswith(".png"):
        assert (out / what).read_bytes() == before
    found = RunResults.model_validate_json((out / "results.json").read_bytes())
    assert {name for name in found.files if (out / name).is_file()} == set(found.files)


def test_figures_of_another_config_do_not_stay(tiny: dict[str, Any], tmp_path: Path) -> None:
    run(parse(tiny), tmp_path / "out")
    tiny["comparisons"][0]["measures"] = ["corr"]
    run(parse(tiny), tmp_path / "out")
    assert not list((tmp_path / "out" / "figures").glob("*spearman*"))


def test_an_interruption_while_writing_is_seen_by_the_next_run(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, out = parse(tiny), tmp_path / "out"
    run(first, out)
    with monkeypatch.context() as broken:
        broken.setattr("comparisons.report.figures.save_figures", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(parse({**tiny, "title": "Another"}), out)
    assert not (out / "results.json").exists()
    run(first, out)
    assert "A tiny run" in (out / "report.html").read_text()


def test_results_say_where_they_come_from(tiny: dict[str, Any], tmp_path: Path) -> None:
    result = run(parse(tiny), tmp_path / "out").results[0]
    assert isinstance(result, Result)
    assert (result.n_stimuli, result.n_draws, result.seed) == (12, 20, 0)
    assert all((Store().root / key / "artefact.json").is_file() for key in result.artefacts)


def test_rsa_needs_recordings(tiny: dict[str, Any]) -> None:
    config = parse({**tiny, "recordings": []})
    with pytest.raises(Exception, match="needs recordings"):
        RSAComparison().add_stages(Planner(config, Store()))
