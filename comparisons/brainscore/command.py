"""`ventral brain-score`: run its benchmarks, export a submission, check and pack it. Heavy imports stand inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comparisons.command_parts import ConfigArgument, SetOption, reporting

app = typer.Typer(
    help="Brain-Score: run its benchmarks; export a submission, check it, pack it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def group() -> None:
    """Brain-Score: run its benchmarks; export a submission, check it, pack it."""


@app.command()
def export(
    config: ConfigArgument,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the plugin, a Python package's name (default: its identifier's).")
    ] = None,
    set_: SetOption = None,
    push: Annotated[
        str | None, typer.Option(metavar="USER/NAME", help="Put the weights into this repository of the hub.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a folder that is there.")] = False,
) -> None:
    """Write the `submission` of a config as a model plugin: code, region map, weights, tests, card.

    Dictionaries are trained or loaded as the config says; regions' sites are chosen or given. The folder appears when
    it is whole and its features are those of this project.
    """
    from comparisons import config as configs
    from comparisons.brainscore.chosen_parts import submission_of
    from comparisons.brainscore.exporting import export as export_plugin

    parsed = configs.load(config, set_ or [])
    folder = out or Path(submission_of(parsed).directory())
    with reporting() as reporter:
        made = export_plugin(parsed, folder, reporter=reporter, push=push, replace=replace)
    print(f"{folder}: {', '.join(made.identifiers)}")
    for region, site in made.regions.items():
        print(f"  {region:4} {site}")
    if made.commit is not None:
        print(f"Weights: {push} at {made.commit}")
    for notice in made.notices:
        print(f"note: {notice}")
    print(f"Next: ventral brain-score check {folder}")
