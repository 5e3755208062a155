"""Whether the images that activate a latent are alike: the monosemanticity score, without a loop over pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bridge.errors import InputError
from saes.sides import as_csr

_LATENTS = 4096  # at once


@dataclass(frozen=True)
class Monosemanticity:
    """Scores of all latents over some images."""

    scores: np.ndarray
    """Of each latent, float64 [m], -1 to 1; NaN if fewer than two images weigh in (dead, constant, one image)."""
    images: np.ndarray
    """How many images weigh in for each latent, int64 [m]: with few, a score says little."""

    @property
    def undefined(self) -> int:
        """How many latents have no score."""
        return int(np.isnan(self.scores).sum())

    @property
    def mean(self) -> float:
        """Mean over the latents that have one; NaN if none has."""
        known = self.scores[~np.isnan(self.scores)]
        return float(known.mean()) if len(known) else float("nan")


def monosemanticity(activations: Any, embeddings: np.ndarray | torch.Tensor) -> Monosemanticity:
    """The monosemanticity score of Pach et al. 2025 (arXiv 2504.02821) for every latent.

    With a_i a latent's activation by image i, scaled over the images to the range 0 to 1, and e_i the image's
    embedding at unit norm, it is the mean cosine of image pairs weighted by a_i a_j,

        sum_{i<j} a_i a_j e_i'e_j / sum_{i<j} a_i a_j = (|sum a_i e_i|^2 - sum a_i^2) / ((sum a_i)^2 - sum a_i^2),

    one product of matrices instead of n^2 / 2 pairs. As in the authors' code each latent's minimum over the images is
    subtracted, which is 0 unless every image activates it; the division by its range cancels. A latent with the same
    activation everywhere has no score.

    activations [n, m]: SparseCodes, a scipy sparse matrix or an array, one row an image (`saes.matching.pooled`);
    embeddings [n, d] of another network than the dictionary's, best, of any norm, not centred. Everything is float64.

    Raises InputError for different numbers of images, for values that are not finite, and for a zero embedding.
    """
    codes = as_csr(activations).astype(np.float64).tocsc()
    e = torch.as_tensor(embeddings).detach().cpu().double().numpy()
    n, m = codes.shape
    if e.ndim != 2 or len(e) != n:
        raise InputError(
            f"Activations by {n} images have embeddings of shape {list(e.shape)}; give one embedding an image, [n, d]."
        )
    norms = np.linalg.norm(e, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all() and np.isfinite(codes.data).all()):
        raise InputError(
            "Activations or embeddings hold values that are not finite, or an embedding is 0; leave those images out."
        )
    e = e / norms
    scores, images = np.full(m, np.nan), np.zeros(m, np.int64)
    for start in range(0, m, _LATENTS):
        some = slice(start, min(start + _LATENTS, m))
        a = _from_zero(codes[:, some])
        images[some] = a.getnnz(axis=0)
        total = np.asarray(a.sum(axis=0)).ravel()
        squares = np.asarray(a.multiply(a).sum(axis=0)).ravel()
        length = np.square(a.T @ e).sum(axis=1)
        pairs = total**2 - squares
        known = images[some] > 1
        scores[some] = np.divide(length - squares, pairs, out=np.full(len(total), np.nan), where=known)
    return Monosemanticity(scores, images)


def _from_zero(a: Any) -> Any:
    """Columns less their minimum over all rows, without stored zeros."""
    lowest = a.min(axis=0).toarray().ravel()
    for column in np.flatnonzero(lowest):
        start, stop = a.indptr[column : column + 2]
        if stop - start == a.shape[0]:
            a.data[start:stop] -= lowest[column]
    if (negative := np.flatnonzero(a.min(axis=0).toarray().ravel())).size:
        # Some rows are 0 there, and 0 is not the minimum: those columns are dense once it is.
        a = a.tolil()
        for column in negative:
            a[:, column] = a[:, [column]].toarray() - lowest[column]
        a = a.tocsc()
    a.eliminate_zeros()
    return a
