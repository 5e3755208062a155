"""What a submission is made of: the model, the sites that its regions may have, their dictionaries and latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.streams import Site
from comparisons.brainscore.submission import Choice, Submission
from comparisons.plan import Planner, Progress

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from comparisons.config import Config

SIMPLICITY = "simplicity.npy"
NEEDS_SIMPLICITY = ("simple", "complex", "ablated")


@dataclass(frozen=True)
class Parts:
    """A submission's model, its candidate sites in the order of a forward pass, and what its stages make."""

    spec: Submission
    model: ModelSpec
    sites: dict[str, Site]
    given: dict[str, str]
    """The sites of regions that are not chosen."""
    dictionary: str | None
    made: dict[str, str]
    """By site, the stage that makes its dictionary."""

    def folder(self, paths: Mapping[str, Path], site: str) -> Path:
        """The folder of a site's dictionary."""
        return paths[self.made[site]] / f"{site}/{self.dictionary}"


def submission_of(config: Config) -> Submission:
    """The section. Raises ConfigError where the config has none."""
    if config.submission is None:
        raise ConfigError(
            "submission: is missing; state at least its `identifier` and `regions`, such as "
            "{identifier: my-model, regions: {V1: SITE, V2: SITE, V4: SITE, IT: SITE}}."
        )
    return config.submission


def parts_of(planner: Planner) -> Parts:
    """What the config's submission asks for; the stages of its dictionaries are added to the plan.

    Raises ConfigError for models, sites, dictionaries and recordings that do not exist or do not fit.
    """
    config = planner.config
    spec = submission_of(config)
    model = _model(config, spec)
    choices = [one for one in spec.regions.values() if isinstance(one, Choice)]
    _check_recordings(config, choices)
    given = {}
    for region, one in spec.regions.items():
        if isinstance(one, str):
            found = list(_chosen(planner, model, [one], f"regions.{region}"))
            if len(found) > 1:
                raise ConfigError(f"submission.regions.{region}: {one!r} is {len(found)} sites; give one.")
            given[str(region)] = found[0]
    patterns = [*given.values(), *(spec.sites if choices else [])]
    sites = _chosen(planner, model, patterns, "sites")
    if spec.pool == "class" and not all(site.prefix for site in sites.values()):
        raise ConfigError(f"submission.pool: {model.name} has no class token; take mean or max.")
    made: dict[str, str] = {}
    dictionary = None
    if any(kind != "raw" for kind in spec.features):
        from comparisons.plan import add_dictionaries

        add_dictionaries(planner)
        dictionary = _dictionary(config, spec, model)
        for name in list(sites):
            if (stage := _stage_of(planner, spec, model, name, dictionary)) is not None:
                made[name] = stage
            elif name in given.values():
                known = [full for owner, full in planner.dictionaries if owner == model.name]
                raise ConfigError(
                    f"submission: {name} of {model.name} has no dictionary {dictionary!r}; "
                    f"{did_you_mean(f'{name}/{dictionary}', known)}."
                )
            else:
                del sites[name]  # a site of a glob, for which nothing was trained
    if not sites:
        raise ConfigError(f"submission.sites: none of the sites has a dictionary {dictionary!r}; train some.")
    return Parts(spec, model, sites, given, dictionary, made)


def _model(config: Config, spec: Submission) -> ModelSpec:
    known = {model.name: model for model in config.models}
    if spec.model is not None and spec.model not in known:
        raise ConfigError(f"submission.model: there is no model {spec.model!r}; {did_you_mean(spec.model, known)}.")
    if spec.model is None and len(known) != 1:
        raise ConfigError(f"submission.model: the config has {len(known)} models; name one of {', '.join(known)}.")
    return known[spec.model] if spec.model is not None else config.models[0]


def _chosen(planner: Planner, model: ModelSpec, patterns: list[str], where: str) -> dict[str, Site]:
    try:
        return planner.chosen(model, patterns)
    except ConfigError as error:
        raise ConfigError(f"submission.{where}: {str(error).removeprefix('sites, ')}") from None


def _check_recordings(config: Config, choices: Sequence[Choice]) -> None:
    known = [one.name for one in config.recordings]
    for choice in choices:
        if choice.recordings is not None and choice.recordings not in known:
            raise ConfigError(
                f"submission.regions: there are no recordings {choice.recordings!r}; "
                f"{did_you_mean(choice.recordings, known)}."
            )


def _dictionary(config: Config, spec: Submission, model: ModelSpec) -> str:
    names = [name for sae in config.saes if sae.models is None or model.name in sae.models for name in sae.names()]
    if spec.dictionary is not None and spec.dictionary not in names:
        raise ConfigError(
            f"submission.dictionary: {model.name} has no dictionaries {spec.dictionary!r}; "
            f"{did_you_mean(spec.dictionary, names)}."
        )
    if spec.dictionary is None and len(names) != 1:
        raise ConfigError(
            f"submission.dictionary: {model.name} has {len(names)} kinds of dictionaries "
            f"({', '.join(names) or 'none'}); name one that stands under `saes`."
        )
    return spec.dictionary or names[0]


def _stage_of(planner: Planner, spec: Submission, model: ModelSpec, site: str, dictionary: str) -> str | None:
    """The stage that makes a site's dictionary; None where there is none. Raises ConfigError for one of several sites,
    and for a transcoder where what it writes is asked for."""
    found = planner.dictionaries.get((model.name, f"{site}/{dictionary}"))
    if found is None:
        return None
    stage, reads, writes = found
    if len(reads) > 1:
        raise ConfigError(
            f"submission.dictionary: {dictionary!r} reads {len(reads)} sites together; give dictionaries of one site."
        )
    if writes is not None and "ablated" in spec.features:
        raise ConfigError(
            f"submission.features: {dictionary!r} writes {writes}, not the site that it reads, so that nothing of it "
            "can be ablated there; give an autoencoder."
        )
    return stage


# ------------------------------------------------------------------------------------------------------ simplicity


def simplicity_stage(planner: Planner, parts: Parts, site: str) -> str:
    """The stage that scores the latents of a site's dictionary: Gabor simplicity of each, [d_sae]."""
    made, full = parts.made[site], f"{site}/{parts.dictionary}"
    config = planner.config

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        from comparisons.feature_simplicity import feature_simplicity, pre_activations
        from saes.checkpoints import read_folder

        sae = read_folder(needed[made] / full)
        scores = feature_simplicity(
            parts.model.load(),
            {site: pre_activations(sae)},
            images=parts.spec.simplicity_images,
            seed=config.seed,
            device=config.capture.resolved_device(),
            progress=progress,
        )
        np.save(folder / SIMPLICITY, scores[site])

    inputs = {
        "model": parts.model.fingerprint(),
        "dictionary": full,
        "images": parts.spec.simplicity_images,
        "seed": config.seed,
    }
    code = ("comparisons.feature_simplicity", "probes.simplicity", "bridge.models", "bridge.stimuli")
    return planner.add(
        f"simplicity {parts.model.name} {full}",
        "simplicity",
        inputs,
        build,
        needs=(made,),
        libraries=("torch",),
        code=code,
        shared=True,
    )


def latents_of(scores: np.ndarray, kind: str, where: str) -> list[int]:
    """The latents that are `simple` (score .5 or more) or `complex` (.1 or less), by number.

    Raises InputError where there is none.
    """
    from probes.simplicity import COMPLEX_TO, SIMPLE_FROM

    chosen = scores >= SIMPLE_FROM if kind == "simple" else scores <= COMPLEX_TO
    if not chosen.any():
        raise InputError(
            f"None of the {len(scores)} latents of {where} is {kind} (Gabor simplicity "
            f"{np.nanmin(scores, initial=np.inf):.2f} to {np.nanmax(scores, initial=-np.inf):.2f}; simple from "
            f"{SIMPLE_FROM}, complex to {COMPLEX_TO}); leave that kind out, or give another site."
        )
    return [int(number) for number in np.flatnonzero(chosen)]


def feature_of(parts: Parts, kind: str, site: str, scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The entry of submission.json for one site's features."""
    if kind == "raw":
        return {"kind": kind}
    entry: dict[str, Any] = {"kind": kind, "dictionary": f"{site}/{parts.dictionary}"}
    if kind in NEEDS_SIMPLICITY:
        which = parts.spec.ablate if kind == "ablated" else kind
        entry["latents"] = latents_of(scores[site], which, f"{site}/{parts.dictionary}")
    return entry
