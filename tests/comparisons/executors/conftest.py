"""A run that other processes can compute: nothing of it is made by the test alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_files import files

from bridge.store import Store
from comparisons.config import Config, parse
from comparisons.plan import make_plan, plan_capture
from comparisons.running import Silent, execute

RESNET = {"kind": "cifar-resnet", "name": "net", "untrained": True}
STREAM = "blocks.*.hook_resid_post"


@pytest.fixture
def content() -> dict[str, Any]:
    """A config of several kinds of stages whose images are drawn and whose recordings are simulated."""
    return {
        "name": "spread",
        "stimuli": {"kind": "battery", "name": "few", "families": ["gratings"], "limit": {"gratings": 12}, "size": 32},
        "models": [RESNET, {**RESNET, "name": "other", "seed": 1}],
        "saes": [
            {
                "kind": "train",
                "name": "topk",
                "models": ["net"],
                "sites": ["blocks.8.hook_resid_post"],
                "tokens": 16,
                "training": {"batch": 64, "epochs": 3, "architecture": {"kind": "topk", "expansion": 2, "k": 8}},
            }
        ],
        "recordings": [{"kind": "simulated", "subjects": 2, "simple_dimensions": 2, "complex_dimensions": 2}],
        "capture": {"workers": 0, "device": "cpu"},
        "comparisons": [{"kind": "rsa", "sites": ["stem", "blocks.8.hook_resid_post"], "draws": 20}],
    }


@pytest.fixture
def captures(content: dict[str, Any]) -> dict[str, Any]:
    """The same without what takes long: two captures, one of them in many steps."""
    few = {**content["stimuli"], "limit": {"gratings": 80}}
    return {**content, "stimuli": few, "models": [{**RESNET, "depth": 56}, content["models"][1]], "saes": [],
            "capture": {**content["capture"], "batch_size": 1}}  # fmt: skip


@pytest.fixture
def executed(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Execute a config (its captures alone with `only_captures`) in a store of its own; the files of the store."""

    def execute_(name: str, content: dict[str, Any], reporter: Any = None, only_captures: bool = False) -> Any:
        config: Config = parse(content)
        store = Store(tmp_path / name)
        plan = plan_capture(config, store, [STREAM]) if only_captures else make_plan(config, store)
        if reporter is not None:
            reporter.store = store
        execute(plan, store, reporter or Silent(), config.executor)
        return files(store.root)

    return execute_


class Killing(Silent):
    """Kills, once, the process that computes a stage, as soon as it is seen at work."""

    store: Store

    def __init__(self, kind: str):
        self.kind, self.killed, self.notes = kind, 0, []

    def started(self, stage: Any) -> None:
        record = self.store.maker(stage.kind, stage.inputs)
        if stage.kind == self.kind and not self.killed and record is not None:
            self.killed = record["pid"]
            assert self.killed != os.getpid()
            os.kill(self.killed, signal.SIGKILL)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def killing() -> type[Killing]:
    return Killing
