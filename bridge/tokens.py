"""Which tokens of a stream are kept: the choices, how many they are, and where sampled ones lie."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from bridge.streams import Site

if TYPE_CHECKING:
    import torch

TokenChoice = Literal["all", "patches", "class", "mean", "last"] | int
TOKEN_WORDS = ("all", "patches", "class", "mean", "last")


def stored_tokens(site: Site, tokens: TokenChoice) -> int:
    """How many tokens a stimulus a choice keeps at a site."""
    patches = site.tokens - site.prefix
    if isinstance(tokens, int):
        return min(tokens, patches)
    return {"all": site.tokens, "patches": patches}.get(tokens, 1)


def sampled_positions(stimulus_id: str, patches: int, n: int, seed: int) -> np.ndarray:
    """The patches that `tokens=n` keeps of a stimulus: ascending int64 [min(n, patches)], prefix not counted.

    They depend on the id, the number of patches, n and the seed, and on nothing else.
    """
    if n >= patches:
        return np.arange(patches)
    source = hashlib.sha256(f"{seed}/{patches}/{stimulus_id}".encode()).digest()
    return np.sort(np.random.default_rng(int.from_bytes(source[:16], "little")).choice(patches, n, replace=False))


@lru_cache(maxsize=16)
def _batch_positions(ids: tuple[str, ...], patches: int, n: int, seed: int) -> np.ndarray:
    """`sampled_positions` of a batch, int64 [batch, stored]: drawn once for all sites of a grid."""
    return np.stack([sampled_positions(name, patches, n, seed) for name in ids])


def choose_tokens(
    value: torch.Tensor,
    site: Site,
    tokens: TokenChoice,
    *,
    mask: torch.Tensor | None = None,
    ids: Sequence[str] = (),
    seed: int = 0,
) -> torch.Tensor:
    """The tokens to keep of a stream's value [batch, tokens, d]: [batch, stored, d], a view where it can be one.

    `mask`, bool [batch, tokens], says which tokens of texts are no padding; `ids` are the stimuli of the batch (for
    sampled patches). What each choice keeps is said at `bridge.activations.capture`.
    """
    import torch

    if tokens == "all":
        return value if mask is None else value.masked_fill(~mask[:, :, None], 0)
    if tokens == "patches":
        return value[:, site.prefix :]
    if tokens == "class":
        return value[:, :1]
    if tokens == "mean" and mask is None:
        return value[:, site.prefix :].mean(1, keepdim=True, dtype=torch.float32)
    rows = torch.arange(len(value), device=value.device)
    if isinstance(tokens, int):
        patches = site.tokens - site.prefix
        drawn = _batch_positions(tuple(ids), patches, tokens, seed)
        return value[rows[:, None], torch.from_numpy(drawn + site.prefix).to(value.device)]
    if mask is None:
        mask = value.new_ones(value.shape[:2], dtype=torch.bool)
    if tokens == "mean":
        weights = (mask / mask.sum(1, keepdim=True)).float()
        return torch.einsum("btd,bt->bd", value.float(), weights)[:, None]
    return value[rows, mask.sum(1) - 1][:, None]  # padding stands on the right
