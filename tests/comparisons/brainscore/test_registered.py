"""Registered benchmarks by name, through Brain-Score's own registry, loaders and classes, on a stand-in of the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from brainscore_stand_in import Storage, public_data

import bridge.brainscore

Ventral = Callable[..., tuple[int, str, str]]
NAMES = ["FreemanZiemba2013public.V1-pls", "FreemanZiemba2013public.V2-pls", "MajajHong2015public.IT-pls"]
REVERSE = "MajajHong2015public.V4-reverse_pls"


@pytest.fixture
def config() -> dict[str, Any]:
    """One site of an untrained network; the config's own stimuli are others than the benchmarks'."""
    return {
        "name": "small",
        "stimuli": {"kind": "battery", "name": "few", "families": ["gratings"], "limit": {"gratings": 30}, "size": 32},
        "models": [{"kind": "cifar-resnet", "name": "net", "untrained": True}],
        "capture": {"workers": 0},
        "comparisons": [{"kind": "brain-score", "sites": ["blocks.8.hook_resid_post"]}],
    }


def asked(*names: str) -> list[str]:
    return [argument for name in names for argument in ("--benchmark", name)]


def test_public_benchmarks_by_both_sides(
    config: dict[str, Any],
    written: Callable[[dict[str, Any]], Path],
    ventral: Ventral,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    public_data(tmp_path / "data", monkeypatch)
    told = ("--out", tmp_path / "out", "--json")
    code, said, wrong = ventral("brain-score", "score", written(config), *asked(*NAMES), *told)
    assert code == 0, wrong
    found = json.loads(said)["benchmarks"]
    assert [(row["benchmark"], row["site"]) for row in found] == [(name, "blocks.8.hook_resid_post") for name in NAMES]
    for row in found:
        assert abs(row["difference"]) < 1e-4
        assert row["largest_difference"] < 1e-3
        assert row["fast_ceiling"] == pytest.approx(row["ceiling"], abs=1e-6)  # theirs averages in float32
        assert row["score"] == pytest.approx(row["r"] ** 2 / row["ceiling"], abs=1e-12)
        assert row["r2_over_c"] == pytest.approx(row["score"], abs=1e-12)
        assert row["r_over_c_squared"] == pytest.approx((row["r"] / row["ceiling"]) ** 2, abs=1e-12)
        assert row["n_stimuli"] == 40
    assert {row["region"]: row["n_neuroids"] for row in found} == {"V1": 7, "V2": 6, "IT": 8}
    assert "Freeman" in found[0]["citation"]
    assert max(row["r"] for row in found) > 0.2  # the recordings see the images' pixels
    code, said, wrong = ventral("brain-score", "score", written(config), *asked(*NAMES), *told[:2])  # again, as text
    assert code == 0, wrong
    assert "Largest difference between both sides over 3 scores" in said
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Brain-Score, by both sides" in report
    assert "FreemanZiemba2013public.V2-pls" in report
    # The images of one family are captured once, and a second run computes nothing.
    code, said, _ = ventral("brain-score", "score", written(config), *asked(*NAMES), "--dry-run")
    assert code == 0
    assert said.count("capture net of FreemanZiemba2013public") == 1
    assert "MajajHong2015public.IT-pls: 40 stimuli, 8 neuroids" in said
    assert "GiB predicted for its largest site" in said
    assert "to do" not in said


def test_a_screen_of_another_width_and_the_best_site_alone(
    config: dict[str, Any],
    written: Callable[[dict[str, Any]], Path],
    ventral: Ventral,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """4 degrees on a screen of 8: the image on grey, so features are others. Reverse maps have their own ceiling."""
    public_data(tmp_path / "data", monkeypatch)
    config["comparisons"][0] |= {"pool": "mean", "sites": ["blocks.8.hook_resid_post"], "scores": ["r", "r^2/c"]}
    scores = []
    for degrees in ("null", "8"):
        told = ("--out", tmp_path / f"out {degrees}", "--json")
        change = ("--set", f"comparisons.0.degrees={degrees}", "--theirs", "best")
        code, said, wrong = ventral("brain-score", "score", written(config), *asked(NAMES[0], REVERSE), *change, *told)
        assert code == 0, wrong
        scores.append({row["benchmark"]: row for row in json.loads(said)["benchmarks"]})
    narrow, wide = scores
    assert narrow[NAMES[0]]["r"] != pytest.approx(wide[NAMES[0]]["r"], abs=1e-3)
    assert narrow[REVERSE]["r"] == pytest.approx(wide[REVERSE]["r"], abs=1e-6)  # 8 degrees already
    for one in scores:
        for row in one.values():
            assert abs(row["difference"]) < 1e-4
    # Only its own classes know the ceiling of the reverse map.
    assert narrow[REVERSE]["fast_ceiling"] is None
    assert narrow[REVERSE]["ceiling"] is not None


def test_features_are_chosen_on_other_images_where_they_would_take_too_much(
    config: dict[str, Any],
    written: Callable[[dict[str, Any]], Path],
    ventral: Ventral,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    public_data(tmp_path / "data", monkeypatch)
    config["comparisons"][0] |= {"over": "select", "memory": 0.1265, "theirs": "none", "sites": ["stem"]}
    told = ("--out", tmp_path / "out", "--json")
    code, said, wrong = ventral("brain-score", "score", written(config), *asked(NAMES[2]), *told)
    assert code == 0, wrong
    (row,) = json.loads(said)["benchmarks"]
    assert 1000 < row["features"] < 16384
    assert any("greatest variance over other images" in note for note in row["notes"])
    assert "notice: net: the" in wrong  # said before anything was captured
    assert row["predicted_gib"] <= 0.1265
    config["comparisons"][0] |= {"over": "stop"}
    code, _, wrong = ventral("brain-score", "score", written(config), *asked(NAMES[2]), *told)
    assert code == 3
    assert "would take 0.1 GiB, more than the limit" in wrong
    # Nothing was captured for it: the look at the benchmark came first.
    code, said, _ = ventral("brain-score", "score", written(config), *asked(NAMES[2]), "--dry-run")
    assert "to do   brain-score benchmarks" in said


def test_from_its_storage_and_what_is_wrong_with_it(
    config: dict[str, Any],
    written: Callable[[dict[str, Any]], Path],
    ventral: Ventral,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its own client fetches from a loopback server; without one, and with other bytes, it is one sentence."""
    from brainscore_core.supported_data_standards.brainio import fetch

    public_data(tmp_path / "data", monkeypatch)
    config["comparisons"][0] |= {"pool": "mean", "sites": ["blocks.8.hook_resid_post"], "theirs": "none"}
    path = written(config)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def empty(name: str) -> None:
        monkeypatch.setenv("BRAINIO_HOME", str(tmp_path / name))
        monkeypatch.setattr(fetch, "_local_data_path", None)

    with Storage(tmp_path / "data" / "brainio") as storage:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", storage.address)
        empty("fetched")
        code, said, wrong = ventral("brain-score", "score", path, *asked(NAMES[2]), "--out", tmp_path / "out")
        assert code == 0, wrong
        assert "MajajHong2015public.IT-pls" in said
        assert "Largest difference" not in said, "one side alone was asked for"
        assert {name.rpartition(".")[2] for name in storage.asked} == {"csv", "zip", "nc"}
        name = next(name for name in storage.files if name.endswith("Hong2015_public.nc"))
        storage.files[name] = storage.files[name][:-1] + b"?"
        empty("again")
        code, _, wrong = ventral("brain-score", "score", path, *asked("MajajHong2015public.V4-pls"))
        assert code == 3
        assert "is not what its hash says (SHA1 mismatch" in wrong
    empty("nothing")
    monkeypatch.setattr(bridge.brainscore, "STORAGE", "http://127.0.0.1:9")
    code, _, wrong = ventral("brain-score", "score", path, *asked(NAMES[0]))
    assert code == 4
    assert wrong.strip().splitlines()[-1].startswith("error: Brain-Score's benchmark 'FreemanZiemba2013public.V1-pls'")
    code, said, wrong = ventral("brain-score", "score", path, *asked(NAMES[0]), "--dry-run")
    assert code == 4
    assert "to do" in said
    assert "would have to be fetched" in wrong


def test_names_that_cannot_be_scored_are_one_sentence(
    config: dict[str, Any], written: Callable[[dict[str, Any]], Path], ventral: Ventral
) -> None:
    path = written(config)
    code, _, wrong = ventral("brain-score", "score", path, *asked("MajajHong2015public.IT-plss"))
    assert code == 2
    assert "did you mean 'MajajHong2015public.IT-pls'?" in wrong
    code, _, wrong = ventral("brain-score", "score", path, *asked(NAMES[0]), "--theirs", "some")
    assert code == 2
    assert "theirs" in wrong
    code, _, wrong = ventral("brain-score", "score", path)
    assert code == 2
    assert "needs recordings" in wrong
    code, said, _ = ventral("brain-score", "list")
    assert code == 0
    assert "MajajHong2015public.IT-pls" in said
    assert "Geirhos2021colour-top1" not in said
