"""Whole images as features: every site read at the same few places, so that position and objects can be decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.streams import Site
from comparisons.characterise import Codes

if TYPE_CHECKING:
    import torch

    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet

Array = NDArray[np.float32]
SIDE = 4
"""Places along each side of the image, at most."""
FEATURES = 1024
"""Features of a site that are read at all places, at most: a seeded draw of more."""


@dataclass(frozen=True)
class Reading:
    """A site whose features are read: units, or what `codes` makes of them."""

    site: Site
    codes: Codes


def places_of(site: Site) -> tuple[int, int]:
    """Rows and columns of places at which a site is read."""
    return (min(SIDE, site.grid[0]), min(SIDE, site.grid[1])) if site.grid else (1, 1)


def present_places(
    backbone: Backbone,
    stimuli: StimulusSet,
    readings: Mapping[str, Reading],
    *,
    seed: int = 0,
    batch: int = 64,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> dict[str, Array]:
    """The mean of every feature (before TopK or a ReLU) over each place of the grid, float32 [n, places, feature], by
    name. Class tokens are left out; sites without a grid have one place, their first token."""
    from bridge.passes import placed
    from bridge.streams import read

    found: dict[str, list[Array]] = {name: [] for name in readings}
    drawn: dict[str, NDArray[np.intp]] = {}
    with placed(backbone, device, False):
        for start in range(0, len(stimuli), batch):
            rows = range(start, min(start + batch, len(stimuli)))
            inputs = backbone.prepare([stimuli.image(row) for row in rows]).to(device)
            values = read(backbone, inputs, {one.site.name for one in readings.values()})
            for name, one in readings.items():
                features = one.codes(values[one.site.name].float().cpu().numpy()).pre
                if name not in drawn:
                    drawn[name] = _drawn(features.shape[2], seed)
                found[name].append(_means(features[:, :, drawn[name]], one.site))
            if progress is not None:
                progress(rows.stop / len(stimuli))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _drawn(width: int, seed: int) -> NDArray[np.intp]:
    """The features that are kept, ascending."""
    if width <= FEATURES:
        return np.arange(width)
    return np.sort(np.random.default_rng(seed).choice(width, FEATURES, replace=False))


def _means(features: Array, site: Site) -> Array:
    """Means over the places of the grid, [n, places, feature], of features at all tokens."""
    import torch
    from torch.nn import functional

    if site.grid is None:
        return features[:, :1].copy()
    tokens: torch.Tensor = torch.from_numpy(np.ascontiguousarray(features[:, site.prefix :]))
    grid = tokens.transpose(1, 2).unflatten(2, site.grid)
    pooled = functional.adaptive_avg_pool2d(grid, places_of(site))
    return pooled.flatten(2).transpose(1, 2).contiguous().numpy()
