"""`kind: encoding` in a config: what a run leaves, what it repeats, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.errors import ConfigError, InputError
from bridge.recordings.recordings import Recordings
from bridge.stimuli import load as load_stimuli
from bridge.store import Store
from bridge.streams import read
from comparisons.config import load, parse
from comparisons.encoding import brainscore_splits, predictivity
from comparisons.plan import make_plan
from comparisons.running import run

SITES = ["stem", "blocks.0.hook_resid_post", "blocks.8.hook_resid_post"]


def test_a_run_says_what_the_functions_say(
    config: Callable[..., dict[str, Any]], recorded: Recordings, tmp_path: Path
) -> None:
    """From image to score, against the same network read by hand and aligned by id."""
    import torch

    parsed = parse(config(measures=["pls", "ridgecv"]))
    found = run(parsed, tmp_path / "out")
    results = found.results
    # Sites, measures, scores; IT is noise and has no reliability to normalise by, which is said.
    assert len(results) == 3 * 2 * (2 + 1)
    assert any("pls r^2/c of recorded IT is undefined (split-half reliability -" in text for text in found.dropped)
    stimuli, backbone = load_stimuli(parsed.stimuli), parsed.models[0].load()
    inputs = backbone.prepare([stimuli.image(row) for row in stimuli.rows_of(recorded.stimulus_ids)])
    with torch.inference_mode():
        features = read(backbone, inputs, ["blocks.0.hook_resid_post"])["blocks.0.hook_resid_post"].flatten(1).numpy()
    responses = np.nanmean(recorded.data, axis=0)[:, :6]
    for measure in ("pls", "ridgecv"):
        expected = predictivity(features, responses, method=measure, splits=brainscore_splits(59))
        by_score = {r.measure: r for r in results if r.region == "V4" and r.site == "blocks.0.hook_resid_post"}
        one = by_score[measure]
        assert one.estimate == pytest.approx(expected.score, abs=1e-3)  # float32 convolutions, another batch
        assert one.estimate > 0.1
        assert one.interval[0] < one.estimate < one.interval[1]
        assert (one.n_stimuli, one.n_subjects, one.n_draws, one.seed) == (59, 2, 20, 0)
        ceiled = by_score[f"{measure} r^2/c"]
        assert ceiled.estimate == pytest.approx(one.estimate**2 / one.ceiling[0] ** 2)
        assert "split-half" in " ".join(ceiled.notes)
    key = results[0].artefacts
    assert all((Store().root / name / "artefact.json").is_file() for name in key)


def test_per_neuroid_maps_are_kept(config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run(parse(config()), tmp_path / "out")
    (folder,) = (Store().root / "encoding").iterdir()
    maps = json.loads((folder / "maps.json").read_text())
    assert [entry["site"] for entry in maps] == ["blocks.0.hook_resid_pre", *SITES[1:]]
    with np.load(folder / "maps.npz", allow_pickle=False) as arrays:
        assert arrays["2"].shape == (10, 10)
    assert maps[0]["neuroids"][3] == "n3"


def test_a_site_is_selected_on_other_stimuli_than_it_is_reported_on(
    config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []

    def spy(features: Any, responses: np.ndarray, **options: Any) -> Any:
        seen.append(responses)
        return predictivity(features, responses, **options)

    monkeypatch.setattr("comparisons.encoding.recordings_encoded.predictivity", spy)
    results = run(parse(config(select={"fraction": 0.4}, measures=["ridgecv"], scores=["r"])), tmp_path / "out").results
    reported, choosing = seen[0], seen[1]
    assert (len(reported), len(choosing)) == (36, 23)
    assert not set(map(tuple, reported)) & set(map(tuple, choosing))
    selected = [r for r in results if r.measure == "ridgecv, site selected"]
    assert {r.region for r in selected} == {"V4", "IT"}
    for one in selected:
        (same,) = [r for r in results if (r.measure, r.site, r.region) == ("ridgecv", one.site, one.region)]
        assert one.estimate == same.estimate
        assert one.n_stimuli == 36
        assert "chosen among 3 sites on 23 other stimuli" in " ".join(one.notes)


def test_scores_and_pooling(config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    scores = ["r", "r^2/c", "(r/c)^2", "noise-corrected r2", "R2"]
    results = run(parse(config(scores=scores, pool="mean", measures=["ridgecv"], draws=0)), tmp_path / "out").results
    v4 = {r.measure: r for r in results if r.region == "V4" and r.site == SITES[1]}
    assert set(v4) == {"ridgecv", *(f"ridgecv {score}" for score in scores[1:])}
    c = v4["ridgecv"].ceiling[0] ** 2
    assert v4["ridgecv (r/c)^2"].estimate == pytest.approx((v4["ridgecv"].estimate / c) ** 2)
    assert all(r.interval is None and r.n_draws == 0 for r in results)
    it = [r.estimate for r in results if (r.region, r.measure) == ("IT", "ridgecv R2")]
    assert max(it) <= 0.05


def test_alignment_and_other_subjects_stand_beside_the_maps(
    config: Callable[..., dict[str, Any]], recorded: Recordings, tmp_path: Path
) -> None:
    changes = {"alignments": ["cka", "cka-biased", "procrustes"], "other_subjects": True, "measures": ["ridgecv"]}
    found = run(parse(config(**changes, scores=["r"], draws=0)), tmp_path / "out")
    aligned = [r for r in found.results if r.measure in changes["alignments"]]
    assert len(aligned) == 3 * 2 * 3
    assert all(0 < r.estimate <= 1 for r in aligned if r.region == "V4" and r.measure != "cka")
    others = {r.region: r for r in found.results if r.model == "other subjects"}
    responses, subjects = np.nanmean(recorded.data, axis=0)[:, :6], np.array(["a", "b"] * 3)
    expected = [
        predictivity(responses[:, subjects != name], responses[:, subjects == name], method="ridgecv").score
        for name in "ab"
    ]
    assert others["V4"].estimate == pytest.approx(np.mean(expected))
    assert (others["V4"].role, others["V4"].site, others["V4"].n_subjects) == ("reference", None, 2)


def test_one_repetition_has_no_ceiling_and_that_is_said(
    config: Callable[..., dict[str, Any]], recorded: Recordings, tmp_path: Path
) -> None:
    object.__setattr__(recorded, "data", recorded.data[:1])
    scores = ["r", "r^2/c", "noise-corrected r2"]
    found = run(parse(config(measures=["ridgecv"], sites=["stem"], scores=scores)), tmp_path / "out")
    assert {(r.region, r.measure, r.ceiling) for r in found.results} == {
        ("V4", "ridgecv", None),
        ("IT", "ridgecv", None),
    }
    assert all("no ceiling: the recordings hold one repetition" in r.notes for r in found.results)
    assert "ridgecv r^2/c of recorded V4 is undefined (one repetition)" in found.dropped


def test_a_repeated_run_computes_nothing(config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    first = run(parse(config()), tmp_path / "a")
    assert run(parse(config()), tmp_path / "b").results == first.results
    plan = make_plan(parse(config()), Store())
    assert all(Store().has(stage.kind, stage.inputs) for stage in plan.stages.values())


def test_two_comparisons_of_this_kind_stand_side_by_side(config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    content = config(scores=["r"], draws=0)
    content["comparisons"].append({**content["comparisons"][0], "measures": ["ridge"]})
    results = run(parse(content), tmp_path / "out").results
    assert {r.measure for r in results} == {"pls", "ridge"}


def test_a_site_that_does_not_vary_is_left_out_and_named(
    config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bridge.models.cifar_resnet as family

    build = family.CifarResNet.build

    def dead(self: Any) -> Any:
        backbone = build(self)
        backbone.module.layer3[2].bn2.weight.data.zero_()  # the last block writes nothing
        return backbone

    monkeypatch.setattr(family.CifarResNet, "build", dead)
    found = run(parse(config(sites=["blocks.8.hook_write", "stem"], draws=0)), tmp_path / "out")
    assert any("net blocks.8.hook_write was left out: its features are the same" in text for text in found.dropped)
    assert {r.site for r in found.results} == {"blocks.0.hook_resid_pre"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recordings": ["recorderd"]}, r"no recordings 'recorderd'; did you mean 'recorded'"),
        ({"stratify": "objekt"}, r"the stimuli have no column 'objekt'"),
        ({"train_size": 0.999}, r"cannot be split"),
        ({"measures": ["plss"]}, r"plss"),
    ],
)
def test_what_does_not_fit_is_said(
    config: Callable[..., dict[str, Any]], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, InputError), match=message):
        run(parse(config(**changes)), tmp_path / "out")


def test_rdms_are_refused(config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    content = config()
    content["stimuli"] = {**content["stimuli"], "families": ["gratings"], "limit": {"gratings": 12}}
    content["recordings"].append({"kind": "dataset", "name": "made"})
    with pytest.raises(InputError, match=r"'made' hold RDMs only, and encoding needs the responses"):
        run(parse(content), tmp_path / "out")
    content["recordings"] = []
    with pytest.raises(ConfigError, match="encoding needs recordings"):
        run(parse(content), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.data
def test_v4_is_predicted_better_by_a_trained_network(data_folder: Path, tmp_path: Path) -> None:
    """The shipped config, at three sites by one measure."""
    sites = '["blocks.2.hook_resid_post", "blocks.6.hook_resid_post", "blocks.8.hook_resid_post"]'
    changes = [f"comparisons.0.sites={sites}", "comparisons.0.measures=[ridgecv]", "comparisons.0.draws=0"]
    results = run(load("resnet20_macaque_v4", changes), tmp_path / "out").results
    chosen = {r.role: r for r in results if r.measure == "ridgecv, site selected"}
    corrected = {r.role: r for r in results if r.measure == "ridgecv noise-corrected r2, site selected"}
    assert chosen["trained"].estimate > chosen["untrained"].estimate + 0.1
    assert corrected["trained"].estimate > 0.25
    assert chosen["trained"].ceiling[0] ** 2 == pytest.approx(0.76, abs=0.02)


def test_the_report_says_how(config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    from comparisons.report.methods import cited, paragraphs

    changes = {"measures": ["ridgecv"], "scores": ["r", "noise-corrected r2"], "select": {"fraction": 0.4}}
    steps = paragraphs(run(parse(config(**changes)), tmp_path / "out"))
    titles = [step.title for step in steps]
    assert titles[2:6] == ["Encoding", "Ceiling of encoding", "Choice of the site", "Intervals"]
    assert "leave-one-out" in steps[2].text
    assert "25 components" not in steps[2].text
    assert "Noise ceiling" not in titles
    assert {"schrimpf2018", "pospisil2021"} <= set(cited(steps))
    assert not {"nili2014", "schuett2023"} & set(cited(steps))
