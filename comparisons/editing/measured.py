"""One block of one network under P3: what `kind: editing` computes of a dictionary and the block that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comparisons.editing.cancellation import cancellation
from comparisons.editing.gating import Gating, shared_gate
from comparisons.editing.overlap import block_weights, write_read_overlap
from comparisons.editing.self_repair import repair
from comparisons.editing.slopes import Slopes, partial_slopes
from comparisons.variability.transport import feature_products, feature_transport
from comparisons.verdicts.editing import TOKENS, Sorted, sort_latents

if TYPE_CHECKING:
    from bridge.models.base import Backbone
    from saes.sae import SparseAutoencoder

Array = NDArray[np.float64]
REPAIRED = 4
"""Edited latents of a block, those with the largest context effect, whose self-repair is measured."""


@dataclass(frozen=True)
class BlockEditing:
    """Statistics of a block's latents, and of its write and weights."""

    slopes: Slopes
    gating: Gating
    sorted: Sorted
    explained: float
    """Share of the stream's variance at these tokens that the dictionary explains."""
    against: float
    """Mean cosine of stream and write, both without their means."""
    cancelling: float
    """Share of tokens at which that lies below -.3."""


def in_stream_units(sae: SparseAutoencoder, x: NDArray) -> tuple[Array, Array, float]:
    """(latents [n, m], decoder directions [m, d] at unit length, explained variance) of activations x [n, d].

    The decoder's norms, and a per-token normalisation, are folded into the latents: sum_f a_f d_f is in x's own units.
    """
    import torch

    with torch.inference_mode():
        values = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        codes = sae.encode(values)
        rebuilt = sae.decode(codes, values).double().numpy()
        if not sae.config.rescale_acts_by_decoder_norm:
            codes = codes * sae.W_dec.norm(dim=1)
        if sae.config.normalize_activations == "layer_norm":
            codes = codes * values.std(-1, keepdim=True)
        elif sae.config.normalize_activations == "constant_norm_rescale":
            codes = codes * values.norm(dim=-1, keepdim=True) / sae.d_in**0.5
        directions = sae.decoder_directions.double().numpy()
    exact = np.asarray(x, np.float64)
    total = ((exact - exact.mean(axis=0)) ** 2).sum()
    explained = 1 - ((exact - rebuilt) ** 2).sum() / total if total > 0 else float("nan")
    return codes.double().numpy(), directions, float(explained)


def measure_block(sae: SparseAutoencoder, x: NDArray, delta: NDArray, seed: int) -> BlockEditing:
    """P3's statistics from the stream before a block [images, tokens, d] and what the block changes, of that shape.

    Raises InputError for fewer than 40 tokens for each latent that varies.
    """
    images, tokens, d = x.shape
    flat, change = x.reshape(-1, d), delta.reshape(-1, d).astype(np.float64)
    groups = np.repeat(np.arange(images), tokens)
    latents, directions, explained = in_stream_units(sae, flat)
    writes = (change - change.mean(axis=0)) @ directions.T
    slopes = partial_slopes(latents, writes, groups)
    gating = shared_gate(latents, writes, flat, groups, seed)
    against = cancellation(flat, change)
    return BlockEditing(slopes, gating, sort_latents(slopes, gating), explained, against.mean, against.share)


def images_needed(latents: int, tokens: int) -> int:
    """Stimuli that give each latent the 50 tokens that the rule asks for, with `tokens` of each kept; and a tenth
    more, since halves of stimuli are not equal halves."""
    return int(np.ceil(1.1 * TOKENS * latents / tokens))


def causal_slopes(backbone: Backbone, inputs: Any, block: int, directions: Array, seed: int) -> Array:
    """t_f - 1 of decoder directions [m, d] over one block: the edit slope by intervention, [m]."""
    source, target = (f"blocks.{block}.hook_{kind}" for kind in ("resid_pre", "resid_post"))
    products = feature_products(backbone, inputs, source, target, directions, images=4, seed=seed)
    return feature_transport(products)[0] - 1


def repairs(
    backbone: Backbone, inputs: Any, block: int, directions: Array, found: BlockEditing
) -> list[dict[str, Any]]:
    """Self-repair of the block's most edited latents, by each earlier block of its basis."""
    order = np.argsort(-np.where(found.sorted.edited, found.gating.mod, -np.inf), kind="stable")
    chosen = order[: min(REPAIRED, int(found.sorted.edited.sum()))]
    told: list[dict[str, Any]] = []
    if not len(chosen):
        return told
    basis = backbone.sites[f"blocks.{block}.hook_delta"].basis
    for writer in range(block):
        if backbone.sites[f"blocks.{writer}.hook_write"].basis != basis:
            continue
        slopes, errors = repair(backbone, inputs, writer, block, directions[chosen])
        told += [
            {"writer": writer, "latent": int(latent), "repair": float(slope), "se": float(se)}
            for latent, slope, se in zip(chosen, slopes, errors, strict=True)
            if np.isfinite(slope)
        ]
    return told


def weight_overlap(backbone: Backbone, block: int, seed: int) -> dict[str, float] | None:
    """Mean overlap of the block's neurons, the share below -.3, both under rotation, and p; None for other blocks."""
    weights = block_weights(backbone, block)
    if weights is None:
        return None
    found = write_read_overlap(*weights, seed=seed)
    return {
        "mean": found.mean,
        "share": found.share,
        "mean rotated": float(found.null_means.mean()),
        "share rotated": float(found.null_shares.mean()),
        "p": found.p,
    }


def table_of(found: BlockEditing, causal: Array) -> Mapping[str, NDArray]:
    """Columns of numbers a latent [m]."""
    return {
        "slope": found.slopes.beta,
        "slope_se": found.slopes.se,
        "causal_slope": causal,
        "mod": found.gating.mod,
        "mod_se": found.gating.se,
        "mod_elsewhere": found.gating.elsewhere,
        "active_tokens": found.slopes.active,
        "live": found.sorted.live,
        "edited": found.sorted.edited,
        "kept": found.sorted.kept,
    }


def median_slope(found: BlockEditing) -> float | None:
    """Of the block's live latents; None where there are none."""
    return float(np.median(found.slopes.beta[found.sorted.live])) if found.sorted.live.any() else None
