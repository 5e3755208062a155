"""What is probed: the units of sites, or the latents of dictionaries that read them."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError, did_you_mean
from bridge.streams import Site
from comparisons.characterise import Codes, Latents

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from comparisons.plan import Planner


@dataclass(frozen=True)
class Chosen:
    """What is probed: a site's units, or the latents of a dictionary (`stage` makes it) that reads the site."""

    name: str
    site: Site
    stage: str | None = None

    @property
    def dictionary(self) -> str | None:
        """The dictionary's name; None for units."""
        return self.name.partition("/")[2] or None


def chosen_sites(planner: Planner, model: ModelSpec, patterns: list[str]) -> list[Chosen]:
    """The sites and dictionaries of a model that match the globs. Raises ConfigError for one that matches nothing, and
    for a dictionary that reads several sites."""
    plain = [pattern for pattern in patterns if "/" not in pattern]
    found = [Chosen(name, site) for name, site in (planner.chosen(model, plain) if plain else {}).items()]
    offered = planner.features.get(model.name, {})
    everywhere = list(dict.fromkeys(name for names in planner.features.values() for name in names))
    for pattern in (pattern for pattern in patterns if "/" in pattern):
        if not fnmatch.filter(everywhere, pattern):
            hint = did_you_mean(pattern, everywhere) if everywhere else "the config has no `saes`"
            raise ConfigError(f"sites: no codes match {pattern!r}; {hint}.")
        for name in fnmatch.filter(list(offered), pattern):
            stage, reads, _ = planner.dictionaries[model.name, name]
            if len(reads) > 1:
                raise ConfigError(f"sites: {name} reads {len(reads)} sites; probe dictionaries of one site.")
            found.append(Chosen(name, planner.chosen(model, list(reads))[reads[0]], stage))
    return list({one.name: one for one in found}.values())


def dictionary(folder: Path) -> tuple[Codes, Callable[[NDArray], NDArray] | None]:
    """A saved dictionary as `Codes`, and its reconstruction (None for transcoders, which make another site's value)."""
    import torch

    from saes.checkpoints import read_folder

    sae = read_folder(folder)

    def codes(activations: NDArray) -> Latents:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(activations))
            return Latents(sae.encode(x).numpy(), sae.pre_activation(x).numpy())

    def reconstruct(activations: NDArray) -> NDArray:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(activations))
            return sae.decode(sae.encode(x), x).numpy()

    return codes, None if sae.config.transcodes else reconstruct
