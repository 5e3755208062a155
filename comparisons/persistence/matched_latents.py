"""The latents of a model's dictionaries along its stream: which match which, and how well seeds of one site agree.

Sites that share a basis are matched by decoder cosine, others by the correlation of activations over the same stimuli;
the seed ceiling of a step is measured in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.streams import Site
from comparisons.persistence.survival import STRATA, Ceiling, Features, stratum

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from bridge.models import ModelSpec
    from comparisons.plan import Planner
    from saes.matching import Matching
    from saes.sae import SparseAutoencoder

LEAST_SEEDS = 3
"""Seeds a site that a survival needs: their disagreement is its ceiling."""


@dataclass(frozen=True)
class Seeded:
    """Dictionaries of one `saes` entry at several sites of a model: every seed's name, the sites in order."""

    names: tuple[str, ...]
    sites: dict[str, Site]
    stages: dict[str, str]
    """The stage that makes each dictionary, by SITE/NAME."""


def seeded_dictionaries(planner: Planner, model: ModelSpec) -> list[Seeded]:
    """The entries of `saes` that give a model three seeds or more at two sites or more (plain dictionaries of one site
    each)."""
    offered = planner.features.get(model.name, {})
    found = []
    for spec in planner.config.saes:
        names = tuple(spec.names())
        if len(names) < LEAST_SEEDS:
            continue
        sites = {}
        for name, site in planner.sites(model).items():
            entries = [planner.dictionaries.get((model.name, f"{name}/{own}")) for own in names]
            plain = all(entry is not None and entry[1] == (name,) and entry[2] is None for entry in entries)
            if plain and all(f"{name}/{own}" in offered for own in names):
                sites[name] = site
        if len(sites) > 1:
            stages = {
                f"{name}/{own}": planner.dictionaries[model.name, f"{name}/{own}"][0] for name in sites for own in names
            }
            found.append(Seeded(names, sites, stages))
    return found


@dataclass(frozen=True)
class Coded:
    """A dictionary with its codes: pooled over tokens [stimulus, m] (largest), and each latent's firing density [m]."""

    sae: SparseAutoencoder
    pooled: csr_matrix
    ids: list[str]
    density: NDArray[np.float64]

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Which latents are active at any token."""
        return self.density > 0


def coded(dictionary: Path, codes: Path) -> Coded:
    """A dictionary from its folder, with the codes that `comparisons.codes` wrote."""
    from scipy.sparse import csr_matrix

    from comparisons.codes import CODES
    from saes.checkpoints import read_folder
    from saes.matching import pooled

    about = json.loads((codes / CODES).read_text())
    tokens, ids = about["tokens"], about["ids"]
    with np.load(codes / "codes.npz", allow_pickle=False) as arrays:
        shape = (len(ids) * tokens, about["latents"])
        matrix = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
    matrix.eliminate_zeros()
    density = np.bincount(matrix.indices, minlength=shape[1]) / shape[0]
    values, names = pooled(matrix, np.repeat(ids, tokens).tolist())
    return Coded(read_folder(dictionary), values, names, density)


def match(a: Coded, b: Coded, sites: Mapping[str, Site], by: str, seed: int = 0) -> Matching:
    """Mutual nearest neighbours above the 99th percentile of the null, by `decoder cosine` or `activation correlation`.

    Raises what `saes.matching.match_decoders` and `match_activations` raise.
    """
    from saes.matching import match_activations, match_decoders

    if by == "decoder cosine":
        return match_decoders(a.sae, b.sae, sites, alive_a=a.alive, alive_b=b.alive, seed=seed)
    return match_activations(a.pooled, b.pooled, a.ids, b.ids, seed=seed)


@dataclass(frozen=True)
class Matched:
    """Everything that `survival.lives` and the ceilings need, and each pair's counts for a reader."""

    features: list[Features]
    partners: dict[tuple[int, int], NDArray[np.intp]]
    ceilings: dict[str, Ceiling]
    """By stratum of simplicity, and `all`."""
    pairs: list[dict[str, Any]]


def matched_latents(
    seeds: Sequence[Sequence[Coded]],
    sites: Sequence[Site],
    simplicity: Sequence[NDArray],
    *,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Matched:
    """Match the first seed's latents between all pairs of sites, and with the other seeds at each site.

    `seeds[k][s]` is seed s at site k, `simplicity[k]` [m] the first seed's Gabor simplicity.
    """
    count = len(sites)
    by_name = {site.name: site for site in sites}
    first = [own[0] for own in seeds]
    by = [[_measure(one, other) for other in sites] for one in sites]
    partners, pairs = match_sites_of(first, sites, seed=seed, progress=progress)
    labels = [stratum(values) for values in simplicity]
    rates: dict[str, Ceiling] = {
        name: Ceiling(np.full((count, count), np.nan), np.zeros((count, count))) for name in (*STRATA, "all")
    }
    stability = []
    for k in range(count):
        for measure in dict.fromkeys(by[j][k] for j in range(k)):
            crossed = [match(first[k], other, by_name, measure, seed) for other in seeds[k][1:]]
            for name, ceiling in rates.items():
                among = first[k].alive & ((labels[k] == name) if name != "all" else True)
                rate = np.mean([one.rate(among) for one in crossed]) if among.any() else np.nan
                for j in range(k):
                    if by[j][k] == measure:
                        ceiling.rate[j, k], ceiling.count[j, k] = rate, among.sum() * len(crossed)
        stability.append(_stability(first[k], seeds[k][1:]))
    features = [
        Features(one.alive, np.asarray(simple, np.float64), one.density, stable)
        for one, simple, stable in zip(first, simplicity, stability, strict=True)
    ]
    return Matched(features, partners, rates, pairs)


def match_sites_of(
    latents: Sequence[Coded],
    sites: Sequence[Site],
    *,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> tuple[dict[tuple[int, int], NDArray[np.intp]], list[dict[str, Any]]]:
    """The partners of one dictionary's latents between all pairs j < k of sites ([m_j] each, -1 for none), and each
    pair's counts for a reader."""
    by_name = {site.name: site for site in sites}
    partners: dict[tuple[int, int], NDArray[np.intp]] = {}
    told: list[dict[str, Any]] = []
    for k in range(len(sites)):
        for j in range(k):
            found = match(latents[j], latents[k], by_name, _measure(sites[j], sites[k]), seed)
            partners[j, k] = found.partners()
            told.append({"sites": [sites[j].name, sites[k].name], "by": found.measure, "pairs": len(found.a),
                         "alive": int(found.alive_a.sum()), "threshold": found.threshold})  # fmt: skip
            if progress is not None:
                progress(2 * len(told) / (len(sites) * (len(sites) - 1)))
    return partners, told


def _measure(a: Site, b: Site) -> str:
    return "decoder cosine" if a.basis == b.basis else "activation correlation"


def _stability(one: Coded, others: Sequence[Coded]) -> NDArray[np.float64]:
    """The best cosine of each latent's direction with those of another seed, mean over seeds, [m]."""
    from saes.nearest import nearest
    from saes.sides import Directions

    mine = Directions(one.sae.decoder_directions, one.alive)
    best = [nearest(mine, Directions(other.sae.decoder_directions, other.alive)).score_a for other in others]
    return np.mean(best, axis=0)
