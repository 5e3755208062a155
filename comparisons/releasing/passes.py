"""From a config to the passes of its release: which dictionaries it wants, and which sites are trained together.

A dictionary is known again by its recipe: a hash of all that determines it. The recipe leaves out the other sites of
its pass, whose choice changes nothing but the rounding of a sum, so that a release can be made in parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from bridge.errors import ConfigError, InputError, UnreachableError, did_you_mean
from bridge.store import Store, digest
from bridge.streams import Site
from comparisons.plan import Plan, Planner, Recipe, need_models
from saes.specs.train import TrainSAE

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from comparisons.config import Config

Pass = tuple[str, str, tuple[str, ...]]
"""(name of the `saes` entry, name of the model, sites): what is trained together."""


@dataclass(frozen=True)
class Wanted:
    """One dictionary of a release."""

    id: str
    """Its folder: SITE/NAME, under its model's name where the config has several models."""
    entry: str
    """Name of the `saes` entry that it comes from."""
    model: str
    site: Site
    name: str
    latents: int
    k: int | None
    recipe: str
    """Hash of all that determines it; empty where a part of that cannot be known without a network."""

    @property
    def bytes(self) -> int:
        """Of its weights as float32: encoder, decoder, two biases."""
        return 4 * (2 * self.site.width * self.latents + self.latents + self.site.width)


def wanted(config: Config, planner: Planner, only: Sequence[str] = ()) -> list[Wanted]:
    """The dictionaries of a config's release, entry by entry, in the order of a forward pass; of sites that match one
    of the globs `only`, where some are given.

    Raises ConfigError for a config without dictionaries to train, for kinds that are no plain dictionary of one site,
    for sites that do not exist, and for a glob that matches none of them.
    """
    need_models(config, "dictionaries are of networks")
    entries = [entry for entry in config.saes if isinstance(entry, TrainSAE)]
    if not entries:
        raise ConfigError("saes: names nothing to train; add at least one (such as {kind: train, name: topk}).")
    from comparisons.dictionaries import check_architecture, models_of

    found = []
    for entry in entries:
        if entry.joint or entry.writes is not None:
            raise ConfigError(
                f"saes {entry.name!r} is a {'crosscoder' if entry.joint else 'transcoder'}; a release holds "
                "dictionaries of one site each: make it by `ventral sae train` and publish it by `ventral sae push`."
            )
        for model in models_of(planner, entry):
            sites = list(planner.chosen(model, entry.sites).values())
            check_architecture(entry, sites, transcodes=False)
            about = _determined_by(config, entry, model)
            for number, name in enumerate(entry.names()):
                found += [_wanted(config, entry, model, site, name, about, number) for site in sites]
    names = list(dict.fromkeys(one.site.name for one in found))
    for glob in only:
        if not any(fnmatch(name, glob) for name in names):
            raise ConfigError(
                f"--only was given {glob!r}, which no site of the release matches; {did_you_mean(glob, names)}."
            )
    return [one for one in found if not only or any(fnmatch(one.site.name, glob) for glob in only)]


def _wanted(
    config: Config,
    entry: TrainSAE,
    model: ModelSpec,
    site: Site,
    name: str,
    about: Mapping[str, Any] | None,
    number: int,
) -> Wanted:
    architecture, own = entry.training.architecture, f"{site.name}/{name}"
    return Wanted(
        own if len(config.models) == 1 else f"{model.name.replace('/', '-')}/{own}",
        entry.name,
        model.name,
        site,
        name,
        architecture.width(site.width),
        getattr(architecture, "k_for", lambda width: None)(site.width),
        digest({**about, "site": site.name, "number": number}) if about is not None else "",
    )


def _determined_by(config: Config, entry: TrainSAE, model: ModelSpec) -> dict[str, Any] | None:
    """All but the site and the number of the seed that determines a dictionary: the entry, the network, the stimuli.
    None where that cannot be known: no network, or no stimuli."""
    left_out = {"name", "models", "sites", "seeds", "stimuli", "least_explained"}
    about: dict[str, Any] = {key: value for key, value in entry.content().items() if key not in left_out}
    try:
        shown = (entry.stimuli or config.stimuli).fingerprint()
        about |= {"model": model.fingerprint(), "stimuli": shown, "seed": config.seed}
    except (UnreachableError, InputError):
        return None
    captured = ("dtype", "compute") if entry.source == "shards" else ()
    return {**about, **{key: getattr(config.capture, key) for key in captured}}


def passes(missing: Sequence[Wanted], width: int) -> list[Pass]:
    """The dictionaries that are missing, as passes: in order, as many sites of one entry and model as are `width`
    dimensions wide together. All seeds of a site are trained in one pass."""
    made: list[Pass] = []
    room = 0
    for entry, model, site in dict.fromkeys((one.entry, one.model, one.site) for one in missing):
        if made and made[-1][:2] == (entry, model) and site.width <= room:
            made[-1] = (entry, model, (*made[-1][2], site.name))
            room -= site.width
        else:
            made.append((entry, model, (site.name,)))
            room = width - site.width
    return made


def plan_passes(config: Config, store: Store, chosen: Sequence[Pass], *, shown_only: bool = False) -> Plan:
    """The graph that trains some passes; `results` are their stages, in order."""
    from comparisons.dictionaries import add_training

    planner = Planner(config, store, shown_only=shown_only)
    models, entries = planner.models, {entry.name: entry for entry in config.saes}
    results = []
    for number, (name, model, sites) in enumerate(chosen, start=1):
        entry = entries[name]
        assert isinstance(entry, TrainSAE)
        planner.prefix = f"pass {number}: " if len(chosen) > 1 else ""
        results.append(add_training(planner, entry.model_copy(update={"sites": list(sites)}), models[model]))
    told = tuple(json.dumps(one) for one in chosen)
    return planner.finish(results, Recipe("plan_passes", json.dumps(config.content()), told))
