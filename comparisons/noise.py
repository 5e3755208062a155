"""White noise in the window that a site's middle token sees, on mid-grey: what receptive fields are measured with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.streams import Site
from comparisons.characterise import MARGIN, Field, centre_token
from probes.receptive_fields import noise_images

if TYPE_CHECKING:
    import torch

    from bridge.models.base import Backbone

Array = NDArray[np.float32]
CELLS = 12
"""Cells of noise across a receptive field, at most: finer noise says nothing of it."""
LEAST = 7
"""Cells across the smallest windows: Gabors are fitted from 5 on."""


@dataclass(frozen=True)
class Noise:
    """Noise of one grain and what sites' middle tokens answered: `patches` [n, cells, cells] around the image's middle,
    every cell `grain` pixels wide, and by site [n, d]."""

    patches: Array
    grain: int
    values: dict[str, Array]


def grain_of(field: float) -> int:
    """Pixels a cell for a receptive field of so many pixels: a power of two, so that sites share their noise."""
    return 2 ** max(0, math.ceil(math.log2(field / CELLS))) if field > 0 else 1


def present_noise(
    backbone: Backbone,
    sites: Mapping[str, Site],
    fields: Mapping[str, Field],
    count: int,
    *,
    seed: int = 0,
    batch: int = 128,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> list[Noise]:
    """Present `count` noise images to the sites, those of one grain together, fine grains first.

    The window of a grain holds the widest field of its sites, and the offset of middle tokens from the middle.
    """
    assert backbone.preprocessing is not None
    size = backbone.preprocessing.size
    groups: dict[int, list[str]] = {}
    for name in sites:
        groups.setdefault(grain_of(fields[name].side), []).append(name)
    found: list[Noise] = []
    for number, grain in enumerate(sorted(groups)):
        mine = {name: sites[name] for name in groups[grain]}
        wide = max(MARGIN * fields[name].side + 2 * _offset(site, size) for name, site in mine.items())
        # An even number of cells around the middle, within the image.
        cells = 2 * min(math.ceil(max(wide / grain, LEAST) / 2), size // (2 * grain))
        patches = noise_images(count, max(cells, 2), seed)

        def told(share: float, number: int = number) -> None:
            if progress is not None:
                progress((number + share) / len(groups))

        found.append(Noise(patches, grain, _present(backbone, mine, patches, grain, batch, device, told)))
    return found


def _offset(site: Site, size: int) -> float:
    """How far the middle token's place is from the middle of the image, pixels."""
    return size / site.grid[0] / 2 if site.grid and site.grid[0] % 2 == 0 else 0.0


def _present(
    backbone: Backbone,
    sites: Mapping[str, Site],
    patches: Array,
    grain: int,
    batch: int,
    device: str,
    progress: Callable[[float], None],
) -> dict[str, Array]:
    from bridge.passes import placed
    from bridge.streams import read

    found: dict[str, list[Array]] = {name: [] for name in sites}
    with placed(backbone, device, False):
        for start in range(0, len(patches), batch):
            part = patches[start : start + batch]
            values = read(backbone, _inputs(backbone, part, grain).to(device), sites)
            for name, site in sites.items():
                found[name].append(values[name][:, centre_token(site)].float().cpu().numpy())
            progress(min(start + batch, len(patches)) / len(patches))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _inputs(backbone: Backbone, patches: Array, grain: int) -> torch.Tensor:
    """The network's input: noise on grey, already of its size, so that no resizing blurs it."""
    import torch

    assert backbone.preprocessing is not None
    size, wide = backbone.preprocessing.size, patches.shape[1] * grain
    mean, std = (
        np.asarray(v, np.float32)[:, None, None] for v in (backbone.preprocessing.mean, backbone.preprocessing.std)
    )
    start = size // 2 - wide // 2
    grey = np.full((len(patches), 1, size, size), 0.5, np.float32)
    grey[:, 0, start : start + wide, start : start + wide] = patches.repeat(grain, axis=1).repeat(grain, axis=2)
    return torch.from_numpy((grey - mean) / std)
