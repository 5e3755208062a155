"""`ventral brain-score`: run its benchmarks, export a submission, check and pack it. Heavy imports stand inside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from comparisons.brainscore.score_command import list_benchmarks, score
from comparisons.command_parts import ConfigArgument, JsonOption, SetOption, print_json, reporting

app = typer.Typer(
    help="Brain-Score: run its benchmarks; export a submission, check it, pack it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def group() -> None:
    """Brain-Score: run its benchmarks; export a submission, check it, pack it."""


app.command()(score)
app.command("list")(list_benchmarks)


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
    as_json: JsonOption = False,
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
    if as_json:
        told = {"folder": str(folder), "identifiers": list(made.identifiers), "regions": dict(made.regions)}
        print_json({**told, "weights": push, "commit": made.commit, "notices": list(made.notices)})
        return
    print(f"{folder}: {', '.join(made.identifiers)}")
    for region, site in made.regions.items():
        print(f"  {region:4} {site}")
    if made.commit is not None:
        print(f"Weights: {push} at {made.commit}")
    for notice in made.notices:
        print(f"note: {notice}")
    print(f"Next: ventral brain-score check {folder}")


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The plugin's folder.")],
    here: Annotated[
        bool, typer.Option("--here", help="Run it in the present environment, not in a clean one.")
    ] = False,
    on: Annotated[
        str | None, typer.Option(metavar="CONFIG", help="Also score it on a config's recordings, here and there.")
    ] = None,
    set_: SetOption = None,
    seconds: Annotated[int, typer.Option(help="Time that each program may take.", min=1)] = 1800,
    as_json: JsonOption = False,
) -> None:
    """Run on a plugin what Brain-Score's automatic tests run, and what they do not look at.

    Exit code 0: nothing is wrong. 1: something is, and what Brain-Score would have done with it stands beside it.
    2 to 5: the check could not be made (2 config or uv, 3 no plugin, 4 no network, 5 storage).
    """
    from comparisons.brainscore.checking import check as check_plugin

    parsed = None
    if on is not None:
        from comparisons import config as configs

        parsed = configs.load(on, set_ or [])

    def told(text: str) -> None:
        print(text, file=sys.stderr)

    found = check_plugin(folder, here=here, config=parsed, seconds=seconds, told=told)
    wrong = sum(one.problem is not None for one in found.findings)
    if as_json:
        rows = [{"name": one.name, "problem": one.problem, "said": one.said, "otherwise": one.otherwise}
                for one in found.findings]  # fmt: skip
        more = {"predicted": found.predicted, "scores": found.scores, "notes": found.notes}
        print_json({"findings": rows, **more})
        raise typer.Exit(int(bool(wrong)))
    for one in found.findings:
        print(f"{'ok  ' if one.problem is None else 'FAIL'}  {one.name}{f' ({one.said})' if one.said else ''}")
        if one.problem is not None:
            print(f"      {one.problem}")
            print(f"      Brain-Score: {one.otherwise}")
    if found.predicted:
        print("\nPublic benchmarks: memory and time that reading the features takes, predicted")
        for row in [["model", "benchmark", "features", "GiB", "minutes"], *found.predicted]:
            print("  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, (32, 32, 9, 7, 7), strict=True)))
    if found.scores:
        print("\nScores on the recordings")
        for row in [["model", "region", "here", "there", "difference"], *found.scores]:
            print("  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, (32, 7, 10, 10, 10), strict=True)))
    for note in found.notes:
        print(f"note: {note}")
    print("\nNothing is wrong." if not wrong else f"\n{wrong} to mend.")
    raise typer.Exit(int(bool(wrong)))


@app.command("zip")
def pack(
    folder: Annotated[Path, typer.Argument(help="The plugin's folder.")],
    out: Annotated[Path | None, typer.Option(help="The zip (default: FOLDER.zip).")] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Pack it although these very files have not passed `check`.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Pack a plugin for the website: the same bytes for the same files. What breaks a rule is not packed."""
    from comparisons.brainscore.packing import pack as pack_plugin

    path, size, where = pack_plugin(folder, out, unchecked=unchecked)
    if as_json:
        print_json({"path": str(path), "bytes": size, "checked": where})
        return
    print(f"{path}: {size / 1e6:.2f} MB")
    if where != "clean":
        print("note: it was not checked in a clean environment.")
