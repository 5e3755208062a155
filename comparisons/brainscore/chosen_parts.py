"""What a submission is made of: the model, the sites that its regions may have, their dictionaries and latents."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.streams import Site
from comparisons.brainscore.network_made import check_kind
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
    names: dict[str, str]
    """By site, its dictionary SITE/NAME."""
    made: dict[str, str]
    """By site, the stage that makes its dictionary."""

    def folder(self, paths: Mapping[str, Path], site: str) -> Path:
        """The folder of a site's dictionary."""
        return paths[self.made[site]] / self.names[site]


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
    check_kind(model)
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
    names: dict[str, str] = {}
    if any(kind != "raw" for kind in spec.features):
        from comparisons.plan import add_dictionaries

        add_dictionaries(planner)
        names = _dictionaries(planner, spec, model, list(sites), list(given.values()))
        sites = {name: site for name, site in sites.items() if name in names}
    made = {site: _stage_of(planner, spec, model, name) for site, name in names.items()}
    return Parts(spec, model, sites, given, names, made)


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
    from bridge.brainscore import check_registered

    known = [one.name for one in config.recordings]
    for choice in choices:
        if choice.benchmark is not None:
            check_registered("benchmark", choice.benchmark)
        if choice.recordings is not None and choice.recordings not in known:
            raise ConfigError(
                f"submission.regions: there are no recordings {choice.recordings!r}; "
                f"{did_you_mean(choice.recordings, known)}."
            )


def _dictionaries(
    planner: Planner, spec: Submission, model: ModelSpec, sites: Sequence[str], given: Sequence[str]
) -> dict[str, str]:
    """The dictionary SITE/NAME of each site; those that no region was given may have none.

    Raises ConfigError where one that is needed is missing, and where a site has several.
    """
    known = [full for owner, full in planner.dictionaries if owner == model.name]
    names = [full.split("/")[1] for full in known]
    if not fnmatch.filter(names, spec.dictionary):
        raise ConfigError(
            f"submission.dictionary: {model.name} has no dictionary {spec.dictionary!r}; "
            f"{did_you_mean(spec.dictionary, names)}."
        )
    found = {}
    for site in sites:
        mine = [full for full in known if fnmatch.fnmatch(full, f"{site}/{spec.dictionary}")]
        if len(mine) > 1:
            raise ConfigError(
                f"submission.dictionary: {site} of {model.name} has {len(mine)} dictionaries; name one of "
                f"{', '.join(full.split('/')[1] for full in mine)}."
            )
        if mine:
            found[site] = mine[0]
        elif site in given:
            raise ConfigError(
                f"submission.regions: {site} of {model.name} has no dictionary {spec.dictionary!r}; "
                f"{did_you_mean(f'{site}/{spec.dictionary}', known)}."
            )
    if not found:
        raise ConfigError(f"submission.sites: none of them has a dictionary; {did_you_mean(sites[0], known)}.")
    return found


def _stage_of(planner: Planner, spec: Submission, model: ModelSpec, name: str) -> str:
    """The stage that makes a dictionary. Raises ConfigError for one of several sites, and for a transcoder where what
    it writes is asked for."""
    stage, reads, writes = planner.dictionaries[model.name, name]
    if len(reads) > 1:
        raise ConfigError(
            f"submission.dictionary: {name} reads {len(reads)} sites together; give one of a single site."
        )
    if writes is not None and "ablated" in spec.features:
        raise ConfigError(
            f"submission.features: {name} writes {writes}, not the site that it reads, so that nothing of it can be "
            "ablated there; give an autoencoder."
        )
    return stage


# ------------------------------------------------------------------------------------------------------ simplicity


def simplicity_stage(planner: Planner, parts: Parts, site: str) -> str:
    """The stage that scores the latents of a site's dictionary: Gabor simplicity of each, [d_sae]."""
    made, full = parts.made[site], parts.names[site]
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
    entry: dict[str, Any] = {"kind": kind, "dictionary": parts.names[site]}
    if kind in NEEDS_SIMPLICITY:
        which = parts.spec.ablate if kind == "ablated" else kind
        entry["latents"] = latents_of(scores[site], which, parts.names[site])
    return entry
