"""What a training logs besides the terminal."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ConfigError
from saes.logs import log_to, values_of
from saes.training import Point, Report

REPORT = Report(20, 20, 1e4, {"blocks.0.hook_resid_post/topk": Point(20, 4096, 0.25, 8.0, 0.1, {"aux": 0.5})})


def test_values_are_named_by_dictionary() -> None:
    values = values_of(REPORT)
    assert values["blocks.0.hook_resid_post/topk/fvu"] == 0.25
    assert values["blocks.0.hook_resid_post/topk/aux"] == 0.5
    assert values["tokens_per_second"] == 1e4


def test_weights_and_biases_gets_every_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[Any] = []
    run = types.SimpleNamespace(log=lambda values, step: told.append((step, values)), finish=lambda: told.append("end"))
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=lambda **options: run))
    log_to("wandb", tmp_path)("run", REPORT)
    assert told == [(20, values_of(REPORT)), "end"]


def test_what_is_not_installed_or_unknown_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="not installed"):
        log_to("wandb", tmp_path)
    with pytest.raises(ConfigError, match="no log 'mlflow'"):
        log_to("mlflow", tmp_path)
