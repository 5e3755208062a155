"""Responses as an artefact keep all of the recordings, and recordings without images are left out in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bridge.data
from bridge.errors import ConfigError
from bridge.recordings.recordings import Recordings
from bridge.store import Store
from comparisons.config import parse
from comparisons.responses import comparable, load_responses, save_responses
from comparisons.running import run


def test_everything_comes_back(tmp_path: Path) -> None:
    data = np.random.default_rng(0).poisson(2, (3, 2, 2)).astype(np.float32)
    data[2, 1] = np.nan
    neuroids = pd.DataFrame(
        {
            "neuroid_id": ["007", "b"],
            "region": "V1",
            "subject": "m",
            "layer": ["5", None],
            "session": ["210325", "210325"],
            "reliability": [0.5, np.nan],
        }
    )
    one = Recordings(
        "one",
        data,
        ("x", "y"),
        neuroids,
        simultaneous=True,
        simulated=True,
        citation="c",
        dropped=("a", "b"),
        truth={"lambda": {"V1": 0.5}, "energies": np.arange(6.0).reshape(2, 3)},
        images=False,
        trial_ids=np.array([["1", "2"], ["3", "4"], ["5", ""]]),
        time_bins=((70.0, 100.0),),
        binned=data[None],
    )
    plain = Recordings("plain", data, ("x", "y"), neuroids[["neuroid_id", "region", "subject"]])
    save_responses(tmp_path, [one, plain])
    back, second = load_responses(tmp_path)
    for key in ("name", "stimulus_ids", "simultaneous", "simulated", "citation", "dropped", "images", "time_bins"):
        assert getattr(back, key) == getattr(one, key)
    for key in ("data", "trial_ids", "binned"):
        np.testing.assert_array_equal(getattr(back, key), getattr(one, key))
    assert back.truth["lambda"] == {"V1": 0.5}
    np.testing.assert_array_equal(back.truth["energies"], one.truth["energies"])
    assert list(back.neuroids["neuroid_id"]) == ["007", "b"]
    assert list(back.neuroids["layer"]) == ["5", ""]
    assert list(back.neuroids["session"]) == ["210325"] * 2
    np.testing.assert_array_equal(back.neuroids["reliability"], neuroids["reliability"])
    assert not second.simultaneous
    assert second.binned is None
    assert second.truth == {}


@pytest.fixture
def blind(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The tiny run with a further data set whose images are not public."""

    def read(data: bridge.data.Dataset) -> list[Recordings]:
        neuroids = pd.DataFrame({"neuroid_id": ["a"], "region": "V1", "subject": "m"})
        return [Recordings("blind", np.ones((3, 2, 1)), ("p", "q"), neuroids, images=False)]

    known = bridge.data.all_datasets()
    known["blind"] = bridge.data.Dataset(
        "blind", "Without images", (), "MIT", "nobody", "counts", images=False, read_recordings=read
    )
    tiny["recordings"].append({"kind": "dataset", "name": "blind"})
    return tiny


def test_a_comparison_that_needs_images_says_what_it_leaves_out(blind: dict[str, Any], tmp_path: Path) -> None:
    made = run(parse(blind), tmp_path / "out", store=Store(tmp_path / "store"))
    assert {one.recordings for one in made.results} == {"made"}
    assert any(why.startswith("recordings 'blind' come without their images, which rsa") for why in made.dropped)


def test_recordings_without_images_alone_or_by_name_are_refused(blind: dict[str, Any]) -> None:
    config = parse(blind)
    specs, left_out = comparable(config, "variability", images=False)
    assert [spec.name for spec in specs] == ["made", "blind"]
    assert left_out == ()
    with pytest.raises(ConfigError, match=r"'blind' come without their images.*variability alone"):
        comparable(config, "encoding", ["blind"])
    blind["recordings"] = blind["recordings"][1:]
    with pytest.raises(ConfigError, match="'blind' come without their images"):
        comparable(parse(blind), "rsa")
