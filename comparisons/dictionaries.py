"""Dictionaries in a run: the stages that train or load them, and their codes for the stimuli compared.

A model's dictionaries of one `saes` entry are one artefact: a folder a dictionary, SITE/NAME as comparisons name its
codes, in SAELens's format, with `quality.json` beside it. The codes of one are an artefact: sparse, with the share of
variance that the dictionary explains of these stimuli.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.store import write_atomically
from bridge.streams import Site
from comparisons.plan import Planner, Progress
from saes.specs import SAESpec
from saes.specs.load import LoadSAE
from saes.specs.train import TrainSAE

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from bridge.models import ModelSpec
    from bridge.readers import Activations
    from saes.sae import SparseAutoencoder
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
                stages.append(_add_training(planner, spec, model))
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


def _offer(planner: Planner, model: ModelSpec, site: Site, sites: Sequence[str], name: str, stage: str) -> None:
    """Let comparisons name the codes of `name` at `site`, which are made from what is captured at `sites`."""
    offered = planner.features.setdefault(model.name, {})
    offered[f"{site.name}/{name}"] = replace(site, name=f"{site.name}/{name}")
    planner.dictionaries[model.name, f"{site.name}/{name}"] = (stage, tuple(sites))


# ------------------------------------------------------------------------------------------------------- training


def _add_training(planner: Planner, spec: TrainSAE, model: ModelSpec) -> str:
    """Train a model's dictionaries, all of one number of tokens in one pass."""
    from bridge.tokens import stored_tokens

    sites = planner.chosen(model, spec.sites)
    wanted = [*sites, *([spec.writes] if spec.writes is not None and spec.writes not in sites else [])]
    every = planner.chosen(model, wanted)
    if spec.writes is not None and (spec.joint or spec.writes in sites):
        raise ConfigError(f"saes {spec.name!r}: a transcoder reads one site and writes another; mend sites or `joint`.")
    if spec.skip and spec.writes is None:
        raise ConfigError(f"saes {spec.name!r}: only transcoders have a `skip`; state the site that they write.")
    for site in sites.values():
        spec.training.architecture.check(site.width)
        spec.training.architecture.inference(transcodes=spec.writes is not None)
    counts = {name: stored_tokens(site, spec.tokens) for name, site in every.items()}
    together = spec.joint or spec.writes is not None
    if together and len(set(counts.values())) > 1:
        raise ConfigError(
            f"saes {spec.name!r}: its sites have {', '.join(map(str, sorted(set(counts.values()))))} tokens a "
            "stimulus, and a token must be at one place in all; give sites of one grid."
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
            jobs = _jobs(spec, group, seed)

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
            about = {"model_name": model.name, "stimuli": shown.name, "model": model.content()}
            trained = train(jobs, source, folder=work, metadata=about, progress=told, device=_device(planner))
            _keep(folder, trained, held)
            (work / CHECKPOINT).unlink(missing_ok=True)
            write_atomically(work / "done", "")
        for number in range(len(groups)):
            (folder / f"group{number}" / "done").unlink()
            (folder / f"group{number}").rmdir()
        _write_results(folder, spec, model)

    def inputs() -> Mapping[str, Any]:
        content = {key: value for key, value in spec.content().items() if key not in ("models", "stimuli")}
        own = {} if needs else {"model": model.fingerprint(), "stimuli": shown.fingerprint()}
        return {**content, "sites": list(every), "seed": seed, "name of model": model.name, **own}

    code = ("saes.training", "saes.checkpoints", "saes.metrics", __name__)
    stage = planner.add(name, "saes", inputs, build, needs=needs, libraries=("torch",), code=code, resumable=True)
    for own in spec.names():
        if spec.joint:
            last = list(sites.values())[-1]
            _offer(planner, model, replace(last, width=sum(s.width for s in sites.values())), list(sites), own, stage)
        else:
            for site in sites.values():
                _offer(planner, model, site, [site.name], own, stage)
    return stage


def _grouped(counts: Mapping[str, int]) -> list[list[str]]:
    """Sites with the same number of tokens a stimulus: each group is one pass."""
    return [[site for site, n in counts.items() if n == count] for count in dict.fromkeys(counts.values())]


def _jobs(spec: TrainSAE, group: Sequence[str], seed: int) -> list[Job]:
    from saes.training import Job

    reads = [site for site in group if site != spec.writes]
    jobs = []
    for number, name in enumerate(spec.names()):
        training = spec.training.model_copy(update={"seed": spec.training.seed + seed + number})
        for chosen in [tuple(reads)] if spec.joint else [(site,) for site in reads]:
            jobs.append(Job(f"{chosen[-1]}/{name}", chosen, training, spec.writes, spec.skip))
    return jobs


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
    shown = planner.stimuli if spec.stimuli is None else spec.stimuli.load()
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


def _keep(folder: Path, trained: Mapping[str, Trained], held: Any) -> None:
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
        site, own = name.split("/")
        first = f"{site}/{own.split('.')[0]}"
        found = {"held_out": quality.get(name), "warnings": one.warnings, "seconds": round(one.seconds, 1)}
        if name != first and first in trained:
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
    """What the report says of the dictionaries: nothing is compared, so there are no results yet."""
    found = quality_of(folder)
    dropped = [
        f"{model.name} {name}: {warning}" for name, about in found.items() for warning in about.get("warnings", ())
    ]
    write_atomically(folder / "results.json", json.dumps({"results": [], "dropped": dropped}))


def quality_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The quality of each dictionary of an artefact, by SITE/NAME."""
    return {
        path.parent.relative_to(folder).as_posix(): json.loads(path.read_text())
        for path in sorted(folder.glob(f"*/*/{QUALITY}"))
    }


# -------------------------------------------------------------------------------------------------------- loading


def _add_loading(planner: Planner, spec: LoadSAE, model: ModelSpec) -> str:
    """Load a dictionary, hold it against the model, and keep a copy in SAELens's format."""
    known = planner.sites(model)
    site = spec.site or spec.named_site()
    if site is None:
        raise ConfigError(f"saes {spec.name!r}: state the `site` that it is of; its files cannot be asked beforehand.")
    if site not in known:
        raise ConfigError(f"saes {spec.name!r} is of {site!r}, which {model.name} lacks; {did_you_mean(site, known)}.")

    captured = planner.capture(model, [site])

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
            site=site,
            activations=Activations(needed[captured]),
            min_explained=spec.least_explained,
        )
        save(sae, folder / site / spec.name)
        write_atomically(folder / site / spec.name / QUALITY, json.dumps({"held_out": None, "warnings": []}))
        _write_results(folder, spec, model)

    def inputs() -> Mapping[str, Any]:
        return {"dictionary": spec.fingerprint(), "name": spec.name, "model": model.fingerprint(), "site": site}

    stage = planner.add(
        f"sae {spec.name} {model.name}",
        "saes",
        inputs,
        build,
        needs=(captured,),
        libraries=("torch",),
        code=("saes.hub", __name__),
    )
    _offer(planner, model, known[site], [site], spec.name, stage)
    return stage


# ---------------------------------------------------------------------------------------------------------- codes


def codes_stage(planner: Planner, model: ModelSpec, name: str) -> str:
    """The stage that encodes the config's stimuli by one dictionary, SITE/NAME."""
    made, sites = planner.dictionaries[model.name, name]
    captured = planner.capture(model, sites)
    spec = next(one for one in planner.config.saes if name.split("/")[1] in one.names())
    least = spec.least_explained

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        from bridge.activations import Activations
        from saes.checkpoints import read_folder

        sae = read_folder(needed[made] / name)
        explained = _write_codes(folder, sae, Activations(needed[captured]), sites, progress)
        if explained < least:
            raise InputError(
                f"The dictionary {name} explains {explained:.0%} of the variance of {model.name}'s activations to "
                f"these stimuli, less than the {least:.0%} of least_explained: it is of another model, site or "
                "normalisation, or was trained too little; mend that, or lower least_explained to go on."
            )

    return planner.add(
        f"codes {model.name} {name}",
        "codes",
        {"dictionary": name, "sites": list(sites), "least_explained": least},
        build,
        needs=(made, captured),
        libraries=("torch", "scipy"),
        code=("saes.sae", "saes.checkpoints", "saes.reconstruction", __name__),
        shared=True,
    )


def _write_codes(
    folder: Path, sae: SparseAutoencoder, captured: Activations, sites: Sequence[str], progress: Progress
) -> float:
    """codes.npz (CSR over all tokens, stimulus by stimulus) and codes.json; the share of variance explained."""
    import torch
    from scipy.sparse import vstack

    from saes.reconstruction import ReconstructionError

    parts, error, done = [], ReconstructionError(), 0
    tokens = captured.shape(sites[0])[1]
    for blocks in zip(*(captured.rows(site, 64) for site in sites), strict=True):
        values = [torch.from_numpy(np.ascontiguousarray(value)).flatten(0, 1) for _, value in blocks]
        x = torch.cat(values, 1)
        codes = sae.encode_sparse(x)
        parts.append(codes.scipy())
        if not sae.config.transcodes:
            error.add(x, sae.decode_sparse(codes, x))
        done += len(blocks[0][0])
        progress(done / len(captured))
    matrix: csr_matrix = vstack(parts, format="csr")
    np.savez(folder / "codes.npz", data=matrix.data, indices=matrix.indices, indptr=matrix.indptr)
    explained = 1.0 if sae.config.transcodes else 1 - error.fvu
    about = {"ids": list(captured.ids), "tokens": tokens, "latents": sae.d_sae, "explained": explained}
    write_atomically(folder / "codes.json", json.dumps(about))
    return explained


def read_codes(folder: Path, name: str, ids: Sequence[str], pool: str) -> Any:
    """The codes of the stimuli `ids`: [n, tokens x latents] (pool `none`), or their mean or max over tokens
    [n, latents], scipy CSR. Raises InputError for unknown ids."""
    from scipy.sparse import csr_array, csr_matrix

    about = json.loads((folder / "codes.json").read_text())
    tokens, latents = about["tokens"], about["latents"]
    row_of = {stimulus: row for row, stimulus in enumerate(about["ids"])}
    missing = [stimulus for stimulus in ids if stimulus not in row_of]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(ids)} stimulus ids have no codes of {name} (the first: {missing[0]!r}); give both "
            "sides the same ids."
        )
    with np.load(folder / "codes.npz", allow_pickle=False) as arrays:
        shape = (len(about["ids"]) * tokens, latents)
        matrix = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
    rows = (np.array([row_of[stimulus] for stimulus in ids])[:, None] * tokens + np.arange(tokens)).reshape(-1)
    matrix = matrix[rows]
    if pool == "none":
        # Token t's latents become the features t * latents .. : rows of one stimulus are laid side by side.
        place = np.repeat(np.tile(np.arange(tokens), len(ids)), np.diff(matrix.indptr))
        indices = matrix.indices.astype(np.int64) + place * latents
        return csr_array((matrix.data, indices, matrix.indptr[::tokens].copy()), shape=(len(ids), tokens * latents))
    summed = csr_matrix(
        (np.ones(len(rows), matrix.dtype), np.arange(len(rows)), np.arange(0, len(rows) + 1, tokens)),
        shape=(len(ids), len(rows)),
    )
    if pool == "mean":
        return csr_array(summed @ matrix / np.float32(tokens))
    stacked = [matrix[at * tokens : (at + 1) * tokens].max(axis=0) for at in range(len(ids))]
    from scipy.sparse import vstack

    return csr_array(vstack(stacked, format="csr"))
