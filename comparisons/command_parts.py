"""What the commands of `ventral` share: the config argument, `--set`, and progress that Ctrl-C ends with a word."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from comparisons.running import Reporter

ConfigArgument = Annotated[str, typer.Argument(help="Path of a YAML config, or the name of one that ships.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change one value of the config.")
]
INTERRUPTED = 130


@contextmanager
def reporting() -> Iterator[Reporter]:
    """Progress on standard error; Ctrl-C ends with a word on how to go on."""
    from comparisons.progress import make_reporter

    try:
        with make_reporter() as reporter:
            yield reporter
    except KeyboardInterrupt:
        print("\nInterrupted. What was computed is kept: the same command goes on from here.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
