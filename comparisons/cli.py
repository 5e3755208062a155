"""The command line, `ventral`. Heavy imports stand inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.errors import StorageError, UserError
from comparisons.brainscore.command import app as brainscore_app
from comparisons.command_parts import (
    ConfigArgument,
    DryRunOption,
    JsonOption,
    SetOption,
    check_reachable,
    print_json,
    print_run,
    reporting,
    show_plan,
)
from comparisons.power_command import power
from comparisons.probe_command import probe
from comparisons.report_command import report
from comparisons.sae_commands import app as sae_app
from comparisons.starting.command import init
from comparisons.validate_command import validate

OF_ITS_OWN = {"probe": "probe", "validation": "validate"}
"""Commands for configs that hold a kind of comparison alone."""
UsageError: Any = typer.BadParameter.__mro__[1]
"""Of the click that typer brings with it or stands on, which differs by its version."""

app = typer.Typer(
    help="Is the brain's ventral stream a residual stream? Compare networks with recordings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Public data sets: list them, fetch them.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")
app.add_typer(sae_app, name="sae")
app.add_typer(brainscore_app, name="brain-score")


def main() -> None:
    """Run the command line; user errors become one sentence and an exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show ρ shall not end a run
    try:
        sys.exit(app(prog_name="ventral", standalone_mode=False) or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except UsageError as error:
        _say_misused(error)
        sys.exit(error.exit_code)
    except MemoryError as error:
        said = f" ({error})" if str(error) else ""
        print(
            f"error: Memory ran out{said}; give fewer draws, stimuli, sites or tokens, or a machine with more of it. "
            "What was computed is kept: the same command goes on.",
            file=sys.stderr,
        )
        sys.exit(StorageError.exit_code)


def _say_misused(error: Any) -> None:
    """A command, option or argument that there is not, in one sentence; the help page where nothing was asked."""
    message = error.format_message()
    if "\n" in message:
        error.show()
        return
    said = re.sub(r"\. Did you mean (.*)\?$", r" (did you mean \1?)", message).rstrip(".")
    print(f"error: {said}; '{' '.join(_commands())} --help' says what there is.", file=sys.stderr)


def _commands() -> Iterator[str]:
    """The commands of what was given, from `ventral` on."""
    yield "ventral"
    known: Any = typer.main.get_command(app)
    for word in sys.argv[1:]:
        known = getattr(known, "commands", {}).get(word)
        if known is None:
            return
        yield word


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"ventral-bridge {version('ventral-bridge')}")
        raise typer.Exit


@app.callback()
def _ventral(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None: ...


@app.command()
def run(
    config: ConfigArgument,
    set_: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/NAME).")] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a comparison config and write results, report and figures."""
    from bridge.store import Store
    from comparisons import config as configs
    from comparisons.plan import make_plan
    from comparisons.report.summary import sentences
    from comparisons.running import run as run_config

    parsed = configs.load(config, set_ or [])
    store = Store()
    if dry_run:
        missing = show_plan(parsed, make_plan(parsed, store, shown_only=True), store, as_json)
        check_reachable(parsed, missing)
        return
    folder = out or Path("runs") / parsed.name
    with reporting() as reporter:
        results = run_config(parsed, folder, store=store, reporter=reporter, command=_command())
    if as_json:
        print_run(results, folder)
        return
    for sentence in sentences(results):
        print(sentence)
    print(f"\nReport: {folder / 'report.html'}")


def _command() -> str:
    """The command that was given, as one could type it again."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


@app.command()
def capture(
    config: ConfigArgument,
    set_: SetOption = None,
    sites: Annotated[
        list[str] | None, typer.Option(help="Globs over site names (default: every block's hook_resid_post).")
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Only read the models' streams: capture sites for a config's stimuli and say where the activations lie."""
    from bridge.store import Store
    from comparisons import config as configs
    from comparisons.plan import plan_capture
    from comparisons.running import announce, execute

    parsed, store = configs.load(config, set_ or []), Store()
    plan = plan_capture(parsed, store, sites or ["blocks.*.hook_resid_post"], shown_only=dry_run)
    if dry_run:
        reached = parsed.model_copy(update={"recordings": [], "comparisons": []})
        check_reachable(reached, show_plan(parsed, plan, store, as_json))
        return
    with reporting() as reporter:
        announce(plan, store, reporter)
        paths, _ = execute(plan, store, reporter, parsed.executor)
    if as_json:
        print_json({model.name: str(paths[f"capture {model.name}"]) for model in parsed.models})
        return
    for model in parsed.models:
        print(f"{model.name}: {paths[f'capture {model.name}']}")


app.command()(probe)
app.command()(validate)
app.command()(power)
app.command()(report)
app.command()(init)


@app.command("configs")
def list_configs(as_json: JsonOption = False) -> None:
    """List the configs that ship with the project."""
    import yaml

    from comparisons.config import shipped

    rows = []
    for name, path in shipped().items():
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        kinds = {part["kind"] for part in content.get("comparisons", ())}
        trains = "sae release" if "release" in content else "sae train"
        compares = OF_ITS_OWN.get(kinds.pop(), "run") if len(kinds) == 1 else "run"
        command = f"ventral {compares if content.get('comparisons') else trains}"
        rows.append({"name": name, "command": command, "title": content.get("title", ""), "path": str(path)})
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['name']:28} {row['command']:20} {row['title']}")


@app.command()
def schema() -> None:
    """Print the JSON schema of configs (for editors and checks)."""
    from comparisons.config import Config

    print_json(Config.model_json_schema())


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check this installation: packages, device, folders, data; say what is wrong and how to mend it.

    Exit code 1 where something is wrong.
    """
    from comparisons.doctor import examine

    raise typer.Exit(examine(as_json=as_json))


@data_app.command("list")
def list_data(as_json: JsonOption = False) -> None:
    """List the public data sets and where their files lie."""
    from bridge.data import all_datasets

    found = [
        {
            "name": name,
            "state": "here" if data.available() else ("local only" if data.local_only else "to be fetched"),
            "title": data.title,
            "licence": data.licence,
        }
        for name, data in all_datasets().items()
    ]
    if as_json:
        print_json(found)
        return
    for one in found:
        print(f"{one['name']:22} {one['state']:14} {one['title']}  [{one['licence']}]")


@data_app.command("fetch")
def fetch_data(
    names: Annotated[list[str], typer.Argument(help="Names of data sets (`ventral data list`).")],
    as_json: JsonOption = False,
) -> None:
    """Fetch data sets into the cache, checked by sha256."""
    from bridge.data import dataset

    chosen = [dataset(name) for name in names]
    if as_json:
        print_json({data.name: [str(path) for path in data.fetch()] for data in chosen})
        return
    for data in chosen:
        for path in data.fetch():
            print(path)


if __name__ == "__main__":
    main()
