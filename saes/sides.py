"""Two sides of a matching, block by block: cosines of decoder directions, correlations of activations.

A side holds one dictionary's latents in the form in which they are compared. Scores of all pairs come in blocks of
rows [b, m_b], so that the full matrix (10 GB for 50,000 x 50,000) never stands in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from typing_extensions import override

from bridge.errors import InputError
from saes.codes import SparseCodes

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BLOCK = 2**24
"""Scores that a block holds at most (64 MB of cosines, 128 MB of correlations)."""
_CONSTANT = 1e-12  # of the mean square: a variance below it is rounding


class Side(ABC):
    """The latents of one dictionary. `alive` [m] says which can be compared at all: the others score 0 with all."""

    measure: str
    alive: np.ndarray

    def __len__(self) -> int:
        return len(self.alive)

    @abstractmethod
    def rows(self, other: Self, start: int, stop: int) -> torch.Tensor:
        """Scores of latents `start` to `stop` with all of `other`, [stop - start, m_b], float32 or float64."""

    @abstractmethod
    def scores(self, other: Self, mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        """Scores of some pairs, float64 [pairs]."""

    @abstractmethod
    def shuffled(self, rng: np.random.Generator) -> Self:
        """The same latents, put out of any relation to another side's: one draw of the null."""

    def blocks(self, other: Self) -> Iterator[tuple[int, torch.Tensor]]:
        """All scores in blocks of rows: (first row, block)."""
        step = max(1, BLOCK // max(1, len(other)))
        for start in range(0, len(self), step):
            yield start, self.rows(other, start, min(start + step, len(self)))


class Directions(Side):
    """Decoder directions, compared by their cosine; zero directions are not alive. The null is `null`:

    matched    directions drawn from the angular central Gaussian that fits these (`scatter`): both sides may crowd into
               few dimensions without sharing a direction, and the null does so too
    rotation   a random rotation of all directions (Haar-distributed): their angles among each other stay
    """

    measure = "decoder cosine"

    def __init__(self, directions: np.ndarray | torch.Tensor, alive: np.ndarray | None = None, null: str = "matched"):
        """directions [m, d], of any length; alive bool [m], which of them count (all by default).

        Raises InputError if they are not [m, d], not finite, or if `alive` does not fit them.
        """
        values = torch.as_tensor(directions).detach().cpu()
        if values.ndim != 2 or not torch.isfinite(values).all():
            raise InputError(
                f"Directions of shape {list(values.shape)} are no finite array [latents, d]; give one row a latent."
            )
        if alive is not None and (np.shape(alive) != (len(values),) or np.asarray(alive).dtype != bool):
            raise InputError(
                f"`alive` is of shape {list(np.shape(alive))}; give bool [{len(values)}], one a direction."
            )
        norms = values.norm(dim=1, dtype=torch.float64)
        self.alive = (norms > 0).numpy() & (True if alive is None else alive)
        inverse = torch.where(torch.from_numpy(self.alive), 1 / norms, 0.0)
        self.unit = (values * inverse[:, None]).float()
        self.null = null

    @override
    def rows(self, other: Directions, start: int, stop: int) -> torch.Tensor:
        return self.unit[start:stop] @ other.unit.T

    @override
    def scores(self, other: Directions, mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        one, two = self.unit[torch.from_numpy(mine)].double(), other.unit[torch.from_numpy(theirs)].double()
        return torch.cosine_similarity(one, two, dim=1).numpy()

    @override
    def shuffled(self, rng: np.random.Generator) -> Directions:
        unit, (m, d) = self.unit.numpy(), self.unit.shape
        if self.null == "rotation":
            q, r = np.linalg.qr(rng.standard_normal((d, d)))
            return Directions(unit @ (q * np.sign(np.diag(r))).astype(np.float32), self.alive)
        return Directions(rng.standard_normal((m, d), dtype=np.float32) @ self._root, self.alive)

    @cached_property
    def _root(self) -> np.ndarray:
        """A root of the directions' scatter, float32 [d, d]; from 20 d of them at most, evenly taken."""
        live = self.unit.numpy()[self.alive]
        values, vectors = np.linalg.eigh(scatter(live[:: max(1, len(live) // (20 * live.shape[1]))]))
        return (np.sqrt(np.maximum(values, 0))[:, None] * vectors.T).astype(np.float32)


def scatter(unit: np.ndarray) -> np.ndarray:
    """The shape S of the Gaussian whose draws, at unit norm, are distributed as `unit` [m, d]: float64 [d, d], trace d.

    Tyler 1987 (Annals of Statistics 15, 234), the fixed point of S = d / m sum u u' / (u' S^-1 u), drawn towards the
    identity by 1e-5, and by more where m < 2 d (Chen, Wiesel & Hero 2011). The second moments of `unit` are no
    substitute: they are rounder than S, and a null drawn from them let 8% instead of 1% pass.
    """
    u = unit.astype(np.float64)
    m, d = u.shape
    found = identity = np.eye(d)
    if not m:
        return identity
    pull = 1e-5 + max(0.0, 1 - m / (2 * d))
    for _ in range(100):
        lengths = np.maximum(np.einsum("md,md->m", u @ np.linalg.inv(found), u), np.finfo(float).tiny)
        new = (u / lengths[:, None]).T @ u
        new = (1 - pull) * new * (d / np.trace(new)) + pull * identity
        if np.abs(new - found).max() < 1e-3 * np.abs(new).max():
            return new
        found = new
    return found


class Activity(Side):
    """Activations over the same tokens, compared by Pearson's correlation; dead and constant latents are not alive.

    With activations x, y of means mx, my and deviations sx, sy over n tokens, r = (x'y / n - mx my) / (sx sy), of
    which x'y is a product of sparse matrices.

    The null permutes stimuli, the tokens of a stimulus staying together and in their places where all stimuli have
    the same number of tokens; otherwise it permutes tokens.
    """

    measure = "activation correlation"

    def __init__(self, codes: csr_matrix, tokens: int | None = 1):
        """codes [n, m]; `tokens` is the number of consecutive rows a stimulus, None where it differs between stimuli.

        Raises InputError for values that are not finite.
        """
        values = codes.astype(np.float64)
        if not np.isfinite(values.data).all():
            raise InputError("Among the codes are values that are not finite; give latents of finite activations.")
        n = max(1, values.shape[0])
        mean = np.asarray(values.sum(axis=0)).ravel() / n
        square = np.asarray(values.multiply(values).sum(axis=0)).ravel() / n
        variance = square - mean**2
        self.alive = variance > _CONSTANT * square
        deviation = np.sqrt(np.where(self.alive, variance, np.inf))
        # Scaled so that r = codes' codes - offset offset'; latents that are not alive become 0.
        values.data /= (deviation * n**0.5)[values.indices]
        self.codes, self.tokens = values, tokens
        self.offset = torch.from_numpy(mean / deviation)
        self._by_latent: Any = None

    @override
    def rows(self, other: Activity, start: int, stop: int) -> torch.Tensor:
        if self._by_latent is None:
            self._by_latent = self.codes.T.tocsr()
        products = torch.from_numpy((self._by_latent[start:stop] @ other.codes).toarray())
        return products.addr_(self.offset[start:stop], other.offset, alpha=-1)

    @override
    def scores(self, other: Activity, mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        if not len(mine):
            return np.zeros(0)
        together = self.codes.tocsc()[:, mine].multiply(other.codes.tocsc()[:, theirs])
        offsets = (self.offset[mine] * other.offset[theirs]).numpy()
        return np.asarray(together.sum(axis=0)).ravel() - offsets

    @override
    def shuffled(self, rng: np.random.Generator) -> Activity:
        n, together = self.codes.shape[0], self.tokens or 1
        stimuli = rng.permutation(n // together)
        rows = (stimuli[:, None] * together + np.arange(together)).ravel()
        other = copy(self)
        other.codes, other._by_latent = self.codes[rows], None
        return other


class Responses(Side):
    """Dense responses to the same stimuli (units, pre-activations), compared by Pearson's correlation. Constant ones
    are not alive. The null permutes stimuli."""

    measure = "activation correlation"

    def __init__(self, values: np.ndarray):
        """values [n, m]. Raises InputError for another form, and for values that are not finite."""
        x = np.asarray(values, np.float64)
        if x.ndim != 2 or not np.isfinite(x).all():
            raise InputError(
                f"Responses of shape {list(x.shape)} are no finite array [n, m]; give one column a feature."
            )
        square = (x**2).sum(axis=0)
        x = x - x.mean(axis=0)
        size = np.sqrt((x**2).sum(axis=0))
        self.alive = size**2 > _CONSTANT * square
        self.unit = torch.from_numpy((x / np.where(self.alive, size, np.inf)).T.astype(np.float32))

    @override
    def rows(self, other: Responses, start: int, stop: int) -> torch.Tensor:
        return self.unit[start:stop] @ other.unit.T

    @override
    def scores(self, other: Responses, mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        one, two = self.unit[torch.from_numpy(mine)].double(), other.unit[torch.from_numpy(theirs)].double()
        return (one * two).sum(dim=1).numpy()

    @override
    def shuffled(self, rng: np.random.Generator) -> Responses:
        other = copy(self)
        other.unit = self.unit[:, torch.from_numpy(rng.permutation(self.unit.shape[1]))]
        return other


# ------------------------------------------------------------------------------------------------------ sparse codes


def as_csr(codes: Any) -> csr_matrix:
    """Codes as a scipy CSR matrix [n, m]: from SparseCodes, a scipy matrix, or a dense array.

    Raises InputError for an array that is not [n, m].
    """
    from scipy.sparse import csr_matrix, issparse

    if isinstance(codes, SparseCodes):
        return codes.scipy()
    if not issparse(codes):
        codes = np.asarray(codes.detach().cpu() if isinstance(codes, torch.Tensor) else codes)
        if codes.ndim != 2:
            raise InputError(f"Codes of shape {list(codes.shape)} were given; give [tokens, latents].")
    return csr_matrix(codes)


def aligned(a: Sequence[str], b: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int | None, list[str]]:
    """Rows of two sides at which the same token of the same stimulus stands.

    a, b: the stimulus id of each row. The rows of one stimulus stand for its tokens in order, wherever they are.
    Returned are the rows of either side, grouped by stimulus, the number of tokens a stimulus (None where it
    differs), and the ids that both sides have.

    Raises InputError if the sides share no stimulus, or have different numbers of tokens of one.
    """
    ids_a, of_a = np.unique(np.asarray(a, dtype=str), return_inverse=True)
    ids_b, of_b = np.unique(np.asarray(b, dtype=str), return_inverse=True)
    shared, at_a, at_b = np.intersect1d(ids_a, ids_b, assume_unique=True, return_indices=True)
    if not len(shared):
        first = tuple(repr(str(ids[0])) if len(ids) else "none" for ids in (ids_a, ids_b))
        raise InputError(
            f"The two sides share no stimulus id (the first ones: {first[0]} and {first[1]}); codes are aligned by "
            "stimulus id: encode the same stimuli on both sides."
        )
    counts_a, counts_b = np.bincount(of_a)[at_a], np.bincount(of_b)[at_b]
    if different := np.flatnonzero(counts_a != counts_b).tolist():
        at = different[0]
        raise InputError(
            f"Stimulus {str(shared[at])!r} has {counts_a[at]} tokens on one side and {counts_b[at]} on the other; "
            "pool both to one row a stimulus first (saes.matching.pooled)."
        )
    same = counts_a.min() == counts_a.max()
    rows_a, rows_b = _grouped(of_a, at_a, len(ids_a)), _grouped(of_b, at_b, len(ids_b))
    return rows_a, rows_b, int(counts_a[0]) if same else None, [str(name) for name in shared]


def _grouped(of: np.ndarray, wanted: np.ndarray, total: int) -> np.ndarray:
    """The rows of the wanted stimuli in their order, each stimulus's rows in the order in which they stand."""
    place = np.full(total, -1)
    place[wanted] = np.arange(len(wanted))
    places = place[of]
    order = np.argsort(places, kind="stable")
    return order[places[order] >= 0]
