"""What the commands of `ventral` share: the config argument, `--set`, `--json` and how it is printed, what `--dry-run`
shows, and progress that Ctrl-C ends with a word."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comparisons.shipped import shipped

if TYPE_CHECKING:
    from bridge.store import Store
    from comparisons.config import Config
    from comparisons.plan import Plan
    from comparisons.results import RunResults
    from comparisons.running import Reporter


def completed(start: str) -> list[str]:
    """The names of shipped configs that begin so, and YAML files and folders: what a shell offers for a config."""
    names = [name for name in shipped() if name.startswith(start)]
    near = Path(start).parent if not start.endswith("/") else Path(start)
    found = near.iterdir() if near.is_dir() else []
    paths = [f"{path}/" if path.is_dir() else str(path) for path in found if path.is_dir() or path.suffix == ".yaml"]
    return names + sorted(path for path in paths if path.startswith(start) and not path.startswith("."))


ConfigArgument = Annotated[
    str, typer.Argument(help="Path of a YAML config, or the name of one that ships.", autocompletion=completed)
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change one value of the config.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Show the stages, what is cached, and predicted time, memory and disk; run none."),
]
INTERRUPTED = 130
EXIT_CODES = {
    0: "done",
    1: "done, and the answer is no: `doctor` or `brain-score check` found something wrong, `init --check` something "
    "missing, `validate` a rule that does not do what is asked of it",
    2: "the command or the config asks for what does not exist or does not fit together",
    3: "a file, an image, a checkpoint or a table is missing, there already, or not what it was said to be",
    4: "something has to be fetched or pushed and cannot be: no network, no token, or the server refuses",
    5: "a folder cannot be written: read-only, full, or held by another run; or memory ran out",
    6: "`sae release`: some dictionaries are below the gates and were not published; all else was done",
    INTERRUPTED: "ended by Ctrl-C; the same command goes on from there",
}
"""What a command's exit code says: the one list of them (the errors' own are in `bridge.errors`)."""


def print_json(content: Any) -> None:
    """JSON on standard output, as every command prints it: UTF-8, indented, null for what is not finite."""
    import json

    print(json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and value - value != 0 else value


def print_run(results: RunResults, folder: Path, **more: Any) -> None:
    """What a finished run says, as JSON: where it lies, its sentences, verdicts and what was dropped; and `more`."""
    from comparisons.report.summary import sentences

    print_json(
        {
            "folder": str(folder),
            "report": str(folder / "report.html"),
            "results": str(folder / "results.json"),
            "said": list(sentences(results)),
            "verdicts": [one.model_dump(mode="json") for one in results.verdicts],
            "dropped": results.dropped,
            "seconds": results.seconds,
            **more,
        }
    )


def show_plan(config: Config, plan: Plan, store: Store, as_json: bool, notes: list[str] | None = None) -> set[str]:
    """Print what `--dry-run` shows of a plan, with `notes` below; gives the stages that are missing."""
    from comparisons.predicting.downloads import downloads
    from comparisons.predicting.predict import predict
    from comparisons.predicting.table import as_json as told
    from comparisons.predicting.table import as_text
    from comparisons.running import needed

    missing = needed(plan, store)
    found, fetched = predict(plan, store, missing, plan.device), downloads(config) if missing else []
    if as_json:
        print_json({**told(found, fetched), "notes": notes or []})
    else:
        print("\n".join([as_text(found, fetched), *(notes or [])]))
    return set(missing)


def check_reachable(config: Config, missing: set[str]) -> None:
    """Raise UnreachableError where stages are missing, something has to be fetched for them, and cannot be."""
    if missing:
        for part in (config.stimuli, *config.models, *config.saes, *config.recordings, *config.comparisons):
            part.check_reachable()


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
