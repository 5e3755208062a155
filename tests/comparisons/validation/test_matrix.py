"""The shipped confusion matrix itself: one data set a cell as a smoke test, 40 a cell as what is asked of the rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.store import Store
from comparisons import config as configs
from comparisons.kinds.validation import ValidationComparison
from comparisons.results import ConfusionRow
from comparisons.running import run
from comparisons.validation.tally import OPPOSITE


def matrix(folder: Path, datasets: int, seed: int) -> tuple[ConfusionRow, ...]:
    """The rows of `configs/truth.yaml` with so many data sets a cell."""
    config = configs.load("truth", [f"comparisons.0.per_cell={datasets}", f"seed={seed}", "comparisons.0.workers=2"])
    return run(config, folder / "out", store=Store(folder / "store")).confusion


def false(row: ConfusionRow) -> int:
    """How often the row's answer was the opposite of the truth, or what may not be said there."""
    wrong = OPPOSITE.get(row.expected, row.expected.removeprefix("not "))
    return {"SUPPORTED": row.supported, "REFUTED": row.refuted}.get(wrong, 0) if row.expected != "either" else 0


def test_every_cell_is_judged_and_hardly_one_wrongly(tmp_path: Path) -> None:
    rows = matrix(tmp_path, 1, 7)
    (comparison,) = configs.load("truth").comparisons
    assert isinstance(comparison, ValidationComparison)
    assert {(row.cell, row.statistic) for row in rows} == {
        (cell.name, statistic) for cell in comparison.cells for statistic in cell.expect
    }
    assert not any(row.not_testable for row in rows)
    assert sum(map(false, rows)) <= 2, [row for row in rows if false(row)]
    told = [row for row in rows if row.expected in OPPOSITE]
    assert sum(row.supported if row.expected == "SUPPORTED" else row.refuted for row in told) >= 0.8 * len(told)


@pytest.mark.slow
def test_no_row_contradicts_what_a_valid_rule_needs(tmp_path: Path) -> None:
    rows = matrix(tmp_path, 40, 7)
    assert all(row.met is not False for row in rows), [row for row in rows if row.met is False]
