"""`ventral report`: finished runs side by side, and their numbers and pictures in other forms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comparisons.command_parts import JsonOption, print_json


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs, such as runs/demo.")],
    out: Annotated[Path, typer.Option(help="Folder for what is written.")] = Path("runs/side_by_side"),
    form: Annotated[
        list[str] | None,
        typer.Option("--format", help="html, csv, parquet, png, svg or pdf; repeat it (default: html, csv and png)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Set runs side by side: models by data sets and their verdicts, as a page, tables and pictures."""
    from bridge.errors import ConfigError, did_you_mean
    from comparisons.report.together.output import FORMS, write
    from comparisons.report.together.reading import read_runs

    asked = form or ["html", "csv", "png"]
    if unknown := [one for one in asked if one not in FORMS]:
        raise ConfigError(f"--format {unknown[0]!r} is not known; {did_you_mean(unknown[0], FORMS)}.")
    written = [str(path) for path in write(read_runs(runs), out, [one for one in FORMS if one in asked])]
    if as_json:
        print_json(written)
        return
    for path in written:
        print(path)
