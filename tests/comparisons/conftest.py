"""A run small enough for every test: drawn images, an untrained network, a data set that the test makes itself."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import bridge.data
from bridge.data import Dataset
from bridge.recordings.recordings import RegionRDMs
from bridge.stimuli.battery import Battery

STIMULI = {"kind": "battery", "name": "few", "families": ["gratings"], "limit": {"gratings": 12}, "size": 32}


@pytest.fixture
def made_dataset(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A data set `made` with RDMs of three subjects in V1 and one in IT over the tiny run's stimuli."""
    ids = Battery.model_validate(STIMULI).load().ids

    def read(data: Dataset) -> list[RegionRDMs]:
        rng = np.random.default_rng(0)
        pairs = len(ids) * (len(ids) - 1) // 2
        common = rng.random(pairs)
        return [
            RegionRDMs("made", "V1", common + 0.3 * rng.random((3, pairs)), ids, ("a", "b", "c")),
            RegionRDMs("made", "IT", rng.random((1, pairs)), ids, ("pooled",)),
        ]

    data = Dataset("made", "Made by the test", (), "MIT", "nobody", "RDMs of random numbers", read_recordings=read)
    known = {**bridge.data.all_datasets(), "made": data}
    bridge.data.all_datasets.cache_clear()
    for module in ("bridge.data", "bridge.recordings.dataset"):
        monkeypatch.setattr(sys.modules[module], "all_datasets", lambda: known)
    return data


@pytest.fixture
def tiny(made_dataset: Dataset) -> dict[str, Any]:
    """The content of a config that runs in about a second."""
    return {
        "name": "tiny",
        "title": "A tiny run",
        "question": "Does it run?",
        "stimuli": copy.deepcopy(STIMULI),
        "models": [{"kind": "cifar-resnet", "name": "net", "untrained": True}],
        "recordings": [{"kind": "dataset", "name": "made"}],
        "capture": {"workers": 0},
        "comparisons": [
            {"kind": "rsa", "sites": ["stem", "blocks.8.*"], "draws": 20, "references": [{"kind": "pixels"}]}
        ],
    }


@pytest.fixture
def written(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write a config to a file; its path."""

    def write(content: dict[str, Any]) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def ventral(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: exit code, standard output, standard error."""
    from comparisons.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ventral", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
