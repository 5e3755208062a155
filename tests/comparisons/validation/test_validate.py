"""`ventral validate` from a config to the exit code, on a matrix small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.errors import ConfigError, InputError
from bridge.store import Store
from comparisons import config as configs
from comparisons.kinds.validation import ValidationComparison
from comparisons.running import run
from comparisons.validate_command import chosen

SMALL = {"reps": 6, "neuroids": {"V1": 30, "IT": 30}, "lambdas": [0.5, 0.4], "simple_dimensions": 8}


def matrix(expect: dict[str, str], **cell: Any) -> dict[str, Any]:
    limit = {"gratings": 720, "textures": 60, "scenes": 80}
    return {
        "name": "small",
        "stimuli": {
            "kind": "battery",
            "name": "drawn",
            "families": list(limit),
            "limit": limit,
            "size": 32,
            "phases": 2,
        },
        "comparisons": [
            {
                "kind": "validation",
                "per_cell": 2,
                "workers": 1,
                "cells": [{"name": "residual", "brain": SMALL, "natural": 120, "expect": expect, **cell}],
            }
        ],
    }


def test_answers_do_not_depend_on_workers_and_a_killed_run_goes_on(tmp_path: Path) -> None:
    spec = matrix({"D": "not REFUTED", "phi": "not REFUTED", "transport": "either"})
    found = []
    for workers in (1, 2):
        spec["comparisons"][0]["workers"] = workers
        store = Store(tmp_path / f"store{workers}")
        found.append(run(configs.parse(spec), tmp_path / f"out{workers}", store=store).confusion)
    assert found[0] == found[1]
    assert [row.statistic for row in found[0]] == ["phi", "D", "transport"] or len(found[0]) == 3
    assert all(row.datasets == 2 for row in found[0])
    html = (tmp_path / "out1" / "report.html").read_text()
    assert "Where the truth is known" in html
    assert "SIMULATED" in html


def test_more_data_sets_begin_with_the_fewer(tmp_path: Path) -> None:
    from comparisons.validation.brains import load_shown, save_shown
    from comparisons.validation.matrix import groups, judge_all

    parsed = configs.parse(matrix({"transport": "either"}))
    (comparison,) = parsed.comparisons
    assert isinstance(comparison, ValidationComparison)
    (group,) = groups(comparison.cells)
    save_shown(parsed.stimuli.load(), tmp_path)
    assert len(load_shown(tmp_path).table) == len(load_shown(tmp_path).amplitudes)
    kept = tmp_path / "kept"
    kept.mkdir()
    two = judge_all(group, tmp_path, 0, 2, pool=None, kept=kept, progress=lambda share: None)
    file = next(kept.iterdir())
    file.write_text(json.dumps([{"residual": {"transport": "KEPT"}}] * 2))
    again = judge_all(group, tmp_path, 0, 2, pool=None, kept=kept, progress=lambda share: None)
    assert again != two, "what was judged before is not judged again"
    file.unlink()
    three = judge_all(group, tmp_path, 0, 3, pool=None, kept=kept, progress=lambda share: None)
    assert three[:2] == two


def test_a_pool_with_too_few_stimuli_is_refused_in_a_sentence(tmp_path: Path) -> None:
    from bridge.errors import InputError

    with pytest.raises(InputError, match="takes 500 natural stimuli, and the config's stimuli hold 140"):
        run(configs.parse(matrix({"D": "either"}, natural=500)), tmp_path / "out", store=Store(tmp_path / "store"))


def test_options_choose_cells_and_refuse_what_is_not_there() -> None:
    parsed = configs.load("truth")
    few = chosen(parsed, 3, ["hierarchy"], 1)
    (comparison,) = few.comparisons
    assert isinstance(comparison, ValidationComparison)
    assert (comparison.per_cell, comparison.workers) == (3, 1)
    assert all("hierarchy" in cell.name for cell in comparison.cells)
    with pytest.raises(ConfigError, match="--cell was given 'hirarchy'"):
        chosen(parsed, None, ["hirarchy"], None)
    with pytest.raises(ConfigError, match="has no `kind: validation`"):
        chosen(configs.load("demo"), None, None, None)


def test_truth_asks_of_every_prediction_what_it_is_and_what_it_is_not() -> None:
    content = yaml.safe_load(configs.find("truth").read_text())
    cells = content["comparisons"][0]["cells"]
    asked = {(statistic, expected) for cell in cells for statistic, expected in cell["expect"].items()}
    for statistic in ("phi", "D", "transport"):
        assert {(statistic, "SUPPORTED"), (statistic, "REFUTED")} <= asked
    assert {("editing", "SUPPORTED"), ("editing", "not SUPPORTED"), ("direct path", "SUPPORTED")} <= asked


@pytest.mark.parametrize("killed", ["the run", "a worker"])
def test_no_process_outlives_a_killed_run(killed: str, tmp_path: Path) -> None:
    import subprocess
    import sys
    import time

    import psutil

    spec = matrix({"phi": "not REFUTED"})
    spec["comparisons"][0] |= {"workers": 2, "per_cell": 400}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(spec))
    code = "import sys; from comparisons.cli import main; sys.argv = ['ventral', 'validate', 'small.yaml']; main()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as started:
        until = time.monotonic() + 120
        below: list[psutil.Process] = []
        while time.monotonic() < until and len(below) < 2 and started.poll() is None:
            time.sleep(0.2)
            below = [one for one in psutil.Process(started.pid).children() if "spawn_main" in " ".join(one.cmdline())]
        assert len(below) == 2, started.communicate()[1]
        (started if killed == "the run" else below[0]).kill()
        _, alive = psutil.wait_procs(below, timeout=60)
        assert not alive, [one.cmdline() for one in alive]
        if killed == "a worker":
            assert started.wait(60) == InputError.exit_code
            said = started.communicate()[1]
            assert "ended without a word" in said
            assert "Traceback" not in said
