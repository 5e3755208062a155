"""`ventral sae release`: from a recipe to a repository of the hub, in one command that can be given again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.errors import QualityError
from comparisons.command_parts import JsonOption, SetOption, completed, print_json, reporting

if TYPE_CHECKING:
    from bridge.store import Store
    from comparisons.config import Config
    from comparisons.releasing.folder import Judged
    from comparisons.releasing.passes import Wanted
    from saes.cards import Pushed


def release(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A config with `saes` to train: a path, or a name that ships, as release_resnet18.",
            autocompletion=completed,
        ),
    ],
    set_: SetOption = None,
    repo: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Push to this repository of the hub, made if needed.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Only sites that match; repeat it.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the release (default: releases/NAME).")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence by the hub's short name, such as cc-by-4.0 (default: the recipe's).")
    ] = None,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Who may see a repository that is made now.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace dictionaries of the same name there.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say sites, widths, bytes, predicted time and memory; train and fetch nothing."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train what is missing of a release, judge it on held-out tokens, write its pages, and push it in one commit.

    Exit code 6: some dictionaries are below the recipe's gates and were not published; the others were.
    """
    from bridge.hub import check_writable
    from bridge.store import Store
    from comparisons import config as configs
    from comparisons.plan import Planner
    from comparisons.releasing.passes import passes, plan_passes, wanted
    from comparisons.releasing.spec import Release

    parsed, store = configs.load(recipe, set_ or []), Store()
    asked = parsed.release or Release()
    if licence is not None:
        asked = asked.model_copy(update={"licence": licence})
    folder = out or Path("releases") / parsed.name
    if dry_run:
        _tell_plan(parsed, store, only or [], folder, asked.pass_width, as_json)
        return
    if repo is not None:
        check_writable(repo)  # before hours of work, not after
    from comparisons.releasing.folder import below, found, judged, put
    from comparisons.running import announce, execute

    chosen = wanted(parsed, Planner(parsed, store), only or [])
    missing = [one for one in chosen if found(folder, one) is None]
    if missing:
        groups = passes(missing, asked.pass_width)
        plan = plan_passes(parsed, store, groups)
        with reporting() as reporter:
            announce(plan, store, reporter)
            paths, _ = execute(plan, store, reporter, parsed.executor)
        made = {
            (entry, model, site): paths[stage]
            for stage, (entry, model, sites) in zip(plan.results, groups, strict=True)
            for site in sites
        }
        for one in missing:
            artefact = made[one.entry, one.model, one.site.name]
            put(folder, one, artefact / one.site.name / one.name, asked, parsed.name)
    told = judged(folder, chosen, asked)
    passed = [one for one in told if not one.short]
    pushed = _published(folder, passed, repo, asked.licence, private, replace)
    _tell(told, folder, pushed, repo, as_json)
    if short := [one for one in told if one.short]:
        raise QualityError(
            f"{len(short)} of {len(told)} dictionaries are below the gates of the release and were not published, but "
            f"put into {below(folder)} ({short[0].wanted.id}: {'; '.join(short[0].short)}); train them longer or with "
            "more latents, or lower the gates (release.gates) for a reason that you state."
        )


def _published(
    folder: Path,
    passed: list[Judged],
    repo: str | None,
    licence: str | None,
    private: bool | None,
    replace: bool,
) -> Pushed | None:
    """Write the pages of what is published, and push it where a repository is given."""
    if not passed:
        return None
    from saes.cards import named_folders, push, write_pages

    write_pages(folder, list(named_folders(folder)), repo, licence)
    if repo is None:
        return None
    return push(
        {one.wanted.id: one.folder for one in passed},
        repo,
        private=private,
        licence=licence,
        replace=replace,
        keep=True,
    )


def _tell(told: list[Judged], folder: Path, pushed: Pushed | None, repo: str | None, as_json: bool) -> None:
    if as_json:
        content: dict[str, Any] = {"folder": str(folder), "repository": repo, "commit": pushed and pushed.commit}
        print_json({**content, "dictionaries": [one.as_json() for one in told]})
        return
    print(f"{'':56} {'latents':>8} {'explained':>9} {'L0':>6} {'dead':>6}")
    for one in (judged.as_json() for judged in told):
        texts = [
            "-" if one[key] is None else form.format(one[key])
            for key, form in (("explained_variance", "{:.3f}"), ("l0", "{:.1f}"), ("dead", "{:.0%}"))
        ]
        short = "" if one["published"] else f"  BELOW GATES: {'; '.join(one['below'])}"
        print(f"{one['id']:56} {one['latents']:>8} {texts[0]:>9} {texts[1]:>6} {texts[2]:>6}{short}")
    published = sum(not one.short for one in told)
    print(f"\n{published} of {len(told)} dictionaries pass. Measured on tokens held out of the training.")
    if pushed is not None:
        print(f"Pushed: {pushed.repository}, commit {pushed.commit}")
    elif published:
        print(f"Next: look at {folder / 'README.md'}, then give the same command with --repo OWNER/NAME")


def _tell_plan(parsed: Config, store: Store, only: list[str], folder: Path, width: int, as_json: bool) -> None:
    """Sites, widths and bytes from the architecture alone (no weights are fetched), and what the rest will take."""
    from bridge.errors import UserError
    from comparisons.plan import Planner
    from comparisons.predicting.downloads import downloads
    from comparisons.predicting.predict import predict
    from comparisons.predicting.table import as_json as told
    from comparisons.predicting.table import as_text, bytes_text
    from comparisons.releasing.folder import found
    from comparisons.releasing.passes import passes, plan_passes, wanted
    from comparisons.running import needed

    chosen = wanted(parsed, Planner(parsed, store, shown_only=True), only)
    rows = [_planned(one, there=found(folder, one) is not None) for one in chosen]
    missing = [one for one, row in zip(chosen, rows, strict=True) if not row["there"]]
    predicted, unknown, fetched = [], "", downloads(parsed) if missing else []
    try:
        plan = plan_passes(parsed, store, passes(missing, width), shown_only=True)
        predicted = predict(plan, store, needed(plan, store), plan.device)
    except UserError as error:  # most often the stimuli are not there yet: all else can be told
        unknown = str(error)
    size = sum(row["bytes"] for row in rows)
    if as_json:
        total = {"dictionaries": len(rows), "missing": len(missing), "bytes": size}
        content = {"folder": str(folder), "dictionaries": rows, "total": total, "unknown": unknown or None}
        print_json({**content, "training": told(predicted, fetched)})
        return
    print(f"{'':6}  {'':56} {'d':>6} {'latents':>8} {'k':>4} {'size':>9}")
    for row in rows:
        k, state = "-" if row["k"] is None else row["k"], "there " if row["there"] else "to add"
        sizes = f"{row['d_in']:>6} {row['latents']:>8} {k:>4} {bytes_text(row['bytes']):>9}"
        print(f"{state}  {row['id']:56} {sizes}")
    print(f"\n{len(rows)} dictionaries, {len(missing)} to add, {bytes_text(size)} in {folder}\n")
    if missing:
        print(f"Time and memory are not known: {unknown}" if unknown else as_text(predicted, fetched))


def _planned(one: Wanted, *, there: bool) -> dict[str, Any]:
    return {
        "id": one.id,
        "model": one.model,
        "site": one.site.name,
        "d_in": one.site.width,
        "latents": one.latents,
        "k": one.k,
        "bytes": one.bytes,
        "there": there,
    }
