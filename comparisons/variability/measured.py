"""One network's transport, all of it: what `kind: variability` computes of a model, as plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError
from comparisons.variability.linearity import additive_law, injected
from comparisons.variability.training import contrast, task_directions
from comparisons.variability.transport import (
    Transported,
    bypass_ratios,
    carried_through,
    distance,
    feature_cosines,
    feature_products,
    feature_transport,
    furthest,
    mask_traces,
    stream_transport,
)

if TYPE_CHECKING:
    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet


def measure_network(
    backbone: Backbone,
    stimuli: StimulusSet,
    *,
    images: int,
    most: int,
    seed: int,
    progress: Callable[[float, str], None],
    additive: bool = True,
    task: bool = True,
) -> dict[str, Any]:
    """Transport over the first `images` stimuli, and what training adds over all of them (if they have a `category`).
    Without `additive` and `task`, the additive law and what training adds are None.

    pairs: t, w and A between the stream after every two blocks; furthest: by source, the target that decides; writes:
    bypass ratios; masks: the share active at all blocks of a basis, where ReLUs follow the sums; additive: held-out R2
    of the additive law; task: cosines along directions. Raises ConfigError for a network that reads texts.
    """
    if backbone.preprocessing is None:
        raise ConfigError(f"comparisons: variability presents drawn images, and {backbone.name} reads texts.")
    inputs = backbone.prepare([stimuli.image(row) for row in range(min(images, len(stimuli)))])
    posts = [name for name, site in backbone.sites.items() if site.kind == "resid_post"]
    writes = [name for name, site in backbone.sites.items() if site.kind == "write"]
    progress(0.0, "transport of the stream")
    stream = stream_transport(backbone, inputs, posts[:-1], posts, seed=seed, most=most)
    progress(0.5, "gains between writes")
    gains = stream_transport(backbone, inputs, writes[:-1], writes, seed=seed + 1, most=1)
    sites = backbone.sites
    w = {(sites[source].block, sites[target].block): one.w for (source, target), one in gains.items()}
    progress(0.8, "linearity, and directions of the task")
    ends = {source: furthest(backbone, source, posts) for source in posts[:-1]}
    return {
        "pairs": [
            {
                "source": source,
                "target": target,
                "distance": distance(sites[source], sites[target]),
                "one basis": carried_through(backbone, source, target) is True,
                **_json(one),
            }
            for (source, target), one in stream.items()
        ],
        "furthest": {source: end for source, end in ends.items() if end is not None},
        "bypass": [{"from": j, "to": k, "ratio": ratio} for (j, k), ratio in bypass_ratios(w).items()],
        "masks": _masks(backbone, inputs, posts),
        "additive": _additive(backbone, inputs, posts, seed) if additive else None,
        "task": _task(backbone, stimuli, inputs, posts[0], ends[posts[0]], seed) if task and len(posts) > 1 else None,
    }


def follow_latents(
    backbone: Backbone, inputs: Any, source: str, directions: NDArray, seed: int
) -> tuple[str, NDArray, NDArray] | None:
    """(furthest stage, t_f [m], its errors [m]) of directions [m, d] of a stage; None where they end there."""
    posts = [name for name, site in backbone.sites.items() if site.kind == "resid_post"]
    target = furthest(backbone, source, posts)
    if target is None:
        return None
    t, se = feature_transport(feature_products(backbone, inputs, source, target, directions, seed=seed))
    return target, t, se


def to_the_end(measured: dict[str, Any]) -> dict[str, Transported]:
    """t of every stage to the furthest stage that its directions can be carried to, by source."""
    ends = measured["furthest"]
    return {
        pair["source"]: Transported(*(_number(pair[name]) for name in ("t", "t_se", "w", "aligned_share")))
        for pair in measured["pairs"]
        if ends.get(pair["source"]) == pair["target"]
    }


def over_masks(measured: dict[str, Any]) -> list[tuple[float, float]]:
    """(t, trace of the active mask) from the first stage of every basis to its last, for ReLUs after the sums."""
    found = to_the_end(measured)
    ends = measured["furthest"]
    return [
        (found[mask["source"]].t, mask["trace"])
        for mask in measured["masks"]
        if mask["target"] == ends.get(mask["source"])
    ]


def _json(one: Transported) -> dict[str, float | None]:
    values = {"t": one.t, "t_se": one.t_se, "w": one.w, "aligned_share": one.aligned_share}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _masks(backbone: Backbone, inputs: Any, posts: list[str]) -> list[dict[str, Any]]:
    """Cumulative traces of the active masks behind the first block of every basis, for networks with ReLUs after sums.
    The ReLU of the last block counts: its output is what is read."""
    from bridge.streams import read

    if not any(block.act for block in backbone.blocks):
        return []
    values = read(backbone, inputs, posts)
    found: list[dict[str, Any]] = []
    for basis in dict.fromkeys(backbone.sites[name].basis for name in posts):
        names = [name for name in posts if backbone.sites[name].basis == basis]
        if len(names) > 1:
            traces = mask_traces([values[name].numpy() for name in names[1:]])
            found += [
                {"source": names[0], "target": name, "trace": float(trace)}
                for name, trace in zip(names[1:], traces, strict=True)
            ]
    return found


def _additive(backbone: Backbone, inputs: Any, posts: list[str], seed: int) -> dict[str, Any] | None:
    """The law for noise at up to four stages, read after the last block."""
    if len(posts) < 2:
        return None
    rows = np.unique(np.linspace(0, len(posts) - 2, min(4, len(posts) - 1)).round().astype(int))
    sites = [posts[row] for row in rows]
    law = additive_law(*injected(backbone, inputs, sites, posts[-1], seed=seed))
    return {"sites": sites, "target": posts[-1], "weights": law.weights.tolist(), "held_out_r2": law.held_out_r2}


def _task(
    backbone: Backbone, stimuli: StimulusSet, inputs: Any, source: str, target: str | None, seed: int
) -> dict[str, Any] | None:
    """Cosines along directions that the stimuli's categories use and do not use, first stage to furthest."""
    if target is None or "category" not in stimuli.table:
        return None
    directions = task_directions(_means(backbone, stimuli, source), stimuli.table["category"].to_numpy())
    cosines = [
        feature_cosines(feature_products(backbone, inputs, source, target, rows, images=8, seed=seed))
        for rows in (directions.relevant, directions.irrelevant)
    ]
    difference, se = contrast(cosines[1], cosines[0])
    known = {"relevant": float(np.nanmean(cosines[0])), "irrelevant": float(np.nanmean(cosines[1]))}
    return {"source": source, "target": target, **known, "difference": difference, "se": se}


def _means(backbone: Backbone, stimuli: StimulusSet, site: str, batch: int = 64) -> NDArray:
    """A site's values of every stimulus, mean over tokens, [n, d]."""
    from bridge.streams import read

    parts = []
    for start in range(0, len(stimuli), batch):
        rows = range(start, min(start + batch, len(stimuli)))
        inputs = backbone.prepare([stimuli.image(row) for row in rows])
        parts.append(read(backbone, inputs, [site])[site].mean(dim=1).numpy())
    return np.concatenate(parts)
