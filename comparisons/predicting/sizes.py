"""How large a stage is, from sizes that are known before it runs: seconds on the measured machine, bytes it leaves.

Seconds are what the machine of the benchmarks would take (`comparisons.study.Measured`), scaled by the count of
multiplications that dominates the stage. What the same machine really took before then corrects them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comparisons.study import BYTES, VIT_B, Measured


@dataclass(frozen=True)
class Size:
    """What is known of a stage before it runs; None is what is not known."""

    seconds: float | None = None
    """On the machine of the benchmarks (two cores, no GPU)."""
    disk: int | None = None
    """Bytes of the artefact, within a few kB."""
    memory: int | None = None
    """Bytes that it holds at its height beside what the process holds already."""


@dataclass(frozen=True)
class Cost:
    """What a network takes."""

    multiplications: int | None
    """Of one stimulus's forward pass; None where they could not be counted."""
    parameters: int


@dataclass(frozen=True)
class TrainedAt:
    """One dictionary that is trained."""

    d_in: int
    latents: int


def forward_seconds(stimuli: float, multiplications: int, measured: Measured | None = None) -> float:
    """Seconds of so many forward passes: those of `capture.py`'s ViT-B/16, by multiplications."""
    measured = measured or Measured()
    an_image = measured.capture_seconds / measured.capture_images
    return stimuli * an_image * multiplications / VIT_B.multiplications


def captured(stimuli: int, values: int, dtype: str, cost: Cost) -> Size:
    """A capture of `stimuli`, of each of which `values` numbers are kept (tokens x width, all sites)."""
    seconds = None if cost.multiplications is None else forward_seconds(stimuli, cost.multiplications)
    return Size(seconds, stimuli * values * BYTES[dtype])


def trained(
    dictionaries: Sequence[TrainedAt],
    tokens: float,
    epoch_tokens: int,
    widths: int,
    *,
    reservoir: int,
    passes: float = 0.0,
    cost: Cost | None = None,
    measured: Measured | None = None,
) -> Size:
    """Dictionaries that see `tokens` tokens each, in one pass over sites that are `widths` dimensions wide together.

    A step grows with d x latents (`sae_training.py`: 4,096 tokens, d 768, 8,192 latents). `passes` stimuli go through
    the network where no shards were captured. Memory: the tensors and Adam's two moments, the largest gradient, and
    the tokens that are shuffled, twice (as they are read, and in their new order).
    """
    measured = measured or Measured()
    products = [one.d_in * one.latents for one in dictionaries]
    steps = measured.step_seconds * tokens / 4096 * sum(products) / (768 * 8192)
    seconds: float | None = steps
    if passes and cost is not None:
        known = cost.multiplications
        seconds = None if known is None else steps + forward_seconds(passes, known, measured)
    weights = [4 * (2 * product + one.d_in + one.latents) for product, one in zip(products, dictionaries, strict=True)]
    held = 2 * 4 * min(reservoir, epoch_tokens) * widths
    network = 4 * cost.parameters if cost is not None else 0
    return Size(seconds, sum(weights), 3 * sum(weights) + max(weights) + held + network)


def correlated(stimuli: int, features: Sequence[int], measured: Measured | None = None) -> Size:
    """Correlation RDMs of sites with so many features: n^2 x features (`rsa.py`: 3,200 patterns of 10,000)."""
    measured = measured or Measured()
    seconds = sum(measured.rdm_seconds * (stimuli / 3200) ** 2 * count / 10_000 for count in features)
    return Size(seconds, len(features) * stimuli * (stimuli - 1) // 2 * 8)
