"""`ventral probe`: what the features of a config's models encode, without its other comparisons."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comparisons.command_parts import ConfigArgument, JsonOption, SetOption, print_run, reporting

if TYPE_CHECKING:
    from bridge.store import Store
    from comparisons.config import Config
    from comparisons.plan import Plan


def probe(
    config: ConfigArgument,
    set_: SetOption = None,
    sites: Annotated[
        list[str] | None,
        typer.Option(help="Globs over site names (default: the config's, else the stem and every block)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results (default: runs/NAME, or runs/NAME-probes where the config has more)."
        ),
    ] = None,
    cards: Annotated[
        list[str] | None,
        typer.Option(
            "--card",
            metavar="MODEL:SITE:FEATURE",
            help="Also draw the card of a feature, or with MODEL:SITE/NAME:LATENT of a dictionary's latent.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what features encode: tuning, Gabor simplicity, decoding, geometry, receptive fields, feature cards."""
    from bridge.store import Store
    from comparisons import config as configs
    from comparisons.plan import make_plan
    from comparisons.report.summary import sentences
    from comparisons.running import run

    parsed = only_probes(configs.load(config, set_ or []), sites)
    store, folder = Store(), out or Path("runs") / parsed.name
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    if cards:
        from comparisons.card_command import check_cards, write_cards

        check_cards(parsed, cards)
    with reporting() as reporter:
        results = run(parsed, folder, store=store, reporter=reporter, command=command)
        plan = make_plan(parsed, store)
        paths = {name: store.path(plan.stages[name].kind, plan.stages[name].inputs) for name in plan.results}
        tables = [path / "features.csv" for path in paths.values() if (path / "features.csv").exists()]
        saved = _write_tables(tables, folder) if tables else None
    drawn: list[Path] = []
    if cards:
        drawn = list(write_cards(parsed, cards, folder / "cards", _dictionaries(parsed, plan, store)))
    if as_json:
        print_run(results, folder, features=saved and str(saved), cards=[str(path) for path in drawn])
        return
    for sentence in sentences(results):
        print(sentence)
    print(f"\nReport: {folder / 'report.html'}")
    if saved is not None:
        print(f"One row a feature: {saved}")
    for path in drawn:
        print(f"Card: {path}")


def only_probes(parsed: Config, sites: list[str] | None) -> Config:
    """The config with its `probe` comparisons alone (or the default one), and the recordings that these name."""
    from comparisons.kinds.probe import ProbeComparison

    own = [one for one in parsed.comparisons if isinstance(one, ProbeComparison)] or [ProbeComparison()]
    if sites:
        own = [one.model_copy(update={"sites": sites}) for one in own]
    wanted = {name for one in own for name in one.recordings}
    # Where a name is wrong all stay, so that the error can say what was meant.
    wrong = wanted - {one.name for one in parsed.recordings}
    recordings = [one for one in parsed.recordings if wrong or one.name in wanted]
    update: dict[str, Any] = {"comparisons": own, "recordings": recordings}
    if (
        len(own) != len(parsed.comparisons) or len(recordings) < len(parsed.recordings) or not parsed.comparisons
    ):  # there was more than probes: another run, with a folder of its own
        title = f"What the features encode: {parsed.title or parsed.name}"
        update |= {"name": f"{parsed.name}-probes", "title": title}
    return parsed.model_copy(update=update)


def _dictionaries(parsed: Config, plan: Plan, store: Store) -> dict[str, dict[str, Path]]:
    """The folders of the run's dictionaries of one site, by model and SITE/NAME."""
    from comparisons.plan import Planner, add_dictionaries

    planner = Planner(parsed, store)
    add_dictionaries(planner)
    found: dict[str, dict[str, Path]] = {}
    for (model, name), (stage, reads, _) in planner.dictionaries.items():
        if len(reads) == 1:
            made = plan.stages[stage]
            found.setdefault(model, {})[name] = store.path(made.kind, made.inputs) / name
    return found


def _write_tables(tables: list[Path], folder: Path) -> Path:
    """All tables of features, one after the other, in the run's folder."""
    import pandas as pd

    from bridge.store import write_atomically

    path = folder / "features.csv"
    whole = pd.concat([pd.read_csv(table) for table in tables], ignore_index=True)
    write_atomically(path, whole.to_csv(index=False))
    return path
