"""A small data set of neuroids, and a config that predicts them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bridge.data
from bridge.data import Dataset
from bridge.recordings.recordings import Recordings
from bridge.stimuli.battery import Battery

STIMULI = {
    "kind": "battery",
    "name": "few",
    "families": ["gratings", "shapes"],
    "limit": {"gratings": 30, "shapes": 30},
    "size": 32,
}
SITES = ["stem", "blocks.0.hook_resid_post", "blocks.8.hook_resid_post"]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, made_dataset: Dataset) -> Recordings:
    """A data set `recorded`: V4 sees the images' rows of pixels, IT is noise; 4 repetitions, some missing."""
    stimuli = Battery.model_validate(STIMULI).load()
    rng = np.random.default_rng(0)
    images = np.stack([stimuli.image(row).mean(axis=2)[::4, ::4].ravel() for row in range(len(stimuli))])
    images = (images - images.mean(0)) / images.std()
    signal = np.concatenate([images @ rng.standard_normal((images.shape[1], 6)) / 4, np.zeros((len(images), 4))], 1)
    data = 5 + signal + rng.standard_normal((4, *signal.shape))
    data[3, :10] = np.nan
    neuroids = pd.DataFrame(
        {"neuroid_id": [f"n{k}" for k in range(10)], "region": ["V4"] * 6 + ["IT"] * 4, "subject": ["a", "b"] * 5}
    )
    # Its own order, and one stimulus fewer than the run shows: alignment is by id.
    rows = rng.permutation(len(stimuli))[1:]
    one = Recordings("recorded", data[:, rows], tuple(stimuli.ids[row] for row in rows), neuroids)
    entry = Dataset("recorded", "By the test", (), "MIT", "nobody", "numbers", read_recordings=lambda _: [one])
    known = {**sys.modules["bridge.data"].all_datasets(), "recorded": entry}
    for module in ("bridge.data", "bridge.recordings.dataset"):
        monkeypatch.setattr(sys.modules[module], "all_datasets", lambda: known)
    monkeypatch.setattr(bridge.data, "dataset", lambda name: known[name])
    monkeypatch.setattr("bridge.recordings.dataset.dataset", lambda name: known[name])
    return one


@pytest.fixture
def config(recorded: Recordings) -> Callable[..., dict[str, Any]]:
    """The content of a small config; arguments change its comparison."""

    def content(**changes: Any) -> dict[str, Any]:
        return {
            "name": "small",
            "stimuli": STIMULI,
            "models": [{"kind": "cifar-resnet", "name": "net", "untrained": True}],
            "recordings": [{"kind": "dataset", "name": "recorded"}],
            "capture": {"workers": 0},
            "comparisons": [{"kind": "encoding", "sites": SITES, "draws": 20, **changes}],
        }

    return content
