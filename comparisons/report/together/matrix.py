"""Models by data sets: what several runs found, in one table. Pure selection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from comparisons.report import panels as select
from comparisons.report import summary
from comparisons.report.best import best_sites
from comparisons.results import Result, RunResults


@dataclass(frozen=True)
class Row:
    """A network of a run, and its best site in every column (None where there is none)."""

    run: str
    model: str
    role: str
    cells: tuple[Result | None, ...]


@dataclass(frozen=True)
class Column:
    """A data set's region, with the ceiling that the runs give it (the widest)."""

    recordings: str
    region: str
    simulated: bool
    ceiling: tuple[float, float] | None


@dataclass(frozen=True)
class Matrix:
    """All networks by all regions, by one measure of one comparison."""

    comparison: str
    measure: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Answers:
    """The verdicts of all runs: (run, subject, simulated, answer to each prediction or '')."""

    predictions: tuple[str, ...]
    rows: tuple[tuple[str, str, bool, tuple[str, ...]], ...]


def matrices(runs: Mapping[str, RunResults]) -> list[Matrix]:
    """One matrix a comparison and measure, in the order of the runs; `runs` by the name under which each is shown."""
    cells: dict[tuple[str, str], dict[tuple[str, str, str], dict[tuple[str, str], Result]]] = {}
    columns: dict[tuple[str, str], dict[tuple[str, str], Column]] = {}
    for name, run in runs.items():
        for about, shown in select.panels(summary.compared(run.results)).items():
            for one in best_sites(shown):
                place = (one.result.recordings, one.result.region)
                row = (name, one.result.model, one.result.role)
                cells.setdefault(about, {}).setdefault(row, {})[place] = one.result
                known = columns.setdefault(about, {}).get(place)
                ceiling = _widest(known.ceiling if known else None, one.ceiling)
                columns[about][place] = Column(*place, one.simulated, ceiling)
    found = []
    for (comparison, measure), rows in cells.items():
        places = columns[comparison, measure]
        made = tuple(Row(*row, tuple(own.get(place) for place in places)) for row, own in rows.items())
        found.append(Matrix(comparison, measure, tuple(places.values()), made))
    return found


def answers(runs: Mapping[str, RunResults]) -> Answers:
    """The verdicts of all runs, by prediction."""
    predictions = tuple(sorted({verdict.prediction for run in runs.values() for verdict in run.verdicts}))
    rows = []
    for name, run in runs.items():
        own, subjects = summary.verdict_grid(run)
        for subject, simulated, told in subjects:
            by = dict(zip(own, told, strict=True))
            rows.append((name, subject, simulated, tuple(by.get(one, "") for one in predictions)))
    return Answers(predictions, tuple(rows))


def _widest(one: tuple[float, float] | None, other: tuple[float, float] | None) -> tuple[float, float] | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])
