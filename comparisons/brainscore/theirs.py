"""Scores by Brain-Score's own classes: its benchmark, its metric, its ceiling."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partialmethod
from typing import Any

import numpy as np

from bridge.errors import InputError, UserError
from comparisons.brainscore.features import SiteActivations
from comparisons.brainscore.scores import Scored

UNCACHED = "brainscore_vision.model_helpers.brain_transformation.neural.LayerScores"
"""What Brain-Score must not keep: raw scores and ceilings do not survive its cache of layer scores."""


def layer_score(benchmark: Any, activations: SiteActivations, site: str, degrees: float | None = None) -> Scored:
    """One site's score by `LayerScores` on a benchmark with a region (`NeuralBenchmark`, `RSABenchmark`, ...).

    The model is `degrees` wide; where left out as wide as the benchmark's images, which then stay as they are.
    """
    from brainscore_vision.model_helpers.brain_transformation.neural import LayerScores

    width = degrees or width_of(benchmark)
    with told(benchmark.identifier, site):
        found = LayerScores(activations.identifier, activations, width)(benchmark, [site])
        return scored(found.sel(layer=site), benchmark)


def precomputed_score(benchmark: Any, features: Any) -> Scored:
    """The score of features that are ready: an assembly [presentation, neuroid], or one a stimulus set by identifier.

    By `PrecomputedFeatures`, for any benchmark that only looks at stimuli.
    """
    from brainscore_vision.benchmark_helpers import PrecomputedFeatures

    with told(benchmark.identifier, "features that are ready"):
        return scored(benchmark(PrecomputedFeatures(features, visual_degrees=width_of(benchmark))), benchmark)


def width_of(benchmark: Any) -> float:
    """The width of a benchmark's images in degrees; 8 where it is stated stimulus by stimulus."""
    inner = getattr(benchmark, "_sessions", ())  # several in one
    width = getattr(inner[0] if inner else benchmark, "_visual_degrees", None)
    return float(width) if isinstance(width, int | float) else 8.0


def scored(score: Any, benchmark: Any) -> Scored:
    """What a benchmark's Score holds, and the values behind it."""
    raw = score.attrs.get("raw", score)
    ceiling = score.attrs.get("ceiling")
    behind: Any = getattr(raw, "attrs", {}).get("raw")
    per_neuroid = None
    if set(getattr(behind, "dims", ())) >= {"split", "neuroid"}:
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
def told(benchmark: str, what: str) -> Iterator[None]:
    """Brain-Score at work on a benchmark; where its classes stop, `what` they were doing is said in one sentence.

    Raises InputError for whatever they raise, but for errors that are sentences already.
    """
    try:
        with undisturbed():
            yield
    except UserError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"Brain-Score's own classes stopped on {benchmark} at {what} ({type(error).__name__}: {why}); leave the "
            "benchmark out, or set `theirs: none`."
        ) from error


@contextmanager
def undisturbed(*uncached: str) -> Iterator[None]:
    """Brain-Score at work: without its bars, prints and warnings, and without keeping what it must not, nor what the
    modules and functions `uncached` give. What it draws from numpy's global state is drawn with seed 0."""
    from tqdm.std import tqdm

    before, bars = os.environ.get("RESULTCACHING_DISABLE"), tqdm.__init__
    if before != "1":
        os.environ["RESULTCACHING_DISABLE"] = ",".join(filter(None, [before, UNCACHED, *uncached]))
    tqdm.__init__ = partialmethod(bars, disable=True)
    drawn = np.random.get_state()
    np.random.seed(0)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        tqdm.__init__ = bars
        np.random.set_state(drawn)
        if before is None:
            os.environ.pop("RESULTCACHING_DISABLE", None)
        else:
            os.environ["RESULTCACHING_DISABLE"] = before
