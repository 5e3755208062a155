"""`ventral init`: a folder to start a study of one's own in, and what is still missing there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MISSING = 1
"""Exit code of `--check` where something is missing or wrong."""


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the study; it is made if it is not there.")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing: say what is still missing.")] = False,
) -> None:
    """Start a study of your own: a commented config, a place for your network, your images and your recordings."""
    if not check:
        from comparisons.starting.writing import start

        for name in start(folder):
            print(f"wrote {folder / name}")
        print(f"\nNext: put your images and recordings there, then\n  cd {folder}\n  ventral init . --check")
        return
    from comparisons.starting.missing import findings

    found = list(findings(folder))
    for one in found:
        print(f"{'ok     ' if one.there else 'MISSING'}  {one.part}: {one.told}")
    lacking = sum(not one.there for one in found)
    print("\nNothing is missing: ventral run study.yaml" if not lacking else f"\n{lacking} still missing.")
    if lacking:
        raise typer.Exit(MISSING)
