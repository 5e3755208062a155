"""The sparse forward and backward: latents are chosen, decoded and differentiated without the dense code.

Sizes: n tokens, d the width of the stream, s latents, k of them active at a token.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from saes.codes import SparseCodes


def encode_top_k(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest of x @ weight + bias at each token, and their ReLU: indices int64 [n, k] and values [n, k].

    x [n, d], weight [d, s], bias [s].
    """
    values, indices = torch.addmm(bias, x, weight).topk(k, dim=1, sorted=False)
    return indices, values.relu()


def decode_sparse(codes: SparseCodes, directions: torch.Tensor) -> torch.Tensor:
    """codes @ directions, [n, d], from the rows of `directions` [s, d] that are active."""
    return functional.embedding_bag(
        codes.indices,
        directions,
        codes.offsets,
        mode="sum",
        per_sample_weights=codes.values,
        include_last_offset=True,
    )
