"""`ventral validate`: how often the verdicts find the truth where it is known, and how often they are wrong."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comparisons.command_parts import JsonOption, SetOption, print_run, reporting

if TYPE_CHECKING:
    from comparisons.config import Config

FAILED = 1
"""Exit code where a rule does not do what is asked of it."""


def validate(
    config: Annotated[
        str, typer.Argument(help="A config with `kind: validation` (default: the one that ships).")
    ] = "truth",
    set_: SetOption = None,
    datasets: Annotated[int | None, typer.Option(min=1, help="Data sets a cell (200 for the full matrix).")] = None,
    cells: Annotated[list[str] | None, typer.Option("--cell", help="Only cells whose name holds this text.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (default: one a processor).")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/NAME).")] = None,
    table: Annotated[Path | None, typer.Option(help="Also write the table to this Markdown file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge simulated data sets whose truth is known; exit code 1 where a rule fails its acceptance."""
    from importlib.metadata import version

    from bridge.errors import ConfigError
    from bridge.store import Store, write_atomically
    from comparisons import config as configs
    from comparisons.running import run
    from comparisons.validation.table import as_text, document

    if table is not None and table.is_dir():
        raise ConfigError(f"--table was given {table}, a folder; give the name of a Markdown file.")
    parsed = chosen(configs.load(config, set_ or []), datasets, cells, workers)
    folder = out or Path("runs") / parsed.name
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    with reporting() as reporter:
        found = run(parsed, folder, store=Store(), reporter=reporter, command=command)
    if as_json:
        print_run(found, folder, confusion=[row.model_dump(mode="json") for row in found.confusion])
    else:
        print(as_text(found.confusion))
        print(f"\nReport: {folder / 'report.html'}")
    if table is not None:
        made_by = f"ventral validate {config} --datasets {max(row.datasets for row in found.confusion)}"
        page = document(found.confusion, seed=parsed.seed, version=version("ventral-bridge"), command=made_by)
        write_atomically(table, page)
    if any(row.met is False for row in found.confusion):
        raise typer.Exit(FAILED)


def chosen(parsed: Config, datasets: int | None, cells: list[str] | None, workers: int | None) -> Config:
    """The config with its validations alone, changed as the options say. Raises ConfigError where none is left."""
    from bridge.errors import ConfigError, did_you_mean
    from comparisons.kinds.validation import ValidationComparison

    own = [one for one in parsed.comparisons if isinstance(one, ValidationComparison)]
    if not own:
        raise ConfigError(f"Config {parsed.name!r} has no `kind: validation`; the one that ships is called truth.")
    update: dict[str, Any] = {"per_cell": datasets, "workers": workers}
    update = {key: value for key, value in update.items() if value is not None}
    known = [cell.name for one in own for cell in one.cells]
    for text in cells or ():
        if not any(text in name for name in known):
            raise ConfigError(f"--cell was given {text!r}; {did_you_mean(text, known)}.")
    changed = []
    for one in own:
        kept = [cell for cell in one.cells if not cells or any(text in cell.name for text in cells)]
        if kept:
            changed.append(one.model_copy(update={**update, "cells": kept}))
    return parsed.model_copy(update={"comparisons": changed, "recordings": [], "models": [], "saes": []})
