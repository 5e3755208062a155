"""`ventral brain-score score`: a config's models on Brain-Score's benchmarks, without its other comparisons."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comparisons.command_parts import (
    ConfigArgument,
    DryRunOption,
    JsonOption,
    SetOption,
    check_reachable,
    print_json,
    reporting,
    show_plan,
)

if TYPE_CHECKING:
    from comparisons.config import Config


def score(
    config: ConfigArgument,
    set_: SetOption = None,
    benchmarks: Annotated[
        list[str] | None,
        typer.Option("--benchmark", help="A benchmark that Brain-Score registers (see `ventral brain-score list`)."),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", help="pls, ridge, neuron_to_neuron or rdm, of the config's own recordings."),
    ] = None,
    sites: Annotated[
        list[str] | None,
        typer.Option(help="Globs over site names (default: the config's, else the stem and every block)."),
    ] = None,
    theirs: Annotated[
        str | None, typer.Option(help="Where Brain-Score's own classes are run: all, best (site by ours) or none.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/NAME-brain-score).")] = None,
    as_json: JsonOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Score streams and features on Brain-Score's benchmarks, by its own classes and by this project's encoding.

    Without --benchmark, and where the config names none, its own recordings become the benchmarks.
    """
    from bridge.store import Store
    from comparisons import config as configs
    from comparisons.brainscore.table import as_text
    from comparisons.plan import make_plan
    from comparisons.running import run

    parsed = only_scores(configs.load(config, set_ or []), benchmarks, metrics, sites, theirs)
    store, folder = Store(), out or Path("runs") / parsed.name
    if dry_run:
        plan = make_plan(parsed, store, shown_only=True)
        known = [
            line
            for stage in plan.stages.values()
            if stage.kind == "benchmarks" and store.has(stage.kind, stage.inputs)
            for line in _known_before(store.path(stage.kind, stage.inputs))
        ]
        check_reachable(parsed, show_plan(parsed, plan, store, as_json, known))
        return
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    with reporting() as reporter:
        results = run(parsed, folder, store=store, reporter=reporter, command=command)
    if as_json:
        rows = [row.model_dump(mode="json") for row in results.benchmarks]
        print_json({"benchmarks": rows, "dropped": results.dropped, "report": str(folder / "report.html")})
        return
    print(as_text(results.benchmarks))
    for text in results.dropped:
        print(f"Left out: {text}")
    print(f"\nReport: {folder / 'report.html'}")


def only_scores(
    parsed: Config,
    benchmarks: Sequence[str] | None,
    metrics: Sequence[str] | None,
    sites: Sequence[str] | None,
    theirs: str | None,
) -> Config:
    """The config with its `brain-score` comparisons alone (or the default one), changed as the options say.

    Raises ConfigError for what an option cannot be.
    """
    from bridge.spec_errors import validated
    from comparisons.kinds.brain_score import BrainScoreComparison

    own = [one for one in parsed.comparisons if isinstance(one, BrainScoreComparison)]
    update: dict[str, Any] = {"benchmarks": benchmarks, "metrics": metrics, "sites": sites, "theirs": theirs}
    update = {key: list(value) if isinstance(value, list) else value for key, value in update.items() if value}
    if benchmarks:
        # They are what was asked for: recordings are not scored beside them.
        own = (own or [BrainScoreComparison()])[:1]
        update["recordings"] = None
    changed = [validated(BrainScoreComparison, {**one.content(), **update}) for one in own or [BrainScoreComparison()]]
    name, title = parsed.name, parsed.title
    if changed != parsed.comparisons:
        name, title = f"{parsed.name}-brain-score", f"Brain-Score: {parsed.title or parsed.name}"
    named = [one.recordings for one in changed if one.recordings is not None or not one.benchmarks]
    wanted = None if None in named else {name for some in named for name in some or ()}
    recordings = [one for one in parsed.recordings if wanted is None or one.name in wanted]
    return parsed.model_copy(update={"name": name, "title": title, "comparisons": changed, "recordings": recordings})


def _known_before(folder: Path) -> list[str]:
    """What was found out of benchmarks before anything was captured: their sizes, and the memory that scoring takes."""
    about = json.loads((folder / "benchmarks.json").read_text())
    lines = [
        f"{one['identifier']}: {one['stimuli']} stimuli, {one['neuroids']} neuroids"
        + (f"; by Brain-Score's classes alone ({one['fast']})" if one["fast"] else "")
        for one in about["benchmarks"]
    ]
    for model, fit in about["memory"].items():
        lines.append(
            f"{model}: {fit['gib']:.2f} GiB predicted for its largest site{'; ' if fit['told'] else ''}{fit['told']}"
        )
    return lines


def list_benchmarks(
    every: Annotated[
        bool, typer.Option("--all", help="All that are registered, also those that ask for behaviour.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the benchmarks that the installed Brain-Score registers."""
    from bridge.brainscore import registered
    from comparisons.brainscore.registered import PUBLIC, compares_features

    listed = {
        name: {"public": name in PUBLIC, "package": file.parent.name}
        for name, file in registered("benchmark").items()
        if every or compares_features(name)
    }
    if as_json:
        print_json(listed)
        return
    for name, about in listed.items():
        print(f"{name:56} {'public' if about['public'] else '':8} {about['package']}")
    print(
        "\npublic: its data are open to all. Of the others Brain-Score's storage decides what may be fetched.",
        file=sys.stderr,
    )
