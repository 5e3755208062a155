"""The explained variance of a dictionary on the activations at hand: measured on loading, and refused if it is poor.

A dictionary whose normalisation was lost is the usual case of a bad one, and no file shows it. Predicting the mean
vector explains 0, and a lost scale or shift gives values about that or far below. The default bound is .5: under it a
dictionary leaves more of the variance than it explains. CLIP-Scope states .64 to .76; of the 78 values that SAELens's
registry states (6.54) the median is .78, 59 are above .5, and the others, which reach down to -7.55, are those that
nobody should use without knowing it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bridge.errors import ConfigError, InputError
from saes.converters import Read
from saes.folding import folded, mean_norm, per_dimension
from saes.metrics import Metrics, evaluate, pair_of
from saes.sae import SparseAutoencoder

if TYPE_CHECKING:
    from bridge.readers import Activations

    Array = np.ndarray | torch.Tensor
    Given = Array | tuple[Array, Array] | Mapping[str, Array] | Activations
else:
    Given = Any

MIN_EXPLAINED = 0.5
TOKENS = 2**14
"""Tokens that captured activations are measured on: the first of a shuffled epoch, seed 0."""
STATISTICS = {"mean_norm": mean_norm, "per_dimension": per_dimension}


def scrutinised(read: Read, activations: Given | None, name: str, least: float, force: bool) -> SparseAutoencoder:
    """The dictionary with what was measured in its metadata; statistics of its inputs are folded in where that
    explains more.

    Raises InputError for what `saes.hub.load` refuses.
    """
    if activations is None:
        if read.scaling is not None and not force:
            raise InputError(
                f"{name}: the inputs may have been scaled in training by statistics that the file does not hold; give "
                "`activations` of its site, from which they are taken, or `force=True` to apply it as it stands."
            )
        return read.sae
    batch = _batch(read.sae, activations)
    measured = {"as stored": (read.sae, evaluate(read.sae, [batch]))}
    if read.scaling is not None:
        scaled = folded(read.sae, STATISTICS[read.scaling](pair_of(read.sae, batch)[0].flatten(0, -2)))
        measured[read.scaling] = scaled, evaluate(scaled, [batch])
    how, (sae, metrics) = max(measured.items(), key=lambda entry: -_fvu(entry[1][1], name))
    explained = 1 - metrics.fvu
    if explained < least and not force:
        also = "" if len(measured) == 1 else f" (inputs {how}; the better of {', '.join(measured)})"
        raise InputError(
            f"{name} explains {explained:.3f} of the variance of {metrics.tokens} tokens, less than {least:g}{also}: "
            "is its normalisation lost, or are these another model's or site's activations? `force=True` takes it."
        )
    sae.config.metadata["measured"] = {
        "explained_variance": explained,
        "tokens": metrics.tokens,
        "l0": metrics.l0,
        "inputs": how,
    }
    return sae


def _fvu(metrics: Metrics, name: str) -> float:
    if not np.isfinite(metrics.fvu):
        raise InputError(
            f"{name}: the explained variance is not defined on these activations ({metrics.tokens} tokens, all equal); "
            "give tokens that differ."
        )
    return metrics.fvu


def _batch(sae: SparseAutoencoder, given: Given) -> Any:
    """What `saes.metrics.evaluate` takes."""
    from bridge.readers import Activations, shuffled_tokens

    if not isinstance(given, Activations):
        return given
    metadata = sae.config.metadata
    sites = list(metadata.get("sites") or filter(None, (sae.site, metadata.get("hook_name_out"))))
    if not sites:
        if len(given.sites) > 1:
            raise ConfigError(
                f"The dictionary names no site and the activations have {len(given.sites)}; state `site`."
            )
        sites = list(given.sites)
    return next(shuffled_tokens(given, sites, batch=TOKENS, seed=0))
