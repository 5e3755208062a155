"""`ventral init`: what it writes is a study that runs once images and recordings are there."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bridge.errors import InputError
from bridge.store import Store
from comparisons import config as configs
from comparisons.running import run
from comparisons.starting.missing import findings
from comparisons.starting.writing import start


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    start(folder)
    return folder


def filled(study: Path) -> None:
    """Twelve images and two regions of three neuroids, shown twice."""
    rng = np.random.default_rng(0)
    rows = ["stimulus_id,neuroid_id,region,value"]
    for number in range(12):
        pixels = rng.integers(0, 255, (70, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(study / "images" / f"image-{number}.png")
        for neuroid, _ in itertools.product(range(6), range(2)):
            region = ("V1", "IT")[neuroid // 3]
            rows.append(f"image-{number},n{neuroid},{region},{rng.poisson(5)}")
    (study / "recordings" / "responses.csv").write_text("\n".join(rows) + "\n")


def told(study: Path) -> dict[str, tuple[bool, str]]:
    return {one.part: (one.there, one.told) for one in findings(study)}


def test_a_new_study_says_what_is_missing(study: Path) -> None:
    found = told(study)
    assert found["study.yaml"][0]
    assert found["model mine"] == (True, "4 residual blocks, untrained")
    assert found["model untrained"][0]
    for part in ("stimuli", "recordings my recordings"):
        there, why = found[part]
        assert not there
        assert why.endswith(".") or ";" in why


def test_it_runs_once_all_is_there(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(study)
    found = told(study)
    assert all(there for there, _ in found.values()), found
    assert found["recordings my recordings"][1].startswith("V1, IT: 12 stimuli, up to 2 repetitions")
    monkeypatch.chdir(study)
    config = configs.load("study.yaml", ["comparisons.0.draws=20", "comparisons.0.permutations=100"])
    results = run(config, study / "runs" / "study", store=Store(study / "store")).results
    assert {one.region for one in results} == {"V1", "IT"}
    assert {one.model for one in results} >= {"mine", "untrained"}


def test_wrong_ids_and_a_broken_network_are_told_in_a_sentence(study: Path) -> None:
    filled(study)
    (study / "images" / "image-3.png").rename(study / "images" / "other.png")
    (study / "my_network.py").write_text("network = 3\n")
    text = (study / "study.yaml").read_text().replace("my_network.network", "my_network.missing")
    (study / "study.yaml").write_text(text)
    found = told(study)
    assert not found["model mine"][0]
    assert "1 of 12 recorded stimuli" in found["recordings my recordings"][1]


def test_nothing_is_written_over(study: Path) -> None:
    (study / "study.yaml").write_text("mine")
    with pytest.raises(InputError, match="not written over another"):
        start(study)
    assert (study / "study.yaml").read_text() == "mine"
    assert [one.there for one in findings(study / "nowhere")] == [False]
