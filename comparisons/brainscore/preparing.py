"""A submission before it is written: its dictionaries made, its latents scored, the sites of its regions chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, InputError
from bridge.store import Store
from comparisons.brainscore.choosing import best, layer_features, scores_on_benchmark, scores_on_recordings
from comparisons.brainscore.chosen_parts import (
    NEEDS_SIMPLICITY,
    SIMPLICITY,
    Parts,
    feature_of,
    parts_of,
    simplicity_stage,
)
from comparisons.brainscore.network_made import Made, made_of
from comparisons.brainscore.submission import REGIONS, Choice
from comparisons.plan import Planner
from comparisons.running import Reporter, announce, execute

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bridge.models.base import Backbone
    from comparisons.config import Config
    from saes.sae import SparseAutoencoder


@dataclass(frozen=True)
class Ingredients:
    """A submission before it is written: the network, its dictionaries and latents by site, its regions."""

    config: Config
    parts: Parts
    backbone: Backbone
    made: Made
    saes: dict[str, SparseAutoencoder]
    scores: dict[str, np.ndarray]
    regions: dict[str, str]
    choice: dict[str, dict[str, Any]]
    """By region that was chosen: what on, and the score of each site."""

    @property
    def sites(self) -> list[str]:
        """The sites of the regions, in the order of a forward pass."""
        return [name for name in self.parts.sites if name in self.regions.values()]


def prepared(config: Config, store: Store, reporter: Reporter) -> Ingredients:
    """Train or load what the submission asks for, score its latents, and choose the sites of its regions."""
    from saes.checkpoints import read_folder

    for part in (config.stimuli, *config.recordings):
        part.prepare()
    parts = parts_of(Planner(config, store))
    spec = parts.spec
    first = spec.features[0]
    candidates = list(parts.sites)
    folders, scores = _made(config, store, reporter, candidates, first in NEEDS_SIMPLICITY)
    backbone = parts.model.load()
    made = made_of(parts.model, backbone)
    saes = {site: read_folder(folder) for site, folder in folders.items()}
    regions, choice = dict(parts.given), {}
    for region, one in spec.regions.items():
        if isinstance(one, Choice):
            reporter.note(f"Choosing the site of {region} on {one.recordings or one.benchmark}.")
            choice[str(region)] = _scored(config, parts, backbone, saes, scores, one, str(region))
            regions[str(region)] = best(choice[str(region)]["scores"], str(region))
    regions = {region: regions[region] for region in REGIONS}
    chosen = [site for site in candidates if site in regions.values()]
    if any(kind in NEEDS_SIMPLICITY for kind in spec.features):
        _, scores = _made(config, store, reporter, chosen, True)
    return Ingredients(config, parts, backbone, made, saes, scores, regions, choice)


def _made(
    config: Config, store: Store, reporter: Reporter, sites: list[str], scored: bool
) -> tuple[dict[str, Path], dict[str, np.ndarray]]:
    """The dictionaries of these sites, their folders by site, and where `scored` their latents' simplicity."""
    planner = Planner(config, store)
    parts = parts_of(planner)
    results = [parts.made[site] for site in sites if site in parts.made]
    stages = {site: simplicity_stage(planner, parts, site) for site in sites if site in parts.made} if scored else {}
    plan = planner.finish([*dict.fromkeys(results), *stages.values()])
    announce(plan, store, reporter)
    paths, _ = execute(plan, store, reporter, config.executor)
    folders = {site: parts.folder(paths, site) for site in sites if site in parts.made}
    return folders, {site: np.load(paths[stage] / SIMPLICITY) for site, stage in stages.items()}


def _scored(
    config: Config,
    parts: Parts,
    backbone: Backbone,
    saes: Mapping[str, SparseAutoencoder],
    scores: Mapping[str, np.ndarray],
    choice: Choice,
    region: str,
) -> dict[str, Any]:
    """What a region's site is chosen on, and every site's score there."""
    kind = parts.spec.features[0]
    module = assembled(parts, backbone, saes, scores, kind, list(parts.sites))
    layers = {site: f"stream.{site}" for site in parts.sites}
    if choice.benchmark is not None:
        from functools import partial

        from comparisons.brainscore.plugin.model import preprocessed_files

        preprocessing = partial(preprocessed_files, **preprocessing_of(backbone))
        found = scores_on_benchmark(module, layers, preprocessing, choice.benchmark, region, backbone.degrees)
        return {"on": choice.benchmark, "features": kind, "scores": found}
    from bridge.recordings.recordings import Recordings

    one = next(spec for spec in config.recordings if spec.name == choice.recordings)
    stimuli = config.stimuli.load()
    held = [made for made in one.load(stimuli) if isinstance(made, Recordings) and region in made.regions]
    if not held:
        raise InputError(
            f"The recordings {choice.recordings!r} hold no responses in {region}; choose its site on others."
        )
    features = layer_features(module, _batches(backbone, stimuli), list(layers.values()))
    named = {site: features[layer] for site, layer in layers.items()}
    found = scores_on_recordings(named, stimuli, held[0], region)
    on = f"{choice.recordings}{' (SIMULATED)' if held[0].simulated else ''}"
    return {"on": on, "features": kind, "scores": found, "stimuli": len(stimuli)}


def _batches(backbone: Backbone, stimuli: Any, size: int = 32) -> Iterator[torch.Tensor]:
    for at in range(0, len(stimuli), size):
        yield backbone.prepare([stimuli.image(row) for row in range(at, min(at + size, len(stimuli)))])


def assembled(
    parts: Parts,
    backbone: Backbone,
    saes: Mapping[str, SparseAutoencoder],
    scores: Mapping[str, np.ndarray],
    kind: str,
    sites: list[str],
) -> nn.Module:
    """The module that a plugin would make, from what is in memory."""
    from comparisons.brainscore.plugin.dictionary import Dictionary
    from comparisons.brainscore.plugin.stream import Feature, Stream

    features = {}
    for site in sites:
        entry = feature_of(parts, kind, site, scores)
        dictionary = None
        if kind != "raw":
            dictionary = Dictionary(config_of(saes[site]), saes[site].tensors(), writes=kind == "ablated")
        prefix = parts.sites[site].prefix
        features[site] = Feature(kind, parts.spec.pool, prefix, dictionary, entry.get("latents"))
    return Stream(backbone.module, sites_of(backbone, sites), features, backbone.layout).eval()


def config_of(sae: SparseAutoencoder) -> dict[str, Any]:
    """What the plugin's reader has to know of a dictionary, in SAELens's terms."""
    config = sae.config
    return {
        "architecture": config.architecture,
        "d_in": config.d_in,
        "d_sae": config.d_sae,
        "k": config.k,
        "rescale_acts_by_decoder_norm": config.rescale_acts_by_decoder_norm,
        "apply_b_dec_to_input": config.apply_b_dec_to_input,
        "normalize_activations": config.normalize_activations,
    }


def sites_of(backbone: Backbone, names: list[str]) -> dict[str, dict[str, Any]]:
    """Kind and block of each site, as the plugin's hooks read them."""
    found = {}
    for name in names:
        site = backbone.sites[name]
        block = backbone.blocks[site.block]
        fields = ("module", "write", "skip", "attn", "mlp", "parallel", "plain", "overwrites")
        found[name] = {
            "kind": site.kind,
            "prefix": site.prefix,
            "block": {key: value for key in fields if (value := getattr(block, key)) not in (None, False)},
        }
    return found


def preprocessing_of(backbone: Backbone) -> dict[str, Any]:
    """From an image to the network's input, as the plugin does it. Raises ConfigError for networks that read texts."""
    one = backbone.preprocessing
    if one is None:
        raise ConfigError(f"{backbone.name} reads texts, and Brain-Score Vision shows images; give a vision network.")
    return {
        "size": one.size,
        "resize": one.resize or one.size,
        "squash": one.squash,
        "mean": list(one.mean),
        "std": list(one.std),
        "interpolation": one.interpolation,
    }


def found_readout(backbone: Backbone) -> str | None:
    """The module whose output is the network's own, [batch, classes]; None where the network gives no such tensor."""
    import torch

    from bridge.models.measure import example_input

    given: dict[str, Any] = {}
    handles = [
        module.register_forward_hook(lambda _, args, output, name=name: given.update({name: output}))
        for name, module in backbone.module.named_modules()
        if name
    ]
    try:
        with torch.inference_mode():
            output = backbone.forward(example_input(backbone))
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        return None
    same = [name for name, value in given.items() if value is output]
    return same[0] if same else None
