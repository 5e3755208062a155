"""The confusion matrix as text: for the terminal, and as Markdown for a document."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.recordings.simulated.spec import GENERATOR
from comparisons.report.wording import markdown_table
from comparisons.results import ConfusionRow
from comparisons.validation.spec import PREDICTIONS

HEAD = ("truth (SIMULATED)", "statistic", "expected", "n", "SUPPORTED", "REFUTED", "INCONCL.", "false", "power", "")


def cells_of(row: ConfusionRow) -> tuple[str, ...]:
    """One row as text: rates with Wilson's 95% bounds."""
    prediction = PREDICTIONS.get(row.statistic, "")  # type: ignore[call-overload]
    return (
        row.cell,
        f"{prediction} {row.statistic}".strip(),
        row.expected,
        str(row.datasets),
        str(row.supported),
        str(row.refuted),
        str(row.inconclusive + row.not_testable),
        _interval(row.false_rate),
        _interval(row.power),
        {None: "", True: "met", False: "NOT MET"}[row.met],
    )


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.2f}-{interval[1]:.2f}"


def as_text(rows: Sequence[ConfusionRow]) -> str:
    """A table in columns, and a line that says what it comes to."""
    lines = [HEAD, *(cells_of(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    shown = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*shown, "", f"{_told(rows)}."])


def _told(rows: Sequence[ConfusionRow]) -> str:
    """What the table comes to, in words."""
    asked = [row for row in rows if row.met is not None]
    return f"{sum(bool(row.met) for row in asked)} of {len(asked)} rows are as a valid rule needs them"


def document(rows: Sequence[ConfusionRow], *, seed: int, version: str, command: str) -> str:
    """The table with what it was made by, as a Markdown page to be kept."""
    failed = [f"{row.cell} ({row.statistic})" for row in rows if row.met is False]
    return f"""# The confusion matrix of the verdicts

SIMULATED data sets whose truth is known, judged by the rules. Seed {seed}, generator {GENERATOR}, ventral-bridge \
{version}, made by `{command}`.
`false` and `power` are 95% Wilson intervals of the rate of false answers and of right ones; {_told(rows)}.
{f"Those that are not: {'; '.join(failed)}." if failed else ""}
P3 late loss, asked of recordings, is consistent at most: SUPPORTED stands for that here.

{as_markdown(rows)}
"""


def as_markdown(rows: Sequence[ConfusionRow]) -> str:
    """The same as a Markdown table."""
    return markdown_table(HEAD, [cells_of(row) for row in rows])
