"""Latents of planted dictionaries: what is shared is matched, and the seed ceiling is the share that was planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from bridge.streams import Site
from comparisons.persistence.matched_latents import Coded, How, comparable, match_sites_of, matched_latents
from comparisons.persistence.survival import kaplan_meier, lives
from saes.sae import SAEConfig, SparseAutoencoder

D, M, STIMULI = 48, 60, 300
IDS = [f"s{number}" for number in range(STIMULI)]


def site(block: int, basis: str) -> Site:
    return Site(f"blocks.{block}.hook_resid_post", "resid_post", block, 1, (block + 1) / 4, D, 1, None, 0, basis)


def directions(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def codes(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((STIMULI, count)) * (rng.random((STIMULI, count)) < 0.2)


def dictionary(rows: np.ndarray, values: np.ndarray, where: Site) -> Coded:
    """A dictionary with these decoder rows and these codes of the stimuli."""
    decoder = torch.from_numpy(rows)
    tensors = {"W_enc": decoder.T.contiguous(), "b_enc": torch.zeros(M), "W_dec": decoder, "b_dec": torch.zeros(D)}
    metadata = {"hook_name": where.name, "model_name": "net"}
    sae = SparseAutoencoder(SAEConfig("topk", D, M, k=4, metadata=metadata), tensors)
    return Coded(sae, csr_matrix(values), IDS, (values > 0).mean(axis=0))


def partly(first: np.ndarray, other: np.ndarray, shared: int, axis: int) -> np.ndarray:
    """`first` with all but `shared` features replaced, in another order."""
    order = np.random.default_rng(9).permutation(M)
    mixed = np.where((np.arange(M) < shared)[:, None] if axis == 0 else np.arange(M) < shared, first, other)
    return mixed[order] if axis == 0 else mixed[:, order]


@pytest.fixture(scope="module")
def planted() -> tuple[list[list[Coded]], list[Site]]:
    """Sites 0 and 1 share a basis and 40 of 60 directions; site 2 has another basis and 30 of site 1's codes.

    Of every site's latents 45 are found by its second and third seed.
    """
    sites = [site(0, "a"), site(1, "a"), site(2, "b")]
    rows, values = [directions(M, 1)], [codes(M, 11)]
    rows.append(partly(rows[0], directions(M, 2), 40, 0))
    values.append(partly(values[0], codes(M, 12), 40, 1))
    rows.append(directions(M, 3))
    values.append(partly(values[1], codes(M, 13), 30, 1))
    seeds = []
    for number, where in enumerate(sites):
        own = [dictionary(rows[number], values[number], where)]
        for seed in (1, 2):
            again = partly(rows[number], directions(M, 20 + seed), 45, 0)
            own.append(dictionary(again, partly(values[number], codes(M, 30 + seed), 45, 1), where))
        seeds.append(own)
    return seeds, sites


def test_shared_latents_are_matched_in_either_way(planted: tuple[list[list[Coded]], list[Site]]) -> None:
    seeds, sites = planted
    partners, told = match_sites_of([own[0] for own in seeds], sites)
    assert [one["by"] for one in told] == ["decoder cosine", "activation correlation", "activation correlation"]
    assert 40 <= (partners[0, 1] >= 0).sum() <= 43
    assert 30 <= (partners[1, 2] >= 0).sum() <= 33
    order = np.random.default_rng(9).permutation(M)
    place = np.argsort(order)
    np.testing.assert_array_equal(partners[0, 1][:40], place[:40])


def test_ceilings_are_the_share_that_seeds_share(planted: tuple[list[list[Coded]], list[Site]]) -> None:
    seeds, sites = planted
    simplicity = [np.where(np.arange(M) < 30, 0.8, 0.05)] * 3
    found = matched_latents(seeds, sites, simplicity)
    assert found.ceilings["all"].rate[0, 1] == pytest.approx(45 / 60, abs=0.06)
    assert found.ceilings["all"].rate[1, 2] == pytest.approx(45 / 60, abs=0.06)
    # The first 45 latents are the shared ones: all simple ones, and half of the complex ones.
    assert found.ceilings["simple"].rate[0, 1] > 0.95
    assert found.ceilings["complex"].rate[0, 1] == pytest.approx(0.5, abs=0.1)
    assert np.isnan(found.ceilings["between"].rate).all()
    assert found.ceilings["simple"].count[0, 1] == 60
    stability = found.features[0].stability
    assert stability[:45].min() > 0.99
    assert stability[45:].max() < 0.8
    features = lives(found.features, found.partners)
    assert (features.birth == 0).sum() == M
    curve = kaplan_meier(features, found.ceilings["all"])
    assert (curve.corrected >= curve.survival).all()


def test_dead_latents_are_nobodys_match(planted: tuple[list[list[Coded]], list[Site]]) -> None:
    seeds, sites = planted
    silent = Coded(seeds[0][0].sae, csr_matrix((STIMULI, M)), IDS, np.zeros(M))
    partners, _ = match_sites_of([silent, seeds[1][0]], sites[:2])
    assert (partners[0, 1] == -1).all()


def test_places_are_compared_with_the_same_places() -> None:
    """Two sites with grids of 4 x 4 and 2 x 2: the same things at the same places of the image are one feature, though
    every stimulus has all of them somewhere."""
    rng = np.random.default_rng(0)
    shown = np.stack([rng.permutation(4) for _ in range(STIMULI)])  # which latent is active in which quarter
    fine, coarse = np.zeros((STIMULI, 4, 4, M)), np.zeros((STIMULI, 2, 2, M))
    for stimulus, order in enumerate(shown):
        for quarter, latent in enumerate(order):
            row, column = divmod(quarter, 2)
            fine[stimulus, 2 * row + rng.integers(2), 2 * column + rng.integers(2), latent] = 1
            coarse[stimulus, row, column, 9 - latent] = 1
    one, other = site(0, "a"), site(1, "b")
    base = dictionary(directions(M, 1), np.zeros((STIMULI, M)), one)
    sides = [
        Coded(base.sae, csr_matrix(values.reshape(-1, M)), IDS, (values > 0).mean(axis=(0, 1, 2)), grid)
        for values, grid in ((fine, (4, 4)), (coarse, (2, 2)))
    ]
    assert comparable(*sides, one, other) == [How("activation correlation", 2)]
    partners, told = match_sites_of(sides, [one, other])
    np.testing.assert_array_equal(partners[0, 1][:4], [9, 8, 7, 6])
    assert told[0]["cells"] == 2
    whole = [Coded(side.sae, side.codes, side.ids, side.density) for side in sides]
    assert [how.cells for how in comparable(*whole, one, other)] == [1]
    assert (match_sites_of(whole, [one, other])[0][0, 1] == -1).all(), "in whole images they are always active"


def test_the_measure_is_the_one_on_which_seeds_agree_more() -> None:
    """Directions drawn anew for every seed and site, codes shared: cosine finds nothing, not even between seeds. And
    the reverse: then sites of one basis are matched by their directions."""
    sites = [site(0, "a"), site(1, "a")]
    score = [np.full(M, 0.9)] * 2
    by_codes = [
        [dictionary(directions(M, 10 * k + s), codes(M, 1), where) for s in range(3)] for k, where in enumerate(sites)
    ]
    found = matched_latents(by_codes, sites, score)
    assert [one["by"] for one in found.pairs] == ["activation correlation"]
    assert found.ceilings["all"].rate[0, 1] > 0.95
    assert (found.partners[0, 1] == np.arange(M)).mean() > 0.95
    by_directions = [
        [dictionary(directions(M, 1), codes(M, 10 * k + s), where) for s in range(3)] for k, where in enumerate(sites)
    ]
    found = matched_latents(by_directions, sites, score)
    assert [one["by"] for one in found.pairs] == ["decoder cosine"]
    assert (found.partners[0, 1] == np.arange(M)).mean() > 0.95


def test_a_sites_groups_have_their_own_ceilings() -> None:
    sites = [site(0, "a"), site(1, "a")]
    score = np.concatenate([np.full(20, 0.9), np.full(20, 0.3), np.full(20, 0.0)])
    own = [[dictionary(directions(M, 1), codes(M, 1), where) for _ in range(3)] for where in sites]
    found = matched_latents(own, sites, [score] * 2)
    counts = {name: ceiling.count[0, 1] for name, ceiling in found.ceilings.items()}
    assert counts == {"all": 120, "simple": 40, "between": 40, "complex": 40, "not simple": 80}
