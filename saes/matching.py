"""The same features in two dictionaries: between seeds, sites and models, with a null for what chance would match.

    by decoder cosine            where both write into the same basis: seeds of one site, sites of one stage
    by activation correlation    over the same stimuli, aligned by their ids: any two sites or models

Scores of all pairs are never held at once (`saes.sides`). A pair counts only if its score lies above a percentile of
the scores of the pairs that the same method finds when one side is shuffled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bridge.errors import ConfigError, InputError
from saes.identity import plain_site, same_model
from saes.nearest import CANDIDATES, EXACT, assignment, nearest
from saes.sides import Activity, Directions, Responses, Side, aligned, as_csr

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix

    from bridge.streams import Site
    from saes.sae import SparseAutoencoder

Method = Literal["mutual nearest", "optimal assignment"]
NULL_PAIRS = 1000
"""Pairs that the null is drawn from at least (as far as 100 shuffles give them)."""
_DRAWS = 100


@dataclass(frozen=True)
class Matching:
    """Which latents of a have a partner in b. Pairs are ordered by a; every latent is in one at most."""

    measure: str
    """`decoder cosine` or `activation correlation`."""
    method: Method
    a: np.ndarray
    """Latents of the first dictionary that have a partner, int64 [pairs]."""
    b: np.ndarray
    """Their partners, int64 [pairs]."""
    scores: np.ndarray
    """Cosine or correlation of each pair, float64 [pairs]; all above the threshold."""
    threshold: float
    """This percentile of the null's pair scores; NaN if the null gave no pair, and then none is accepted."""
    percentile: float
    null_pairs: int
    """Pairs that the shuffles gave together: few make a rough threshold."""
    null_draws: int
    null: str
    """What was shuffled: `rotation`, `matched`, `stimuli` or `tokens`."""
    seed: int
    alive_a: np.ndarray
    """Which latents of a could have a partner, bool [m_a]: not the dead, constant or zero ones."""
    alive_b: np.ndarray
    rejected: np.ndarray
    """Scores of the pairs that were found but do not lie above the threshold, float64."""
    notes: tuple[str, ...] = ()
    """What was left out, and what is not exact."""

    @property
    def unmatched_a(self) -> np.ndarray:
        """Latents of a that could have a partner and have none, int64."""
        return np.setdiff1d(np.flatnonzero(self.alive_a), self.a)

    @property
    def unmatched_b(self) -> np.ndarray:
        """Latents of b that could have a partner and have none, int64."""
        return np.setdiff1d(np.flatnonzero(self.alive_b), self.b)

    def partners(self) -> np.ndarray:
        """The partner of every latent of a, int64 [m_a]; -1 for none."""
        found = np.full(len(self.alive_a), -1)
        found[self.a] = self.b
        return found

    def rate(self, among: np.ndarray | None = None) -> float:
        """Share of a's living latents that have a partner; `among` bool [m_a] restricts both (one stratum of
        simplicity, say). NaN if no latent is left. Between two seeds of one site this is the seed ceiling.

        Raises InputError if `among` has another shape.
        """
        counted = self.alive_a
        if among is not None:
            if np.shape(among) != counted.shape or np.asarray(among).dtype != bool:
                raise InputError(
                    f"`among` is {np.asarray(among).dtype} {list(np.shape(among))}; give bool [{len(counted)}]."
                )
            counted = counted & among
        return float(counted[self.a].sum() / counted.sum()) if counted.any() else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Counts, threshold and pairs as JSON values."""
        return {
            "measure": self.measure,
            "method": self.method,
            "latents": [len(self.alive_a), len(self.alive_b)],
            "alive": [int(self.alive_a.sum()), int(self.alive_b.sum())],
            "pairs": [self.a.tolist(), self.b.tolist(), self.scores.tolist()],
            "rejected": len(self.rejected),
            "rate": self.rate() if self.alive_a.any() else None,
            "threshold": None if math.isnan(self.threshold) else self.threshold,
            "percentile": self.percentile,
            "null": {"of": self.null, "pairs": self.null_pairs, "draws": self.null_draws, "seed": self.seed},
            "notes": list(self.notes),
        }


# ---------------------------------------------------------------------------------------------------- the two routes


def match_directions(
    a: np.ndarray | torch.Tensor,
    b: np.ndarray | torch.Tensor,
    *,
    alive_a: np.ndarray | None = None,
    alive_b: np.ndarray | None = None,
    method: Method = "mutual nearest",
    null: Literal["matched", "rotation"] = "matched",
    percentile: float = 99.0,
    seed: int = 0,
) -> Matching:
    """Match directions [m_a, d] and [m_b, d] of one basis by their cosine.

    `null` is drawn with the scatter of b's directions, or a random rotation of b. Where both dictionaries crowd into
    the same few dimensions, unrelated directions are near each other; a rotation takes b out of these dimensions and
    lets nearly every such pair pass, so it is for directions that fill the space. Neither knows of privileged axes:
    where both dictionaries keep to single units of the network, that alone makes partners.

    `alive_*` bool [m] says which latents count (`Metrics.density` > 0: a dead latent has a direction, too); a zero
    direction has no partner. That both are of one basis is the caller's word: `match_decoders` checks it.

    Raises InputError for different widths and for values that are not finite.
    """
    if null not in ("rotation", "matched"):
        raise ConfigError(f"The null {null!r} is not known; allowed: matched, rotation.")
    one, two = Directions(a, alive_a), Directions(b, alive_b, null)
    if one.unit.shape[1] != two.unit.shape[1]:
        raise InputError(
            f"Directions of width {one.unit.shape[1]} and {two.unit.shape[1]} are of different bases; match these "
            "dictionaries by the correlation of their activations (saes.matching.match_activations)."
        )
    return _match(one, two, method, null, percentile, seed, ())


def match_decoders(
    a: SparseAutoencoder,
    b: SparseAutoencoder,
    sites: Mapping[str, Site] | None = None,
    *,
    alive_a: np.ndarray | None = None,
    alive_b: np.ndarray | None = None,
    method: Method = "mutual nearest",
    null: Literal["matched", "rotation"] = "matched",
    percentile: float = 99.0,
    seed: int = 0,
) -> Matching:
    """Match two dictionaries by the cosine of their decoder directions, after checking that they share a basis.

    They do if they write into the same site of the same model, or into two sites of it with the same `Site.basis`
    (`sites` are the backbone's then; within a stage, for ResNets). Other arguments: `match_directions`.

    Raises ConfigError for dictionaries whose bases differ or are not known, InputError for different widths.
    """
    check_basis(a, b, sites)
    return match_directions(
        a.decoder_directions,
        b.decoder_directions,
        alive_a=alive_a,
        alive_b=alive_b,
        method=method,
        null=null,
        percentile=percentile,
        seed=seed,
    )


def match_activations(
    a: Any,
    b: Any,
    stimuli_a: Sequence[str],
    stimuli_b: Sequence[str],
    *,
    method: Method = "mutual nearest",
    percentile: float = 99.0,
    seed: int = 0,
) -> Matching:
    """Match two dictionaries by the correlation of their activations over the tokens of the same stimuli.

    a, b: codes [n, m] (SparseCodes, a scipy sparse matrix, or an array); `stimuli_*` is the stimulus id of each row.
    Row k of a stimulus on one side stands for the same token as its row k on the other; sites with different grids
    are pooled to one row a stimulus first (`pooled`). Stimuli that one side lacks are left out, and counted in the
    notes. The null permutes the stimuli of b. Dead and constant latents have no partner, nor have latents that
    correlate positively with none.

    Raises InputError for sides without a common stimulus or with different numbers of tokens of one, for ids that do
    not fit the rows, and for values that are not finite.
    """
    codes = []
    for which, values, ids in (("first", as_csr(a), stimuli_a), ("second", as_csr(b), stimuli_b)):
        if values.shape[0] != len(ids):
            raise InputError(
                f"The {which} side has {values.shape[0]} rows and {len(ids)} stimulus ids; give one id a row."
            )
        codes.append(values)
    rows_a, rows_b, tokens, shared = aligned(stimuli_a, stimuli_b)
    left_out = [len(set(map(str, ids))) - len(shared) for ids in (stimuli_a, stimuli_b)]
    notes = tuple(
        f"{count} stimuli of the {which} side are not on the other side and were left out."
        for count, which in zip(left_out, ("first", "second"), strict=True)
        if count
    )
    sides = Activity(codes[0][rows_a], tokens), Activity(codes[1][rows_b], tokens)
    return _match(*sides, method, "tokens" if tokens is None else "stimuli", percentile, seed, notes)


def match_responses(
    a: np.ndarray,
    b: np.ndarray,
    *,
    method: Method = "mutual nearest",
    percentile: float = 99.0,
    seed: int = 0,
) -> Matching:
    """As `match_activations`, of dense responses [n, m_a] and [n, m_b] whose rows are the same presentation of the same
    stimuli: units of a stream, pre-activations. Raises InputError for different numbers of rows, and for values that
    are not finite.
    """
    if len(a) != len(b):
        raise InputError(f"{len(a)} and {len(b)} rows are not of the same stimuli; present the same to both sites.")
    return _match(Responses(a), Responses(b), method, "stimuli", percentile, seed, ())


def pooled(codes: Any, stimuli: Sequence[str], how: Literal["max", "mean"] = "max") -> tuple[csr_matrix, list[str]]:
    """Codes [n, m] of tokens as codes of stimuli: each latent's largest or mean activation over a stimulus's tokens.

    Returned are a CSR matrix [stimuli, m] and the ids of its rows, in order of first appearance. Raises InputError for
    ids that do not fit the rows.
    """
    from scipy.sparse import csr_matrix

    values = as_csr(codes)
    if values.shape[0] != len(stimuli):
        raise InputError(f"Codes of {values.shape[0]} rows have {len(stimuli)} stimulus ids; give one id a row.")
    ids = list(dict.fromkeys(map(str, stimuli)))
    place = {name: row for row, name in enumerate(ids)}
    of = np.array([place[str(name)] for name in stimuli], dtype=np.int64)
    shape = (len(ids), values.shape[1])
    rows = np.repeat(of, np.diff(values.indptr))
    if how == "mean":
        counts = np.bincount(of, minlength=len(ids))
        # Entries at the same place add up.
        return csr_matrix((values.data / counts[rows], (rows, values.indices)), shape=shape), ids
    key = rows * shape[1] + values.indices
    order = np.argsort(key, kind="stable")
    key, first = np.unique(key[order], return_index=True)
    largest = np.maximum.reduceat(values.data[order], first) if len(key) else values.data
    return csr_matrix((largest, (key // shape[1], key % shape[1])), shape=shape), ids


def check_basis(a: SparseAutoencoder, b: SparseAutoencoder, sites: Mapping[str, Site] | None = None) -> None:
    """Raises ConfigError unless two dictionaries write into one basis (see `match_decoders`)."""
    instead = "match by the correlation of their activations instead (saes.matching.match_activations)"
    metadata = a.config.metadata, b.config.metadata
    names, weights = ([one.get(key) for one in metadata] for key in ("model_name", "weights"))
    if None not in weights:
        if weights[0] != weights[1]:
            raise ConfigError(
                f"The two dictionaries are of models with different weights: no basis in common; {instead}."
            )
    elif None not in names and not same_model(*map(str, names)):
        raise ConfigError(f"The two dictionaries are of {names[0]} and {names[1]}: no basis in common; {instead}.")
    one, two = (sae.config.metadata.get("hook_name_out" if sae.config.transcodes else "hook_name") for sae in (a, b))
    if one is None or two is None:
        raise ConfigError(
            "A dictionary's metadata do not name its site, so that its basis is not known; if both are of one basis, "
            "give their decoder directions to match_directions."
        )
    one, two = plain_site(one), plain_site(two)
    if one == two:
        return
    if sites is None or one not in sites or two not in sites:
        raise ConfigError(f"Whether {one} and {two} share a basis is not known; give the backbone's `sites`.")
    if sites[one].basis != sites[two].basis:
        raise ConfigError(f"{one} and {two} do not share a basis ({sites[one].basis}; {sites[two].basis}); {instead}.")


# ------------------------------------------------------------------------------------------------------ pairs, null


def _match(
    a: Side, b: Side, method: Method, null: str, percentile: float, seed: int, notes: tuple[str, ...]
) -> Matching:
    if method not in ("mutual nearest", "optimal assignment"):
        raise ConfigError(f"The method {method!r} is not known; allowed: mutual nearest, optimal assignment.")
    if not 0 <= percentile <= 100:
        raise ConfigError(f"The percentile of the null is {percentile}; give 0 to 100.")
    if method == "optimal assignment" and max(len(a), len(b)) > EXACT:
        notes = (*notes, f"Assigned among the {CANDIDATES} best partners of each latent, not among all.")
    one, two, scores = _pairs(a, b, method)
    rng = np.random.default_rng(seed)
    drawn: list[np.ndarray] = []
    while len(drawn) < _DRAWS and sum(map(len, drawn)) < NULL_PAIRS and len(scores):
        drawn.append(_pairs(a, b.shuffled(rng), method)[2])
    pool = np.concatenate(drawn) if drawn else np.zeros(0)
    threshold = float(np.percentile(pool, percentile)) if len(pool) else float("nan")
    kept = scores > threshold
    return Matching(
        measure=a.measure,
        method=method,
        a=one[kept],
        b=two[kept],
        scores=scores[kept],
        threshold=threshold,
        percentile=percentile,
        null_pairs=len(pool),
        null_draws=len(drawn),
        null=null,
        seed=seed,
        alive_a=a.alive,
        alive_b=b.alive,
        rejected=scores[~kept],
        notes=notes,
    )


def _pairs(a: Side, b: Side, method: Method) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    one, two = nearest(a, b).mutual() if method == "mutual nearest" else assignment(a, b)
    return one, two, a.scores(b, one, two)
