"""The latents of a model's dictionaries along its stream: which match which, and how well seeds of one site agree.

Sites that share a basis can be matched by decoder cosine, all by the correlation of activations over the same stimuli.
Where several seeds are there, the measure is the one on which they agree more at the site reached, which says nothing
of the sites before it: in few dimensions many directions are near each other by chance, and decoder cosine then finds
not even the same features of the same site. The seed ceiling of a step is measured in the same way as the step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.streams import Site
from comparisons.persistence.survival import GROUPS, Ceiling, Features, members, stratum

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from bridge.models import ModelSpec
    from comparisons.plan import Planner
    from saes.matching import Matching
    from saes.sae import SparseAutoencoder

CELLS = 8
"""Parts a side of the image in which activations are compared, at most."""
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
    """A dictionary with its codes: each latent's activation at every token, [stimulus * tokens, m], and its firing
    density [m]. `grid` is that of the tokens, None where they are none (a mean, a sample of patches)."""

    sae: SparseAutoencoder
    codes: csr_matrix
    ids: list[str]
    density: NDArray[np.float64]
    grid: tuple[int, int] | None = None
    prefix: int = 0

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Which latents are active at any token."""
        return self.density > 0

    def pooled(self, cells: int) -> tuple[csr_matrix, list[str]]:
        """The largest activation within each of `cells` x `cells` parts of the grid (1: of a stimulus), and each row's
        stimulus."""
        from saes.matching import pooled

        tokens = self.codes.shape[0] // len(self.ids)
        if cells == 1 or self.grid is None:
            return pooled(self.codes, np.repeat(self.ids, tokens).tolist())
        rows, columns = (np.arange(count) * cells // count for count in self.grid)
        part = (rows[:, None] * cells + columns).ravel()
        kept = (np.arange(len(self.ids))[:, None] * tokens + self.prefix + np.arange(len(part))).ravel()
        labels = [f"{stimulus} {cell}" for stimulus in self.ids for cell in part]
        values, _ = pooled(self.codes[kept], labels)
        # Cells appear row by row in every grid, so a row stands for the same part of the image on both sides.
        return values, np.repeat(self.ids, cells**2).tolist()


def coded(dictionary: Path, codes: Path, site: Site) -> Coded:
    """A dictionary of a site from its folder, with the codes that `comparisons.codes` wrote."""
    from scipy.sparse import csr_matrix

    from comparisons.codes import CODES
    from saes.checkpoints import read_folder

    about = json.loads((codes / CODES).read_text())
    tokens, ids = about["tokens"], about["ids"]
    with np.load(codes / "codes.npz", allow_pickle=False) as arrays:
        shape = (len(ids) * tokens, about["latents"])
        matrix = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
    matrix.eliminate_zeros()
    density = np.bincount(matrix.indices, minlength=shape[1]) / shape[0]
    grid = site.grid if tokens in (site.tokens, site.tokens - site.prefix) else None
    return Coded(read_folder(dictionary), matrix, ids, density, grid, site.prefix if tokens == site.tokens else 0)


@dataclass(frozen=True)
class How:
    """How two sites are compared: by decoder cosine, or by the correlation of activations in parts of the image."""

    by: str
    cells: int = 1
    """Parts a side in which activations are pooled before they are correlated."""


def comparable(a: Coded, b: Coded, one: Site, other: Site) -> list[How]:
    """How two sites can be compared: by decoder cosine in one basis; by activation correlation, in the finest grid of
    at most `CELLS` x `CELLS` parts that divides both sites' grids: the same place of the same image stands in one row.
    """
    cells = 1
    if a.grid is not None and b.grid is not None:
        common = math.gcd(*a.grid, *b.grid)
        cells = max(n for n in range(1, CELLS + 1) if common % n == 0)
    by_activity = How("activation correlation", cells)
    return [How("decoder cosine"), by_activity] if one.basis == other.basis else [by_activity]


def match(a: Coded, b: Coded, sites: Mapping[str, Site], how: How, seed: int = 0) -> Matching:
    """Mutual nearest neighbours above the 99th percentile of the null.

    Raises what `saes.matching.match_decoders` and `match_activations` raise.
    """
    from saes.matching import match_activations, match_decoders

    if how.by == "decoder cosine":
        return match_decoders(a.sae, b.sae, sites, alive_a=a.alive, alive_b=b.alive, seed=seed)
    (mine, my_ids), (theirs, their_ids) = a.pooled(how.cells), b.pooled(how.cells)
    return match_activations(mine, theirs, my_ids, their_ids, seed=seed)


@dataclass(frozen=True)
class Matched:
    """Everything that `survival.lives` and the ceilings need, and each pair's counts for a reader."""

    features: list[Features]
    partners: dict[tuple[int, int], NDArray[np.intp]]
    ceilings: dict[str, Ceiling]
    """By group (`survival.GROUPS`)."""
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
    labels = [stratum(values) for values in simplicity]
    rates: dict[str, Ceiling] = {
        name: Ceiling(np.full((count, count), np.nan), np.zeros((count, count))) for name in GROUPS
    }
    stability = []
    chosen: dict[tuple[int, int], How] = {}
    for k in range(count):
        offered = [comparable(first[j], first[k], sites[j], sites[k]) for j in range(k)]
        crossed = {
            one: [match(first[k], other, by_name, one, seed) for other in seeds[k][1:]]
            for one in dict.fromkeys(one for ways in offered for one in ways)
        }
        agreement = {one: float(np.nan_to_num(np.mean([m.rate() for m in found]))) for one, found in crossed.items()}
        for j, ways in enumerate(offered):
            how = chosen[j, k] = max(ways, key=agreement.__getitem__)
            for name, ceiling in rates.items():
                among = first[k].alive & members(labels[k], name)
                rate = np.mean([found.rate(among) for found in crossed[how]]) if among.any() else np.nan
                ceiling.rate[j, k], ceiling.count[j, k] = rate, among.sum() * len(crossed[how])
        stability.append(_stability(first[k], seeds[k][1:]))
        if progress is not None:
            progress(0.5 * (k + 1) / count)
    later = None if progress is None else lambda share: progress(0.5 + 0.5 * share)
    partners, pairs = match_sites_of(first, sites, chosen, seed=seed, progress=later)
    features = [
        Features(one.alive, np.asarray(simple, np.float64), one.density, stable)
        for one, simple, stable in zip(first, simplicity, stability, strict=True)
    ]
    return Matched(features, partners, rates, pairs)


def match_sites_of(
    latents: Sequence[Coded],
    sites: Sequence[Site],
    chosen: Mapping[tuple[int, int], How] | None = None,
    *,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> tuple[dict[tuple[int, int], NDArray[np.intp]], list[dict[str, Any]]]:
    """The partners of one dictionary's latents between all pairs j < k of sites ([m_j] each, -1 for none), and each
    pair's counts for a reader. Where no measure was `chosen`: decoder cosine in one basis, else correlation."""
    by_name = {site.name: site for site in sites}
    partners: dict[tuple[int, int], NDArray[np.intp]] = {}
    told: list[dict[str, Any]] = []
    for k in range(len(sites)):
        for j in range(k):
            how = chosen[j, k] if chosen else comparable(latents[j], latents[k], sites[j], sites[k])[0]
            found = match(latents[j], latents[k], by_name, how, seed)
            partners[j, k] = found.partners()
            told.append({"sites": [sites[j].name, sites[k].name], **vars(how), "pairs": len(found.a),
                         "alive": int(found.alive_a.sum()), "threshold": found.threshold})  # fmt: skip
            if progress is not None:
                progress(2 * len(told) / (len(sites) * (len(sites) - 1)))
    return partners, told


def _stability(one: Coded, others: Sequence[Coded]) -> NDArray[np.float64]:
    """The best cosine of each latent's direction with those of another seed, mean over seeds, [m]."""
    from saes.nearest import nearest
    from saes.sides import Directions

    mine = Directions(one.sae.decoder_directions, one.alive)
    best = [nearest(mine, Directions(other.sae.decoder_directions, other.alive)).score_a for other in others]
    return np.mean(best, axis=0)
