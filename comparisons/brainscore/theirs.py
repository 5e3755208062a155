"""Scores by Brain-Score's own classes: its benchmark, its metric, its ceiling."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from typing import Any

import numpy as np

from comparisons.brainscore.features import SiteActivations
from comparisons.brainscore.scores import Scored

UNCACHED = "brainscore_vision.model_helpers.brain_transformation.neural.LayerScores"
"""What Brain-Score must not keep: raw scores and ceilings do not survive its cache of layer scores."""


def layer_score(benchmark: Any, activations: SiteActivations, site: str) -> Scored:
    """One site's score by `LayerScores` on a benchmark with a region (`NeuralBenchmark`, `RSABenchmark`, ...).

    The model is as wide as the benchmark's images, so that no image is drawn on another canvas.
    """
    from brainscore_vision.model_helpers.brain_transformation.neural import LayerScores

    width = getattr(benchmark, "_visual_degrees", None)
    with undisturbed():
        found = LayerScores(activations.identifier, activations, width)(benchmark, [site])
        return scored(found.sel(layer=site), benchmark)


def precomputed_score(benchmark: Any, features: Any) -> Scored:
    """The score of features that are ready: an assembly [presentation, neuroid], or one a stimulus set by identifier.

    By `PrecomputedFeatures`, for any benchmark that only looks at stimuli.
    """
    from brainscore_vision.benchmark_helpers import PrecomputedFeatures

    with undisturbed():
        return scored(
            benchmark(PrecomputedFeatures(features, visual_degrees=getattr(benchmark, "_visual_degrees", 8))), benchmark
        )


def scored(score: Any, benchmark: Any) -> Scored:
    """What a benchmark's Score holds, and the values behind it."""
    raw = score.attrs.get("raw", score)
    ceiling = score.attrs.get("ceiling", None)
    behind = raw.attrs.get("raw")
    per_neuroid = None
    if behind is not None and set(behind.dims) >= {"split", "neuroid"}:
        behind = behind.squeeze().transpose("split", "neuroid")
        order = np.argsort(behind["neuroid_id"].values, kind="stable")
        per_neuroid = behind.values[:, order]
    error = raw.attrs.get("error")
    return Scored(
        r=float(np.squeeze(raw.values)),
        ceiling=float(np.squeeze(benchmark.ceiling.values if ceiling is None else ceiling.values)),
        error=None if error is None else float(np.squeeze(np.asarray(error))),
        per_neuroid=per_neuroid,
        ceiled=float(np.squeeze(score.values)),
    )


@contextmanager
def undisturbed() -> Iterator[None]:
    """Brain-Score at work: without its bars and warnings, and without its cache of layer scores."""
    from tqdm.std import tqdm

    before, bars = os.environ.get("RESULTCACHING_DISABLE"), tqdm.__init__
    if before != "1":
        os.environ["RESULTCACHING_DISABLE"] = ",".join(filter(None, [before, UNCACHED]))
    tqdm.__init__ = partialmethod(bars, disable=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        tqdm.__init__ = bars
        if before is None:
            os.environ.pop("RESULTCACHING_DISABLE", None)
        else:
            os.environ["RESULTCACHING_DISABLE"] = before
