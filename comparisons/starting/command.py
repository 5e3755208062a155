"""`ventral init`: a folder to start a study of one's own in, and what is still missing there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from comparisons.command_parts import JsonOption, print_json

MISSING = 1
"""Exit code of `--check` where something is missing or wrong."""


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the study; it is made if it is not there.")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing: say what is still missing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start a study of your own: a commented config, a place for your network, your images and your recordings."""
    if not check:
        from comparisons.starting.writing import start

        written = list(start(folder))
        if as_json:
            print_json([str(folder / name) for name in written])
            return
        for name in written:
            print(f"wrote {folder / name}")
        there = shlex.quote(str(folder))
        print(f"\nNext: put your images and recordings there, then\n  cd {there}\n  ventral init . --check")
        return
    from comparisons.starting.missing import findings

    found = list(findings(folder))
    lacking = sum(not one.there for one in found)
    if as_json:
        print_json([one._asdict() for one in found])
    else:
        for one in found:
            print(f"{'ok     ' if one.there else 'MISSING'}  {one.part}: {one.told}")
        print("\nNothing is missing: ventral run study.yaml" if not lacking else f"\n{lacking} still missing.")
    if lacking:
        raise typer.Exit(MISSING)
