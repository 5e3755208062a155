"""Dictionaries in a run: the stages that train or load them, and what a run's results say of them.

A model's dictionaries of one `saes` entry are one artefact: a folder a dictionary, SITE/NAME as comparisons name its
codes (`comparisons.codes`), in SAELens's format, with `quality.json` beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import ConfigError, did_you_mean
from bridge.store import digest, write_atomically
from bridge.streams import Site
from comparisons.codes import CODES
from comparisons.plan import Plan, Planner, Progress
from comparisons.predicting.sizes import Size, TrainedAt, trained
from comparisons.results import Dictionary
from saes.specs import SAESpec
from saes.specs.load import LoadSAE
from saes.specs.train import TrainSAE

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from saes.training import Job, Report, Trained

QUALITY = "quality.json"
EVALUATED_TOKENS = 2**17
"""Held-out tokens on which a trained dictionary's quality is measured, at most."""


def add_stages(planner: Planner) -> list[str]:
    """The stages of every dictionary of the config; comparisons can name their codes from here on.

    Raises ConfigError for models and sites that do not exist.
    """
    stages = []
    for spec in planner.config.saes:
        for model in models_of(planner, spec):
            if isinstance(spec, TrainSAE):
                stages.append(add_training(planner, spec, model))
            elif isinstance(spec, LoadSAE):
                stages.append(_add_loading(planner, spec, model))
    return stages


def models_of(planner: Planner, spec: SAESpec) -> list[ModelSpec]:
    """The models that a dictionary is of. Raises ConfigError for one that the config does not have."""
    known = {model.name: model for model in planner.config.models}
    for name in spec.models or ():
        if name not in known:
            raise ConfigError(f"saes {spec.name!r}: there is no model {name!r}; {did_you_mean(name, known)}.")
    return [model for name, model in known.items() if spec.models is None or name in spec.models]


def _offer(
    planner: Planner, model: ModelSpec, reads: Sequence[Site], writes: str | None, name: str, stage: str
) -> None:
    """Let comparisons name the codes of the dictionary `name`, at the last of the sites that it reads."""
    offered = planner.features.setdefault(model.name, {})
    full = f"{reads[-1].name}/{name}"
    offered[full] = replace(reads[-1], name=full, width=sum(site.width for site in reads))
    planner.dictionaries[model.name, full] = (stage, tuple(site.name for site in reads), writes)


# ------------------------------------------------------------------------------------------------------- training


def add_training(planner: Planner, spec: TrainSAE, model: ModelSpec) -> str:
    """Train a model's dictionaries, all of one number of tokens in one pass."""
    from bridge.tokens import stored_tokens

    sites = planner.chosen(model, spec.sites)
    writes = _written(planner, spec, model, list(sites))
    every = planner.chosen(model, [*sites, *([writes] if writes else [])])
    check_architecture(spec, list(sites.values()), transcodes=writes is not None)
    counts = {name: stored_tokens(site, spec.tokens) for name, site in every.items()}
    together = spec.joint or writes is not None
    places = {(site.grid, site.tokens - site.prefix) for site in every.values()}
    if together and (len(places) > 1 or len(set(counts.values())) > 1):
        raise ConfigError(
            f"saes {spec.name!r}: its sites have {', '.join(str(n) for n in sorted({n for _, n in places}))} patches "
            "a stimulus, and a token must be at one place in all; give sites of one grid."
        )
    seed, shown = planner.config.seed, spec.stimuli or planner.config.stimuli
    name = f"sae {spec.name} {model.name}"
    needs: tuple[str, ...] = ()
    if spec.source == "shards":
        needs = (planner.capture(model, list(every), stimuli=shown, tokens=spec.tokens),)

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        groups = [list(every)] if together else _grouped(counts)
        for number, group in enumerate(groups):
            source, held = _sources(planner, spec, model, group, needed.get(needs[0]) if needs else None)
            jobs = _jobs(spec, group, writes, seed)

            def told(report: Report, number: int = number) -> None:
                points = report.points.values()
                fvu = sum(point.fvu for point in points) / len(points)
                dead = sum(point.dead for point in points) / len(points)
                l0 = sum(point.l0 for point in points) / len(points)
                share = (number + report.step / report.steps) / len(groups)
                speed = f"{report.tokens_per_second:,.0f} tokens/s"
                if planner.log is not None:
                    planner.log(name.replace("/", "-"), report)
                progress(share, f"unexplained {fvu:.3f}, L0 {l0:.1f}, dead {dead:.0%}, {speed}")
                for warning in report.warnings:
                    import warnings

                    warnings.warn(warning, UserWarning, stacklevel=2)

            from saes.training import CHECKPOINT, train

            work = folder / f"group{number}"
            if (work / "done").exists():
                continue
            about = {
                "model_name": model.name,
                "weights": _weights(source),
                "stimuli": shown.name,
                "stimuli_used": {"kind": getattr(shown, "kind", ""), "count": len(planner.loaded(shown))},
                "model": model.content(),
            }
            trained = train(jobs, source, folder=work, metadata=about, progress=told, device=_device(planner))
            _keep(folder, trained, held, spec)
            (work / CHECKPOINT).unlink(missing_ok=True)
            write_atomically(work / "done", "")
        for number in range(len(groups)):
            (folder / f"group{number}" / "done").unlink()
            (folder / f"group{number}").rmdir()
        _write_results(folder, spec, model)

    def inputs() -> Mapping[str, Any]:
        left_out = ("models", "stimuli", "least_explained")
        content = {key: value for key, value in spec.content().items() if key not in left_out}
        own = {} if needs else {"model": model.fingerprint(), "stimuli": shown.fingerprint()}
        return {**content, "sites": list(every), "seed": seed, "name of model": model.name, **own}

    def size() -> Size:
        from saes.sources import HOOKS_RESERVOIR, SHARDS_RESERVOIR

        if (number := planner.number_of(shown)) is None:
            return Size()
        training, hooks = spec.training, spec.source == "hooks"
        each = number * (1 - training.held_out) * min(counts.values())
        seen = float(training.tokens or training.epochs * each)
        jobs = [
            TrainedAt(width, training.architecture.width(width))
            for width in (
                [sum(site.width for site in sites.values())] if spec.joint else [site.width for site in sites.values()]
            )
            for _ in range(spec.seeds)
        ]
        return trained(
            jobs,
            seen,
            round(each),
            sum(site.width for site in every.values()),
            reservoir=HOOKS_RESERVOIR if hooks else SHARDS_RESERVOIR,
            passes=seen / min(counts.values()) if hooks else 0.0,
            cost=planner.cost(model) if hooks else None,
        )

    code: tuple[str, ...] = ("saes.training", "saes.checkpoints", "saes.metrics", "saes.stability", __name__)
    if not needs:
        code += ("bridge.models", "bridge.stimuli", "bridge.activations")
    stage = planner.add(
        name,
        "saes",
        inputs,
        build,
        needs=needs,
        libraries=("torch",),
        code=code,
        resumable=True,
        on_device=True,
        size=size,
    )
    for own in spec.names():
        for reads in [list(sites.values())] if spec.joint else [[site] for site in sites.values()]:
            _offer(planner, model, reads, writes, own, stage)
    return stage


def _written(planner: Planner, spec: TrainSAE, model: ModelSpec, sites: Sequence[str]) -> str | None:
    """The site that transcoders write, by its own name. Raises ConfigError unless it is one site, none of `sites`."""
    if spec.writes is None:
        if spec.skip:
            raise ConfigError(f"saes {spec.name!r}: only transcoders have a `skip`; state the site that they write.")
        return None
    found = list(planner.chosen(model, [spec.writes]))
    if len(found) > 1:
        raise ConfigError(
            f"saes {spec.name!r}: writes {spec.writes!r} is {len(found)} sites of {model.name}; give one."
        )
    if spec.joint or found[0] in sites:
        raise ConfigError(f"saes {spec.name!r}: a transcoder reads one site and writes another; mend sites or `joint`.")
    return found[0]


def check_architecture(spec: TrainSAE, sites: Sequence[Site], *, transcodes: bool) -> None:
    """Raises ConfigError that names the dictionary for settings that do not fit the widths of its sites."""
    widths = [sum(site.width for site in sites)] if spec.joint else [site.width for site in sites]
    try:
        for width in widths:
            spec.training.architecture.check(width)
        spec.training.architecture.inference(transcodes=transcodes)
    except ConfigError as error:
        raise ConfigError(f"saes {spec.name!r}: {error}") from None


def _weights(source: Any) -> str:
    """The sha256 of the weights of the network that tokens come from: by it a dictionary knows its model again."""
    from bridge.activations import weights_sha256

    if (captured := getattr(source, "activations", None)) is not None:
        return str(captured.manifest["weights"])
    return weights_sha256(source.backbone)


def _grouped(counts: Mapping[str, int]) -> list[list[str]]:
    """Sites with the same number of tokens a stimulus: each group is one pass."""
    return [[site for site, n in counts.items() if n == count] for count in dict.fromkeys(counts.values())]


def _jobs(spec: TrainSAE, group: Sequence[str], writes: str | None, seed: int) -> list[Job]:
    from saes.training import Job

    reads = [site for site in group if site != writes]
    jobs = []
    for number, name in enumerate(spec.names()):
        training = spec.training.model_copy(update={"seed": spec.training.seed + seed + number})
        for chosen in [tuple(reads)] if spec.joint else [(site,) for site in reads]:
            start = _start(training.seed, chosen[-1])
            jobs.append(Job(f"{chosen[-1]}/{name}", chosen, training, writes, spec.skip, start))
    return jobs


def _start(seed: int, site: str) -> int:
    """The seed of the first directions of a site's dictionary: another one for every site. From one seed, dictionaries
    of one width start alike, and keep enough of it for matches between sites to find the start, not a shared feature.
    """
    return (seed + int(digest(site)[:8], 16)) % 2**32


def _device(planner: Planner) -> str:
    return planner.config.capture.resolved_device()


def _sources(planner: Planner, spec: TrainSAE, model: ModelSpec, group: list[str], shards: Path | None) -> Any:
    """(tokens to train on, tokens held out)."""
    from saes.sources import HookTokens, ShardTokens, divided

    share = spec.training.held_out
    if shards is not None:
        from bridge.activations import Activations

        captured = Activations(shards)
        train, held = divided(captured.ids, share)
        return ShardTokens(captured, group, train), ShardTokens(captured, group, held) if held else None
    shown = planner.loaded(spec.stimuli or planner.config.stimuli)
    train, held = divided(shown.ids, share)
    patches = spec.tokens if isinstance(spec.tokens, int) else None
    options: dict[str, Any] = {
        "patches": patches,
        "device": _device(planner),
        "workers": planner.config.capture.workers,
    }
    backbone = model.load()
    made = [HookTokens(backbone, shown, group, ids=ids, **options) if ids else None for ids in (train, held)]
    return made[0], made[1]


def _keep(folder: Path, trained: Mapping[str, Trained], held: Any, spec: TrainSAE) -> None:
    """Write each dictionary with its quality on held-out tokens, or on none where nothing was held out."""
    from dataclasses import asdict

    from saes.checkpoints import save
    from saes.metrics import evaluate_all
    from saes.stability import seed_stability

    quality: dict[str, Any] = {}
    if held is not None:
        measured = evaluate_all({name: one.sae for name, one in trained.items()}, _some(held))
        quality = {name: found.as_json() for name, found in measured.items()}
    for name, one in trained.items():
        first = f"{name.split('/')[0]}/{spec.name}"
        found = {"held_out": quality.get(name), "warnings": one.warnings}
        if name != first:
            directions = [trained[which].sae.decoder_directions for which in (first, name)]
            stable = seed_stability(*directions)
            found["seed_stability"] = {"mean_cosine": stable.mean, "share_above_.7": stable.share}
        one.sae.config.metadata["metrics"] = found["held_out"]
        save(one.sae, folder / name)
        history = [asdict(point) for point in one.history]
        write_atomically(folder / name / QUALITY, json.dumps({**found, "history": history}, indent=1))


def _some(source: Any) -> Iterator[dict[str, Any]]:
    seen = 0
    for batch in source.batches(4096, 0):
        yield batch
        seen += len(next(iter(batch.values())))
        if seen >= EVALUATED_TOKENS:
            return


def _write_results(folder: Path, spec: SAESpec, model: ModelSpec) -> None:
    """What the run's results say of the dictionaries; nothing is compared yet."""
    from saes.checkpoints import CFG, read_json

    made = [
        _record(spec, model, name, read_json(folder / name / CFG, "it is a dictionary's"), quality)
        for name, quality in quality_of(folder).items()
    ]
    made.sort(key=lambda one: one.name)  # seed by seed, each in the order of its sites
    write_atomically(
        folder / "results.json", json.dumps({"results": [], "dictionaries": [one.model_dump() for one in made]})
    )


def _record(
    spec: SAESpec, model: ModelSpec, name: str, cfg: Mapping[str, Any], quality: Mapping[str, Any]
) -> Dictionary:
    """A dictionary SITE/NAME as results.json has it, from its cfg.json and its quality."""
    about, held = cfg["metadata"], quality.get("held_out") or {}
    architecture = spec.training.architecture if isinstance(spec, TrainSAE) else None
    k = getattr(architecture, "k_for", lambda width: None)(cfg["d_in"]) if architecture else cfg.get("k")
    site, own = name.split("/")
    source = None
    if isinstance(spec, LoadSAE):
        source = " ".join(str(part) for part in (about.get("source") or spec.path, about.get("revision")) if part)
    return Dictionary(
        name=own,
        model=model.name,
        reads=tuple(about.get("sites") or [site]),
        writes=about.get("hook_name_out"),
        architecture=about.get("trained_as") or cfg["architecture"],
        source=source,
        latents=cfg["d_sae"],
        k=k,
        l0=held.get("l0"),
        unexplained=held.get("fvu"),
        dead=held.get("dead"),
        seed_stability=quality.get("seed_stability", {}).get("mean_cosine"),
        warnings=tuple(quality.get("warnings", ())),
    )


def quality_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The quality of each dictionary of an artefact, by SITE/NAME, block 2 before block 10."""
    found = {path.parent.relative_to(folder).as_posix(): path for path in folder.glob(f"*/*/{QUALITY}")}
    numbered = sorted(found, key=lambda name: [int(part) if part.isdigit() else part for part in _NUMBER.split(name)])
    return {name: json.loads(found[name].read_text()) for name in numbered}


_NUMBER = re.compile(r"(\d+)")


def recorded(plan: Plan, paths: Mapping[str, Path]) -> list[Dictionary]:
    """The dictionaries of a run in the order of its config, with what they explain of the stimuli compared; that stays
    None for dictionaries whose codes were not compared, or lie in the store no more."""
    codes: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for stage in plan.stages.values():
        if stage.kind == "codes" and (paths[stage.id] / CODES).is_file():
            about = json.loads((paths[stage.id] / CODES).read_text())
            codes[about["model"], about["dictionary"]] = stage.key, about
    found = []
    for stage in plan.stages.values():
        if stage.kind != "saes":
            continue
        for values in json.loads((paths[stage.id] / "results.json").read_text())["dictionaries"]:
            one = Dictionary.model_validate(values)
            key, about = codes.get((one.model, f"{one.reads[-1]}/{one.name}"), (None, {}))
            update: dict[str, Any] = {"artefacts": (stage.key, *([key] if key else ()))}
            if about:
                update |= {"explained": about["explained"]}
                if one.l0 is None:
                    update |= {"l0": about["l0"], "dead": about["dead"]}
            found.append(one.model_copy(update=update))
    return found


# -------------------------------------------------------------------------------------------------------- loading


def _add_loading(planner: Planner, spec: LoadSAE, model: ModelSpec) -> str:
    """Load a dictionary, hold it against the model, and keep a copy in SAELens's format."""
    known = planner.sites(model)
    names, writes = spec.places()
    if not names:
        raise ConfigError(
            f"saes {spec.name!r}: state the `site` that it is of; what can be read of {spec.path} before it is loaded "
            "names none."
        )
    for site in (*names, *([writes] if writes else [])):
        if site not in known:
            raise ConfigError(
                f"saes {spec.name!r} is of {site!r}, which {model.name} lacks; {did_you_mean(site, known)}."
            )
    reads, own = [known[name] for name in names], f"{names[-1]}/{spec.name}"
    captured = planner.capture(model, [*names, *([writes] if writes else [])])

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        from bridge.activations import Activations
        from saes.checkpoints import save
        from saes.hub import load

        # Activations show what a lost normalisation does, and hold statistics that some formats leave out.
        sae = load(
            spec.path,
            id=spec.id,
            revision=spec.revision,
            model=model.load(),
            site=names[-1],
            activations=Activations(needed[captured]),
            min_explained=spec.least_explained,
        )
        save(sae, folder / own)
        write_atomically(folder / own / QUALITY, json.dumps({"held_out": None, "warnings": []}))
        _write_results(folder, spec, model)

    def inputs() -> Mapping[str, Any]:
        named = {"name": spec.name, "name of model": model.name, "reads": names, "writes": writes}
        return {"dictionary": spec.fingerprint(), **named}

    stage = planner.add(
        f"sae {spec.name} {model.name}",
        "saes",
        inputs,
        build,
        needs=(captured,),
        libraries=("torch",),
        code=("saes.hub", __name__),
    )
    _offer(planner, model, reads, writes, spec.name, stage)
    return stage
