"""Sparse codes: which latents are active at each token, and how strongly, without the zeros between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class SparseCodes:
    """The active latents of n tokens, compressed by rows (CSR).

    Token i's latents are `indices[offsets[i]:offsets[i + 1]]`, in no particular order, with the activations
    `values[offsets[i]:offsets[i + 1]]`. `width` is the number of latents. offsets and indices are int64, [n + 1] and
    [active]; values are of the dictionary's type, [active]. Values of exactly 0 may occur and mean inactive.
    """

    offsets: torch.Tensor
    indices: torch.Tensor
    values: torch.Tensor
    width: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def tokens(self) -> torch.Tensor:
        """The token of each active latent, int64 [active]."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.offsets.device), self.offsets.diff())

    def dense(self) -> torch.Tensor:
        """The codes with their zeros, [n, width]."""
        out = self.values.new_zeros(len(self), self.width)
        out[self.tokens, self.indices] = self.values
        return out

    def scipy(self) -> csr_matrix:
        """The codes as a scipy CSR matrix [n, width], indices sorted, without stored zeros."""
        from scipy.sparse import csr_matrix

        parts = (self.values.detach().cpu().numpy(), self.indices.cpu().numpy(), self.offsets.cpu().numpy())
        matrix = csr_matrix(parts, shape=(len(self), self.width))
        matrix.eliminate_zeros()
        matrix.sort_indices()
        return matrix

    def l0(self) -> torch.Tensor:
        """How many latents are active at each token, int64 [n]."""
        counts = torch.zeros(len(self), dtype=torch.int64, device=self.values.device)
        return counts.index_add_(0, self.tokens, (self.values != 0).long())

    @staticmethod
    def of(dense: torch.Tensor) -> SparseCodes:
        """The non-zero entries of dense codes [n, width]."""
        rows, indices = dense.nonzero(as_tuple=True)
        counts = torch.bincount(rows, minlength=len(dense))
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return SparseCodes(offsets, indices, dense[rows, indices], dense.shape[1])

    @staticmethod
    def of_top_k(indices: torch.Tensor, values: torch.Tensor, width: int) -> SparseCodes:
        """Codes with the same number of latents k at every token: indices and values [n, k]."""
        n, k = indices.shape
        offsets = torch.arange(0, n * k + 1, k, device=indices.device) if k else indices.new_zeros(n + 1)
        return SparseCodes(offsets, indices.reshape(-1), values.reshape(-1), width)

    @staticmethod
    def cat(parts: list[SparseCodes]) -> SparseCodes:
        """The codes of consecutive tokens, one after the other."""
        counts = torch.cat([part.offsets.diff() for part in parts])
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        indices, values = (torch.cat([getattr(part, name) for part in parts]) for name in ("indices", "values"))
        return SparseCodes(offsets, indices, values, parts[0].width)
