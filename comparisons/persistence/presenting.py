"""Drawn stimuli through a network: each site's tokens at fixed places, and their mean, in one pass.

What probes need of a stream is far less than the stream: of every image the mean over its patches (pooled) and the
tokens of a coarse grid of places with the class token (not pooled). All tokens of a large network would be hundreds of
gigabytes, so nothing goes to disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.streams import Site

if TYPE_CHECKING:
    import torch

    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet

PLACES = 4
"""Tokens a side of the coarse grid."""


@dataclass(frozen=True)
class Presented:
    """A site's values for n stimuli, float32: the mean over patches [n, d], and tokens side by side [n, kept * d]."""

    pooled: NDArray[np.float32]
    tokens: NDArray[np.float32]


def kept_tokens(site: Site) -> NDArray[np.intp]:
    """The first prefix token (the class) if there is one, and the patches of a grid of `PLACES` x `PLACES` places."""
    first = [0] if site.prefix else []
    if site.grid is None:
        return np.array([*first, *range(site.prefix, min(site.tokens, site.prefix + PLACES**2))] or [0])
    rows, columns = (np.unique(((np.arange(PLACES) + 0.5) * count / PLACES).astype(int)) for count in site.grid)
    patches = (rows[:, None] * site.grid[1] + columns).ravel() + site.prefix
    return np.array([*first, *patches])


def present(
    backbone: Backbone,
    batches: Iterable[torch.Tensor],
    sites: Mapping[str, Site],
    *,
    changed: AbstractContextManager[Any] | None = None,
) -> dict[str, Presented]:
    """Every site's values for prepared batches, by site; within `changed`, an intervention, the changed network's.

    Tokens of transformers are brought to unit root mean square first: their stream grows with depth, and probes must
    not take growth for loss.
    """
    import torch

    from bridge.streams import read

    parts: dict[str, list[tuple[Any, Any]]] = {name: [] for name in sites}
    with torch.inference_mode(), changed or nullcontext():
        for batch in batches:
            for name, value in read(backbone, batch, sites).items():
                site = sites[name]
                if backbone.layout == "btc":
                    value = value / value.square().mean(dim=2, keepdim=True).sqrt().clamp_min(1e-12)
                kept = value[:, torch.as_tensor(kept_tokens(site), device=value.device)].flatten(1)
                pooled = value[:, site.prefix :].mean(dim=1) if site.tokens > site.prefix else value[:, 0]
                parts[name].append((pooled.float().cpu().numpy(), kept.float().cpu().numpy()))
    return {
        name: Presented(*(np.concatenate(side) for side in zip(*found, strict=True))) for name, found in parts.items()
    }


def prepared_batches(
    backbone: Backbone,
    stimuli: StimulusSet,
    *,
    batch: int = 64,
    device: str = "cpu",
    workers: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Iterator[torch.Tensor]:
    """A stimulus set as prepared batches [batch, 3, size, size] on the device."""
    from bridge.passes import prepared

    rows = [range(start, min(start + batch, len(stimuli))) for start in range(0, len(stimuli), batch)]
    with prepared(backbone, stimuli, rows, workers) as inputs:
        for own, values in zip(rows, inputs, strict=True):
            yield values.to(device)
            if progress is not None:
                progress(own.stop / len(stimuli))


def half_a_patch(backbone: Backbone, sites: Mapping[str, Site]) -> int:
    """Half the side in pixels of a transformer's patch; 0 for networks without patches."""
    grid = next((site.grid for site in sites.values() if site.grid), None)
    if backbone.layout != "btc" or grid is None or backbone.preprocessing is None:
        return 0
    return backbone.preprocessing.size // grid[0] // 2
