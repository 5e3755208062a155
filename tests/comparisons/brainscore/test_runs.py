"""Own recordings in a run: a simulated stream and real V4, streams and sparse codes, by both sides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scored_stand_in import made

from bridge.recordings.assembly import from_assembly
from bridge.recordings.recordings import Recordings
from comparisons.brainscore import ours, theirs
from comparisons.brainscore.features import SiteActivations
from comparisons.brainscore.known import Known
from comparisons.brainscore.known import known as known_of
from comparisons.brainscore.own import benchmark_of

Ventral = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config() -> dict[str, Any]:
    """A simulated stream that has seen 80 drawn images, an untrained network, and a dictionary of one of its sites."""
    return {
        "name": "small",
        "stimuli": {
            "kind": "battery",
            "name": "drawn",
            "families": ["textures", "shapes"],
            "limit": {"textures": 40, "shapes": 40},
            "size": 32,
        },
        "models": [{"kind": "cifar-resnet", "name": "net", "untrained": True}],
        "saes": [
            {
                "kind": "train",
                "name": "topk",
                "sites": ["blocks.4.hook_resid_post"],
                "tokens": 8,
                "training": {"batch": 64, "epochs": 2, "architecture": {"kind": "topk", "expansion": 4}},
                "least_explained": 0,
            }
        ],
        "recordings": [
            {
                "kind": "simulated",
                "name": "brain",
                "truth": "residual",
                "neuroids": {"V1": 10, "V2": 10, "V4": 10, "IT": 10},
                "reps": 4,
            }
        ],
        "capture": {"workers": 0},
        "comparisons": [
            {
                "kind": "brain-score",
                "regions": ["IT"],
                "metrics": ["pls", "ridge", "rdm"],
                "stratify": "family",
                "pool": "mean",
                "sites": ["blocks.4.hook_resid_post", "blocks.4.hook_resid_post/topk"],
            }
        ],
    }


def test_streams_and_codes_against_a_simulated_stream(
    config: dict[str, Any], written: Callable[[dict[str, Any]], Path], ventral: Ventral, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, said, wrong = ventral("run", written(config), "--out", out)
    assert code == 0, wrong
    assert "differ by at most" in said
    made = json.loads((out / "results.json").read_text())
    scores = made["benchmarks"]
    assert len(scores) == 3 * 2
    assert {row["model"] for row in scores} == {"net", "net · topk"}
    for row in scores:
        assert row["simulated"]
        assert abs(row["difference"]) < 1e-4
        # Of RDMs of few counts many distances are equal but for rounding, which their ranks see.
        exact = 1e-6 if row["metric"] == "rdm" else 1e-12
        assert row["fast_ceiling"] == pytest.approx(row["ceiling"], abs=exact)
        assert row["benchmark"].startswith("brain-")
        if row["metric"] == "rdm":
            assert row["difference"] == pytest.approx(0, abs=1e-6)
    assert {one["measure"] for one in made["results"]} == {"pls r^2/c", "ridge r^2/c", "rdm r^2/c"}
    assert len(made["results"]) == len(scores)
    report = (out / "report.html").read_text()
    assert "Brain-Score, by both sides" in report
    assert "SIMULATED" in report
    assert "normalisation since December 2025" in report


def test_another_network_or_dictionary_has_another_identifier(
    config: dict[str, Any],
    written: Callable[[dict[str, Any]], Path],
    ventral: Ventral,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Brain-Score keeps results under the identifier that it is given: other weights must never find them."""
    from comparisons.brainscore import scoring

    given: list[str] = []

    def spy(benchmark: Any, model: SiteActivations, site: str, degrees: float | None = None) -> Any:
        given.append(model.identifier)
        return theirs.layer_score(benchmark, model, site, degrees)

    monkeypatch.setattr(scoring, "layer_score", spy)
    config["comparisons"][0] |= {"metrics": ["rdm"], "sites": ["blocks.4.hook_resid_post/topk"]}
    for change in ({}, {"models.0.seed": 1}, {"saes.0.training.epochs": 3}, {"comparisons.0.pool": "max"}):
        told = [argument for key, value in change.items() for argument in ("--set", f"{key}={value}")]
        code, _, wrong = ventral("run", written(config), *told, "--out", tmp_path / "out")
        assert code == 0, wrong
    assert len(given) == len(set(given)) == 4


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({"regions": ["V5"]}, 2, "no recordings have 'V5'"),
        ({"stratify": "families"}, 2, "no column 'families'"),
        ({"sites": ["stem"], "metrics": ["pls"]}, 3, "rank"),
        ({"memory": 0.0001, "over": "stop"}, 3, "more than the limit"),
        ({"over": "select"}, 2, "selection: is needed"),
        ({"recordings": ["brian"]}, 2, "did you mean 'brain'"),
        ({"recordings": []}, 2, "names neither benchmarks nor recordings"),
    ],
)
def test_what_cannot_be_scored_is_said_before_anything_is(
    changes: dict[str, Any],
    status: int,
    told: str,
    config: dict[str, Any],
    written: Callable[[dict[str, Any]], Path],
    ventral: Ventral,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from comparisons.brainscore import scoring

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("something was scored")

    monkeypatch.setattr(scoring, "layer_score", never)
    monkeypatch.setattr(scoring, "fast_score", never)
    config["saes"] = []
    config["comparisons"][0] |= {"sites": ["blocks.4.hook_resid_post"], **changes}
    code, _, wrong = ventral("run", written(config), "--out", tmp_path / "out")
    assert code == status, wrong
    assert told in wrong
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_site_that_cannot_be_scored_may_be_left_out(
    config: dict[str, Any], written: Callable[[dict[str, Any]], Path], ventral: Ventral, tmp_path: Path
) -> None:
    config["saes"] = []
    config["comparisons"][0] |= {
        "sites": ["stem", "blocks.4.hook_resid_post"],
        "metrics": ["pls"],
        "regions": ["IT"],
        "wrong": "leave out",
        "theirs": "none",
    }
    code, _, wrong = ventral("run", written(config), "--out", tmp_path / "out")
    assert code == 0, wrong
    made = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["site"] for row in made["benchmarks"]] == ["blocks.4.hook_resid_post"]
    assert made["benchmarks"][0]["r"] is None
    assert made["benchmarks"][0]["fast_r"] is not None
    assert any("rank 16" in why for why in made["dropped"])


def test_an_assembly_becomes_recordings_and_these_a_benchmark() -> None:
    """Out of Brain-Score and back: the benchmark of the assembly's recordings has its responses, splits and ceiling."""
    recordings, stimuli, _ = made()
    first = benchmark_of(recordings, "V4", stimuli=stimuli, stratify="kind")
    known = known_of(first)
    assert isinstance(known, Known)
    around = [cell.cell_contents for cell in first._ceiling_func.__closure__]
    repeated = next(value for value in around if hasattr(value, "dims"))
    again = from_assembly(repeated, "mine")
    second = known_of(benchmark_of(again, "V4", stimuli=stimuli, stratify="kind"))
    assert isinstance(second, Known)
    np.testing.assert_allclose(second.responses, known.responses, rtol=0, atol=1e-15)
    assert all((a[0] == b[0]).all() for a, b in zip(second.splits, known.splits, strict=True))
    assert ours.fast_ceiling(second) == pytest.approx(ours.fast_ceiling(known), abs=1e-15)


@pytest.mark.data
@pytest.mark.parametrize("metric", ["pls", "ridge", "rdm"])
def test_v4_by_both_sides(metric: str, data_folder: Path) -> None:
    """Session 210325: 45-odd units, up to ten repetitions, features of a fixed random network of its images."""
    from bridge.data import dataset

    data = dataset("cowley2023_v4")
    stimuli = data.stimuli(sessions=["210325"])
    (one,) = data.recordings(sessions=["210325"])
    assert isinstance(one, Recordings)
    benchmark = benchmark_of(one, "V4", metric, stimuli=stimuli, degrees=11.2)
    rng = np.random.default_rng(0)
    small = np.stack([stimuli.image(row)[::8, ::8].mean(axis=2) for row in range(len(stimuli))])
    features = np.maximum(small.reshape(len(small), -1) / 128 @ rng.standard_normal((196, 400)) / 5, 0)
    features = features.astype(np.float32)
    row = {name: at for at, name in enumerate(stimuli.ids)}

    def read(_: str, keys: Any) -> np.ndarray:
        return features[[row[key.partition("/")[2]] for key in keys]]

    known = known_of(benchmark)
    assert isinstance(known, Known)
    fast = ours.fast_score(known, read("", known.keys), ours.fast_ceiling(known))
    slow = theirs.layer_score(benchmark, SiteActivations("random-0", read), "blocks.0.hook_resid_post")
    assert fast.r == pytest.approx(slow.r, abs=1e-4)
    assert fast.ceiling == pytest.approx(slow.ceiling, abs=1e-9)
    assert slow.ceiling > 0.3
