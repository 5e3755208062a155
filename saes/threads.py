"""How many threads a training uses: small dictionaries wait for each other's threads longer than they compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 2**28
"""Multiplications of a step's encoder (tokens x width x latents) below which one thread serves."""


@contextmanager
def fitting(multiplications: int) -> Iterator[None]:
    """Within this context torch uses one thread if a step is small; afterwards as many as before."""
    before = torch.get_num_threads()
    if multiplications < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
