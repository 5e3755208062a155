"""Memory stays flat over a long run: what a capture or a comparison held is given back."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from bridge.activations import capture
from bridge.models.demo import DemoNetwork
from bridge.readers import Activations
from bridge.stimuli.battery import Battery
from bridge.store import Store
from comparisons.config import parse
from comparisons.plan import make_plan
from comparisons.running import Silent, execute

MIB = 2**20


def grown(act: Callable[[int], None], warm: int, rounds: int) -> float:
    """MiB by which the process is larger after `rounds` calls than after the first `warm` ones."""

    def resident() -> float:
        gc.collect()
        return psutil.Process(os.getpid()).memory_info().rss / MIB

    for number in range(warm):
        act(number)
    before = resident()
    for number in range(warm, warm + rounds):
        act(number)
    return resident() - before


@pytest.mark.slow
def test_many_captures(tmp_path: Path) -> None:
    """Every capture writes and reads back 13 MB; a tenth of one kept a round would show as 150 MB."""
    stimuli = Battery(name="few", families=["gratings"], limit={"gratings": 40}, size=32).load()
    backbone = DemoNetwork(name="net", network="residual", untrained=True).load()

    def act(number: int) -> None:
        folder = tmp_path / str(number)
        capture(backbone, stimuli, "blocks.*.hook_resid_post", folder, workers=1, shard_bytes=2**20)
        found = Activations(folder)
        for site in found.sites:
            found.read(site)
        for path in folder.iterdir():
            path.unlink()

    assert grown(act, 15, 120) < 40


@pytest.mark.slow
def test_many_runs_of_every_stage(tmp_path: Path) -> None:
    """Captures, RDMs, RSA and encoding in one process, each time of other images: nothing is found in the store."""

    def act(number: int) -> None:
        content: dict[str, Any] = {
            "name": "long",
            "seed": number,
            "stimuli": {"kind": "battery", "name": "few", "families": ["gratings"], "limit": {"gratings": 24},
                        "size": 32, "seed": number},
            "models": [{"kind": "demo", "name": "net", "network": "residual", "untrained": True, "seed": number}],
            "recordings": [{"kind": "simulated", "subjects": 2, "simple_dimensions": 2, "complex_dimensions": 2}],
            "capture": {"workers": 1, "device": "cpu"},
            "comparisons": [
                {"kind": "rsa", "sites": ["blocks.*.hook_resid_post"], "draws": 20, "measures": ["corr"]},
                {"kind": "encoding", "sites": ["blocks.[19].hook_resid_post"]},
            ],
        }  # fmt: skip
        config, store = parse(content), Store(tmp_path / str(number))
        execute(make_plan(config, store), store, Silent())

    assert grown(act, 4, 12) < 40
