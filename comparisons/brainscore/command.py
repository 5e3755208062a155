"""`ventral brain-score`: run its benchmarks, export a submission, check and pack it. Heavy imports stand inside."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Brain-Score: run its benchmarks; export a submission, check it, pack it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def group() -> None:
    """Brain-Score: run its benchmarks; export a submission, check it, pack it."""
