"""`ventral probe --card`: the cards of features by name, presented with all that they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, did_you_mean
from bridge.streams import Site
from comparisons import characterise
from comparisons.card_data import ReceptiveField, Subject, make_cards, middle_tokens
from comparisons.characterise import present, units
from comparisons.lineage import Lineages, Place
from comparisons.noise import present_noise
from comparisons.probing.chosen import dictionary
from comparisons.probing.fields import receptive_field
from comparisons.report.cards import Card, draw_card

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet
    from comparisons.config import Config

NOISE = 4000
"""Noise images behind a receptive field."""
SCENES = 240
"""Drawn images among which the strongest are looked for."""
Dictionaries = Mapping[str, Path]
"""Folders of a model's dictionaries by SITE/NAME."""


def write_cards(
    config: Config, wanted: Sequence[str], folder: Path, dictionaries: Mapping[str, Dictionaries] | None = None
) -> list[Path]:
    """Draw the cards of features named MODEL:SITE:FEATURE, or MODEL:SITE/NAME:LATENT for a dictionary's, of a config's
    models; the paths written. `dictionaries` are those that the run made, by model.

    Raises ConfigError for a name of another form, or of what does not exist.
    """
    models = {model.name: model for model in config.models}
    written = []
    for name, mine in _asked(models, wanted).items():
        found = collect(config, models[name], mine, (dictionaries or {}).get(name, {}))
        for (site, feature), card in zip(mine, found, strict=True):
            written += draw_card(card, folder, f"{name}-{site}-{feature}")
    return written


def check_cards(config: Config, wanted: Sequence[str]) -> None:
    """Raise, before anything is computed, what `write_cards` would: for a name's form, a model and a site."""
    models = {model.name: model for model in config.models}
    for name, mine in _asked(models, wanted).items():
        backbone = models[name].load()
        for site, _ in mine:
            _known_site(backbone, site.partition("/")[0])


def _asked(models: Mapping[str, ModelSpec], wanted: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """(site or SITE/NAME, number) by model."""
    asked: dict[str, list[tuple[str, int]]] = {}
    for text in wanted:
        # Names may hold colons: the longest name that fits is meant.
        model = max((name for name in models if text.startswith(f"{name}:")), key=len, default=text.partition(":")[0])
        site, _, number = text.removeprefix(model).removeprefix(":").rpartition(":")
        if not site or not number.isdecimal():
            raise ConfigError(f"--card was given {text!r}; expected MODEL:SITE:FEATURE, such as {next(iter(models))}:"
                              "blocks.0.hook_resid_post:3.")  # fmt: skip
        if model not in models:
            raise ConfigError(f"--card: there is no model {model!r}; {did_you_mean(model, models)}.")
        asked.setdefault(model, []).append((site, int(number)))
    return asked


def _known_site(backbone: Backbone, site: str) -> None:
    if site not in backbone.sites:
        raise ConfigError(f"--card: {backbone.name} has no site {site!r}; {did_you_mean(site, backbone.sites)}.")


def collect(
    config: Config, model: ModelSpec, wanted: Sequence[tuple[str, int]], dictionaries: Dictionaries | None = None
) -> list[Card]:
    """The cards of features (site or SITE/NAME, number) of a model.

    Raises ConfigError for a site, a dictionary or a feature that does not exist, and for networks that read texts.
    """
    backbone = model.load()
    preprocessing = backbone.preprocessing
    if preprocessing is None:
        raise ConfigError(f"--card: {model.name} reads texts; cards are of networks that read images.")
    known = dictionaries or {}
    subjects = [_subject(backbone, name, feature, known) for name, feature in wanted]
    sites = _stream(backbone, subjects, known)
    middle = middle_tokens(sites)
    gratings = characterise.tuning_battery(preprocessing, seed=config.seed).load()
    scenes = _scenes(preprocessing.resize or preprocessing.size, config.seed)
    shown, seen = present(backbone, gratings, middle), present(backbone, scenes, middle)
    lineages = {}
    for name in dict.fromkeys(one.name.partition("/")[2] or None for one in subjects):
        lineages[name] = Lineages([
            Place(full, sites[site].depth, np.concatenate([codes(part[site]).pre[:, 0] for part in (shown, seen)]))
            for full, site, codes in _members(name, sites, known)
        ])  # fmt: skip
    return make_cards(
        backbone, subjects, gratings.table, shown, scenes, lineages, _fields(backbone, subjects, config.seed)
    )


def _subject(backbone: Backbone, name: str, feature: int, known: Dictionaries) -> Subject:
    site, _, of = name.partition("/")
    _known_site(backbone, site)
    if of and name not in known:
        hint = did_you_mean(name, known) if known else "the config has no `saes` of it"
        raise ConfigError(f"--card: {backbone.name} has no dictionary {name!r}; {hint}.")
    codes = dictionary(known[name])[0] if of else units
    found = backbone.sites[site]
    width = codes(np.zeros((1, 1, found.width), np.float32)).pre.shape[2]
    if feature >= width:
        raise ConfigError(f"--card: {name} has features 0 to {width - 1}, not {feature}.")
    return Subject(name, found, codes, feature)


def _stream(backbone: Backbone, subjects: Sequence[Subject], known: Dictionaries) -> dict[str, Site]:
    """The sites that are presented to: the stream, those of the subjects, and those of dictionaries."""
    own = [name for name in backbone.sites if name == "blocks.0.hook_resid_pre" or name.endswith("hook_resid_post")]
    names = [*own, *(one.site.name for one in subjects), *(name.partition("/")[0] for name in known)]
    return {name: backbone.sites[name] for name in dict.fromkeys(names)}


def _members(name: str | None, sites: Mapping[str, Site], known: Dictionaries) -> list[tuple[str, str, Any]]:
    """(name, site, codes) of what a history runs along: the stream's units, or the dictionaries of one name."""
    if name is None:
        return [(site, site, units) for site in sites]
    mine = [full for full in known if full.partition("/")[2] == name]
    return [(full, full.partition("/")[0], dictionary(known[full])[0]) for full in mine]


def _scenes(size: int, seed: int) -> StimulusSet:
    from bridge.stimuli.battery import Battery

    part = SCENES // 3
    families: dict[Any, int] = {"textures": part, "shapes": part, "scenes": part}
    return Battery(name="scenes", families=tuple(families), size=size, limit=families, seed=seed + 1).load()


def _fields(backbone: Backbone, subjects: Sequence[Subject], seed: int) -> dict[tuple[str, int], ReceptiveField]:
    """The receptive fields of the subjects, from noise."""
    sites = {one.site.name: one.site for one in subjects}
    extent = characterise.effective_fields(backbone, sites)
    found = {}
    for noise in present_noise(backbone, sites, extent, NOISE, seed=seed):
        for one in (one for one in subjects if one.site.name in noise.values):
            responses = one.codes(noise.values[one.site.name][:, None]).pre[:, 0, [one.feature]]
            field = receptive_field(noise, responses)
            if field is not None:
                found[one.name, one.feature] = field
    return found
