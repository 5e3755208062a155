"""Who is nearest to whom, and who is best given to whom, from scores that come in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from saes.sides import Side

EXACT = 4096
"""Largest side for which the assignment is taken over all pairs."""
CANDIDATES = 64
"""Beyond it, the best partners of each latent (of either side) among which it is assigned."""


@dataclass(frozen=True)
class Nearest:
    """The best partner of every latent on the other side (the first of several), -1 where no score is positive."""

    partner_a: np.ndarray
    score_a: np.ndarray
    partner_b: np.ndarray
    score_b: np.ndarray

    def mutual(self) -> tuple[np.ndarray, np.ndarray]:
        """Pairs that are each other's best, (a, b) int64 [pairs], ordered by a; every latent is in one at most."""
        a = np.arange(len(self.partner_a))
        back = np.append(self.partner_b, -1)[self.partner_a]
        found = (self.partner_a >= 0) & (back == a)
        return a[found], self.partner_a[found]


def nearest(a: Side, b: Side) -> Nearest:
    """The best partners in either direction, in one pass over the blocks of scores."""
    partner_a, score_a = np.full(len(a), -1), np.zeros(len(a))
    partner_b, score_b = np.full(len(b), -1), torch.zeros(len(b), dtype=torch.float64)
    best_b = torch.from_numpy(partner_b)
    if len(a) and len(b):
        for start, block in a.blocks(b):
            value, index = block.max(dim=1)
            some = slice(start, start + len(block))
            partner_a[some] = torch.where(value > 0, index, -1).numpy()
            score_a[some] = value.numpy()
            value, index = block.max(dim=0)
            # Strictly: of equal scores the first row stays.
            better = value > score_b
            score_b[better], best_b[better] = value[better].double(), index[better] + start
    return Nearest(partner_a, score_a, best_b.numpy(), score_b.numpy())


def assignment(a: Side, b: Side, exact: int = EXACT, candidates: int = CANDIDATES) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (a, b) int64 [pairs], ordered by a, each latent in one at most, with the largest sum of positive scores.

    Up to `exact` latents a side: over all pairs, by scipy's `linear_sum_assignment`. Beyond: over the pairs in which
    one is among the `candidates` best of the other, by its `min_weight_full_bipartite_matching` (Jonker-Volgenant for
    sparse costs); what only a worse partner than these would complete stays unassigned. Minutes at 50,000 a side.
    """
    from scipy.optimize import linear_sum_assignment

    if not len(a) or not len(b):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if max(len(a), len(b)) > exact:
        return _sparse_assignment(a, b, candidates)
    scores = np.concatenate([block.clamp_min(0).numpy() for _, block in a.blocks(b)])
    rows, columns = linear_sum_assignment(scores, maximize=True)
    found = scores[rows, columns] > 0
    return rows[found], columns[found]


def _sparse_assignment(a: Side, b: Side, candidates: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.sparse import coo_matrix, csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, columns, scores = _best_of_rows(a, b, candidates)
    back_columns, back_rows, back_scores = _best_of_rows(b, a, candidates)
    key = np.concatenate([rows, back_rows]) * len(b) + np.concatenate([columns, back_columns])
    key, first = np.unique(key, return_index=True)
    rows, columns, scores = key // len(b), key % len(b), np.concatenate([scores, back_scores])[first]
    # A place of its own for every row, at score 0, so that a full matching exists; costs must not be 0.
    alone = np.arange(len(a))
    costs = np.concatenate([2.0 - scores, np.full(len(a), 2.0)])
    at = (np.concatenate([rows, alone]), np.concatenate([columns, len(b) + alone]))
    graph = csr_matrix(coo_matrix((costs, at), shape=(len(a), len(b) + len(a))))
    chosen, partner = min_weight_full_bipartite_matching(graph)
    found = partner < len(b)
    return chosen[found].astype(np.int64), partner[found].astype(np.int64)


def _best_of_rows(a: Side, b: Side, candidates: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns, scores = [], [], []
    for start, block in a.blocks(b):
        value, index = block.topk(min(candidates, len(b)), dim=1)
        row = torch.arange(start, start + len(block))[:, None].expand_as(index)
        positive = value > 0
        rows.append(row[positive].numpy())
        columns.append(index[positive].numpy())
        scores.append(value[positive].double().numpy())
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(scores)
