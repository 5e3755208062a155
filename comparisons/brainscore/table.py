"""Scores as a table: for the terminal and for the report."""

from __future__ import annotations

from collections.abc import Sequence

from comparisons.results import BenchmarkScore

HEAD = (
    "benchmark", "model", "site", "features",
    "r", "fast r", "difference", "c", "r²/c", "(r/c)²", "its own", "s", "fast s",
)  # fmt: skip
NUMERIC = 3
"""The column from which on there are numbers."""


def head_of(rows: Sequence[BenchmarkScore]) -> tuple[str, ...]:
    """The columns that have something to say of some scores: `its own` is r²/c of most benchmarks."""
    return tuple(name for name in HEAD if name != "its own" or any(row.form != "r^2/c" for row in rows))


def cells_of(row: BenchmarkScore, head: Sequence[str] = HEAD) -> tuple[str, ...]:
    """One row as text; a dash where a side was not run, or a number does not exist."""
    c = row.ceiling if row.ceiling is not None else row.fast_ceiling
    # An own benchmark's identifier holds a hash that says nothing to a reader.
    name = f"{row.recordings} {row.region} {row.metric}" if row.own else row.benchmark
    cells = {
        "benchmark": f"{name}{' SIMULATED' if row.simulated else ''}",
        "model": row.model,
        "site": row.site,
        "features": str(row.features),
        "r": _number(row.r),
        "fast r": _number(row.fast_r),
        "difference": "-" if row.difference is None else f"{row.difference:.0e}",
        "c": _number(c),
        "r²/c": _number(row.r2_over_c),
        "(r/c)²": _number(row.r_over_c_squared),
        "its own": _number(row.score),
        "s": _number(row.seconds, 2),
        "fast s": _number(row.fast_seconds, 2),
    }
    return tuple(cells[name] for name in head)


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def as_text(rows: Sequence[BenchmarkScore]) -> str:
    """A table in columns, and below it what it comes to."""
    head = head_of(rows)
    lines = [head, *(cells_of(row, head) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = []
    for line in lines:
        cells = [
            text.ljust(width) if column < NUMERIC else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        shown.append("  ".join(cells).rstrip())
    return "\n".join([*shown, "", *said(rows)])


def said(rows: Sequence[BenchmarkScore]) -> list[str]:
    """What the columns are, and how far both sides differ."""
    if not rows:
        return ["No site was scored."]
    told = [
        "r: Brain-Score's raw score by its own classes; fast r: the same by this project's encoding; c: its ceiling.",
        "r²/c: Brain-Score's normalisation since December 2025; (r/c)²: the one before; s: seconds.",
    ]
    if "its own" in head_of(rows):
        forms = sorted({row.form for row in rows if row.form != "r^2/c"})
        told.append(f"its own: the benchmark's own score ({', '.join(forms)} where it is not r²/c).")
    told.append(f"Memory predicted before scoring: at most {max(row.predicted_gib for row in rows):.2f} GiB a site.")
    gaps = [abs(row.difference) for row in rows if row.difference is not None]
    if gaps:
        told.append(f"Largest difference between both sides over {len(gaps)} scores: {max(gaps):.1e}.")
    alone = sorted({row.benchmark for row in rows if row.fast_r is None})
    if alone:
        told.append(f"By Brain-Score's classes alone: {', '.join(alone)}.")
    return told
