"""Weights that are drawn, not loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def drawn(seed: int) -> Iterator[None]:
    """Networks that are built within draw their weights from `seed`; torch's own random state stays as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
