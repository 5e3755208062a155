"""`ventral sae`: train, look at and share sparse dictionaries. Heavy imports stand inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.errors import ConfigError
from comparisons.command_parts import (
    ConfigArgument,
    DryRunOption,
    JsonOption,
    SetOption,
    print_json,
    reporting,
    show_plan,
)
from comparisons.releasing.command import release

if TYPE_CHECKING:
    from saes.splicing import Splicing

app = typer.Typer(
    help="Sparse dictionaries (SAEs): train, evaluate, share.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def train(
    config: ConfigArgument,
    set_: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for copies of the dictionaries (default: saes/NAME of the config).")
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    log: Annotated[
        str | None, typer.Option(help="Also log to `tensorboard` or `wandb`, where it is installed.")
    ] = None,
    log_folder: Annotated[Path, typer.Option(help="Folder of these logs.")] = Path("logs"),
) -> None:
    """Train (or load) the dictionaries under a config's `saes`, and keep them in SAELens's format.

    A training that was interrupted goes on where it was: give the same command again.
    """
    from bridge.store import Store, copy_folder
    from comparisons import config as configs
    from comparisons.dictionaries import quality_of
    from comparisons.plan import plan_training
    from comparisons.running import announce, execute

    parsed, store = configs.load(config, set_ or []), Store()
    logging = None
    if log is not None:
        from saes.logs import log_to

        if not parsed.executor.alone:
            raise ConfigError("--log is written by the process that trains; train with executor: {kind: local} to log.")
        logging = log_to(log, log_folder / parsed.name)
    plan = plan_training(parsed, store, logging, shown_only=dry_run)
    if dry_run:
        show_plan(parsed, plan, store, as_json)
        return
    with reporting() as reporter:
        announce(plan, store, reporter)
        paths, _ = execute(plan, store, reporter, parsed.executor)
    folder = out or Path("saes") / parsed.name
    found: dict[str, Any] = {}
    for made in plan.results:
        model = made.split(" ", 2)[2]
        for key, quality in quality_of(paths[made]).items():
            where = folder / model.replace("/", "-") / key
            copy_folder(paths[made] / key, where)
            found[str(where)] = quality
    if as_json:
        print_json(found)
        return
    print(f"{'':64} {'unexplained':>11} {'L0':>6} {'dead':>6}")
    for shown, quality in found.items():
        held = quality.get("held_out") or {}
        numbers = [held.get("fvu"), held.get("l0"), held.get("dead")]
        texts = ["-" if value is None else form.format(value) for value, form in zip(numbers, FORMS, strict=True)]
        print(f"{shown:64} {texts[0]:>11} {texts[1]:>6} {texts[2]:>6}")
    print("Measured on stimuli that were held out of the training." if found else "")


FORMS = ("{:.3f}", "{:.1f}", "{:.0%}")


@app.command("eval")
def evaluate(
    dictionary: Annotated[str, typer.Argument(help="A folder, a hub repository (user/name), or a SAELens release.")],
    config: ConfigArgument,
    set_: SetOption = None,
    id: Annotated[str | None, typer.Option(help="The dictionary's folder in the repository or release.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the repository.")] = None,
    model: Annotated[str | None, typer.Option(help="Which of the config's models (default: the first).")] = None,
    site: Annotated[str | None, typer.Option(help="The site (default: what the dictionary names).")] = None,
    limit: Annotated[int, typer.Option(help="Stimuli that the network's output is compared on.", min=1)] = 256,
    as_json: JsonOption = False,
) -> None:
    """Measure a dictionary on a config's stimuli: unexplained variance, sparsity, and what it does to the output."""
    from bridge.errors import did_you_mean
    from bridge.store import Store
    from comparisons import config as configs
    from comparisons.plan import need_models, plan_capture
    from comparisons.running import announce, execute
    from saes.hub import load

    parsed, store = configs.load(config, set_ or []), Store()
    need_models(parsed, "dictionaries are of networks")
    models = {spec.name: spec for spec in parsed.models}
    if model is not None and model not in models:
        raise ConfigError(f"There is no model {model!r} in the config; {did_you_mean(model, models)}.")
    spec = models[model] if model is not None else parsed.models[0]
    backbone = spec.load()
    sae = load(dictionary, id, revision, model=backbone, site=site)
    own = site or sae.site
    reads = list(sae.config.metadata.get("sites") or ([own] if own else []))
    if not reads:
        raise ConfigError("The dictionary does not name its site; give --site.")
    writes = sae.config.metadata.get("hook_name_out")
    alone = parsed.model_copy(update={"models": [spec]})
    plan = plan_capture(alone, store, [*reads, *([writes] if writes else [])])
    with reporting() as reporter:
        announce(plan, store, reporter)
        paths, _ = execute(plan, store, reporter, parsed.executor)

    from bridge.activations import Activations
    from saes.metrics import evaluate as measure
    from saes.sources import ShardTokens

    captured = Activations(paths[f"capture {spec.name}"])
    found = measure(sae, ShardTokens(captured, [*reads, *([writes] if writes else [])]).batches(4096, 0)).as_json()
    spliced = _spliced(backbone, sae, parsed, limit) if len(reads) == 1 else None
    if as_json:
        print_json({"activations": found, "output": spliced.as_json() if spliced else None})
        return
    print(f"{dictionary} at {', '.join(reads)} of {spec.name}, {found['tokens']} tokens")
    for name, words in (("fvu", "variance unexplained"), ("cosine", "cosine with the activations"), ("l0", "L0"),
                        ("dead", "dead latents"), ("dense", "dense latents (> 10%)")):  # fmt: skip
        print(f"  {words:32} {'-' if found[name] is None else format(found[name], '.4g')}")
    if spliced is not None:
        print(f"Output with the reconstruction in the site's place, {spliced.outputs} stimuli")
        for name, value in spliced.as_json().items():
            if isinstance(value, dict):
                print(f"  {name:12} " + ", ".join(f"{key} {v:.4g}" for key, v in value.items() if v is not None))
            elif isinstance(value, float):
                print(f"  {name:32} {value:.4g}")


def _spliced(backbone: Any, sae: Any, config: Any, limit: int) -> Splicing:
    """What the dictionary does to the network's output for the first stimuli of a config."""
    from saes.splicing import splicing

    stimuli = config.stimuli.load()
    rows = range(min(limit, len(stimuli)))
    if backbone.reads_texts:
        texts = [str(text) for text in stimuli.table["text"]]
        batches = [backbone.prepare_texts([texts[row] for row in rows[at : at + 32]]) for at in range(0, len(rows), 32)]
    else:
        batches = [
            backbone.prepare([stimuli.image(row) for row in rows[at : at + 32]]) for at in range(0, len(rows), 32)
        ]
    return splicing(backbone, sae, batches)


@app.command()
def push(
    folders: Annotated[list[Path], typer.Argument(help="Dictionaries' folders, or a folder of such folders.")],
    repository: Annotated[str, typer.Argument(help="user/name on the Hugging Face hub; made if needed.")],
    id_: Annotated[
        list[str] | None, typer.Option("--id", help="Names in the repository, one a folder (default: the folders').")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch to push to, made if needed (default: main).")] = None,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Who may see a repository that is made now.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence by the hub's short name, such as cc-by-4.0.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace dictionaries of the same name.")] = False,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Put dictionaries into a repository of the hub, with their model cards, in one commit."""
    from saes.cards import named_folders
    from saes.cards import push as push_all

    chosen: dict[str, Path] = {}
    if id_ and len(id_) != len(folders):
        raise ConfigError(f"{len(id_)} --id were given for {len(folders)} folders; give one a folder, or none.")
    for folder, name in zip(folders, id_ or [""] * len(folders), strict=True):
        for own, path in ({name: folder} if name else named_folders(folder)).items():
            if own in chosen:
                raise ConfigError(f"Two folders would be {own!r} in {repository}; name them with --id.")
            chosen[own] = path
    done = push_all(
        chosen, repository, revision=revision, private=private, licence=licence, replace=replace, message=message
    )
    if as_json:
        print_json({"repository": done.repository, "commit": done.commit, "ids": done.ids})
        return
    for name in done.ids:
        print(f"{done.repository} {name}")
    print(f"commit {done.commit}")


app.command()(release)
