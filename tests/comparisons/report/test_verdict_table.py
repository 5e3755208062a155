"""The table of verdicts as a picture: every answer is in its row and column, and what was not asked is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comparisons.report.figures import save_figures
from comparisons.report.verdict_table import MARKS, draw_verdicts
from comparisons.results import Verdict


def verdict(prediction: str, subject: str, answer: str, simulated: bool = False) -> Verdict:
    return Verdict.model_validate(
        {"prediction": prediction, "subject": subject, "answer": answer, "reasons": ("so",), "simulated": simulated}
    )


def test_answers_stand_in_their_rows_and_columns(run_of: Any) -> None:
    given = [
        verdict("P1 persistence", "net", "SUPPORTED"),
        verdict("P2 variability", "net", "REFUTED"),
        verdict("P1 persistence", "brain", "INCONCLUSIVE", simulated=True),
        verdict("P2 variability", "$other$", "NOT TESTABLE"),
    ]
    figure = draw_verdicts(run_of(verdicts=tuple(given)))
    assert figure is not None
    at = {
        (round(text.get_position()[0], 3), round(text.get_position()[1], 3)): text.get_text() for text in figure.texts
    }
    rows = {name: y for (_, y), name in at.items() if name in ("net", "brain", "$other$")}
    columns = {x: name for (x, _), name in at.items() if name.startswith("P")}
    for one in given:
        (place,) = [where for where, text in at.items() if text == one.answer]
        assert place[1] == rows[one.subject]
        assert max(x for x in columns if x <= place[0]) == next(x for x in columns if columns[x] == one.prediction)
        assert any(text == MARKS[one.answer][0] and y == place[1] for (_, y), text in at.items())
    assert [y for (_, y), text in at.items() if text == "SIMULATED"] == [rows["brain"]]
    assert sorted(y for (_, y), text in at.items() if text == "not asked") == sorted([rows["brain"], rows["$other$"]])


@pytest.mark.parametrize("asked", [True, False])
def test_it_is_a_file_of_runs_that_have_verdicts(run_of: Any, tmp_path: Path, asked: bool) -> None:
    run = run_of(blocks=1, verdicts=(verdict("P1 persistence", "net", "SUPPORTED"),) if asked else ())
    names = [path.name for path in save_figures(run, tmp_path)]
    assert ("verdicts.png" in names) == ("verdicts.svg" in names) == asked
    assert draw_verdicts(run_of(blocks=1)) is None
