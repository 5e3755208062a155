"""Matching: planted partners are found, chance is not matched, and what cannot be compared is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix

from bridge.errors import ConfigError, InputError
from bridge.streams import Site
from saes import sides
from saes.codes import SparseCodes
from saes.matching import check_basis, match_activations, match_decoders, match_directions, match_responses, pooled
from saes.nearest import assignment, nearest
from saes.sae import SAEConfig, SparseAutoencoder
from saes.sides import Activity, Directions, aligned, scatter


def directions(m: int, d: int = 32, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((m, d))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def planted(m: int, shared: int, d: int = 32, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two dictionaries of which the first `shared` latents of a stand, shuffled, in b; and a's partners in b."""
    rng = np.random.default_rng(1)
    a, other = directions(m, d), directions(m, d, 2)
    b = np.concatenate([a[:shared] + noise * rng.standard_normal((shared, d)), other[shared:]])
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    order = rng.permutation(m)
    partner = np.full(m, -1)
    partner[:shared] = np.argsort(order)[:shared]
    return a, b[order], partner


def activity(n: int = 3000, m: int = 60, seed: int = 0, density: float = 0.08) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.gamma(2, size=(n, m)) * (rng.random((n, m)) < density)


def names(n: int, tokens: int = 1) -> list[str]:
    return [f"s{row // tokens:05d}" for row in range(n)]


def sae(d: int = 8, s: int = 20, seed: int = 0, **metadata: object) -> SparseAutoencoder:
    generator = torch.Generator().manual_seed(seed)
    w_dec = torch.randn(s, d, generator=generator)
    tensors = {"W_enc": w_dec.T.clone(), "W_dec": w_dec, "b_dec": torch.zeros(d), "b_enc": torch.zeros(s)}
    return SparseAutoencoder(SAEConfig("standard", d, s, metadata=metadata), tensors)


# ------------------------------------------------------------------------------------------------------- directions


@pytest.mark.parametrize("method", ["mutual nearest", "optimal assignment"])
@pytest.mark.parametrize("null", ["rotation", "matched"])
def test_planted_directions_are_found_and_others_are_not(method, null):
    a, b, partner = planted(400, 250)
    found = match_directions(a, b, method=method, null=null)
    assert np.array_equal(found.partners()[:250], partner[:250])
    # Of the 150 others, about 1% of those that chance pairs up lie above its 99th percentile.
    assert (found.partners()[250:] >= 0).sum() <= 8
    assert found.rate() == pytest.approx(250 / 400, abs=0.02)
    assert found.rate(np.arange(400) < 250) == 1
    assert np.isnan(found.rate(np.zeros(400, bool)))
    np.testing.assert_allclose(found.scores, (a[found.a] * b[found.b]).sum(1), atol=1e-6)
    assert found.null_pairs >= 1000
    assert 0.5 < found.threshold < 0.8
    assert len(found.unmatched_a) + len(found.a) == 400
    assert len(np.unique(found.b)) == len(found.b)
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["null"]["of"] == null
    again = match_directions(a, b, method=method, null=null)
    assert again.threshold == found.threshold
    assert match_directions(a, b, method=method, null=null, seed=1).threshold != found.threshold


@pytest.mark.parametrize("method", ["mutual nearest", "optimal assignment"])
def test_unrelated_dictionaries_match_at_the_rate_that_the_percentile_lets_through(method):
    shares = [
        match_directions(directions(300, seed=10 + seed), directions(300, seed=30 + seed), method=method, seed=seed)
        for seed in range(12)
    ]
    pairs = sum(len(one.a) + len(one.rejected) for one in shares)
    accepted = sum(len(one.a) for one in shares)
    assert pairs > 1000
    assert 0.002 < accepted / pairs < 0.025


@pytest.mark.parametrize("crowd", [np.r_[np.ones(4), np.full(28, 0.05)], np.arange(1, 33) ** -1.0])
def test_crowded_dictionaries_need_the_matched_null(crowd):
    """Both have most of their directions in the same few dimensions, independently: nothing is shared."""
    rng = np.random.default_rng(0)
    passed = {"rotation": 0, "matched": 0}
    pairs = 0
    for seed in range(6):
        a, b = (rng.standard_normal((300, 32)) * crowd for _ in range(2))
        for null in passed:
            found = match_directions(a, b, null=null, seed=seed)
            passed[null] += len(found.a)
        pairs += len(found.a) + len(found.rejected)
    assert passed["rotation"] > 0.8 * pairs
    assert passed["matched"] < 0.03 * pairs
    # What is really shared is found all the same.
    b[:100] = a[:100] + 0.01 * crowd * rng.standard_normal((100, 32))
    assert (match_directions(a, b).partners()[:100] == np.arange(100)).mean() > 0.8


def test_scatter_is_that_of_the_gaussian_and_holds_for_few_directions():
    rng = np.random.default_rng(0)
    truth = np.diag(np.arange(1, 9) ** -1.0)
    truth *= 8 / np.trace(truth)
    draws = rng.standard_normal((20_000, 8)) @ np.sqrt(truth)
    unit = draws / np.linalg.norm(draws, axis=1, keepdims=True)
    np.testing.assert_allclose(scatter(unit), truth, atol=0.06)
    moments = 8 * unit.T @ unit / len(unit)
    assert moments[0, 0] < truth[0, 0] - 0.3
    for few in (unit[:0], unit[:1], unit[:5]):
        assert np.isfinite(scatter(few)).all()
        assert np.trace(scatter(few)) == pytest.approx(8)
    assert np.isfinite(scatter(unit * np.r_[np.ones(3), np.zeros(5)])).all()


def test_sizes_may_differ_and_blocks_do_not_matter(monkeypatch):
    a, b, _ = planted(90, 60)
    whole = match_directions(a, b[:70])
    assert whole.partners().shape == (90,)
    assert set(whole.unmatched_b) == set(range(70)) - set(whole.b)
    monkeypatch.setattr(sides, "BLOCK", 70 * 7)
    parts = match_directions(a, b[:70])
    assert np.array_equal(parts.a, whole.a)
    assert np.array_equal(parts.b, whole.b)
    swapped = match_directions(b[:70], a)
    assert np.array_equal(np.sort(nearest(Directions(a), Directions(b)).mutual()[0]),
                          np.sort(nearest(Directions(b), Directions(a)).mutual()[1]))  # fmt: skip
    assert len(set(zip(swapped.b, swapped.a, strict=True)) ^ set(zip(whole.a, whole.b, strict=True))) <= 2


def test_nearest_is_that_of_the_full_matrix(monkeypatch):
    monkeypatch.setattr(sides, "BLOCK", 1000)
    a, b = directions(150), directions(110, seed=4)
    full = a @ b.T
    found = nearest(Directions(a), Directions(b))
    assert np.array_equal(found.partner_a, full.argmax(1))
    assert np.array_equal(found.partner_b, full.argmax(0))
    np.testing.assert_allclose(found.score_a, full.max(1), atol=1e-6)
    np.testing.assert_allclose(found.score_b, full.max(0), atol=1e-6)


def test_assignment_is_scipys_and_among_candidates_as_good():
    a, b, _ = planted(300, 120)
    full = np.maximum(a @ b.T, 0)
    rows, columns = linear_sum_assignment(full, maximize=True)
    best = full[rows, columns].sum()
    one, two = assignment(Directions(a), Directions(b))
    assert full[one, two].sum() == pytest.approx(best, rel=1e-6)
    one, two = assignment(Directions(a), Directions(b), exact=0, candidates=40)
    assert full[one, two].sum() == pytest.approx(best, rel=1e-6)
    one, two = assignment(Directions(a), Directions(b), exact=0, candidates=3)
    assert 0.9 * best < full[one, two].sum() <= best
    assert len(np.unique(two)) == len(two)
    # Where one side is smaller, and where nothing is positive.
    one, two = assignment(Directions(a[:20]), Directions(b), exact=0)
    assert len(one) == 20
    for exact in (0, 100):
        one, two = assignment(Directions(a[:1]), Directions(-a[:1]), exact=exact)
        assert len(one) == len(two) == 0


def test_ties_go_to_the_first_and_pairs_stay_one_to_one():
    base = np.eye(8)
    a, b = np.concatenate([base, base]), np.concatenate([base[:4], base[:4], base[4:]])
    found = nearest(Directions(a), Directions(b)).mutual()
    assert found[0].tolist() == list(range(8))
    assert found[1].tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    one, two = assignment(Directions(a), Directions(b))
    assert len(one) == len(np.unique(two)) == 12


def test_zero_and_dead_directions_have_no_partner():
    a, b, partner = planted(120, 120, noise=0.01)
    a[3] = 0
    alive = np.ones(120, bool)
    alive[partner[5]] = False
    found = match_directions(a, b, alive_b=alive)
    assert found.partners()[3] == found.partners()[5] == -1
    assert not found.alive_a[3]
    assert 3 not in found.unmatched_a
    assert 5 in found.unmatched_a
    assert partner[5] not in found.unmatched_b
    assert found.rate() == 118 / 119
    nothing = match_directions(np.zeros((4, 8)), directions(5, 8))
    assert len(nothing.a) == 0
    assert np.isnan(nothing.rate())
    assert np.isnan(nothing.threshold)
    assert json.loads(json.dumps(nothing.as_json(), allow_nan=False))["threshold"] is None
    assert len(match_directions(np.zeros((0, 8)), directions(5, 8)).a) == 0


def test_directions_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="width 32 and 16 are of different bases"):
        match_directions(directions(5), directions(5, 16))
    with pytest.raises(InputError, match="no finite array"):
        match_directions(np.full((3, 4), np.nan), directions(3, 4))
    with pytest.raises(InputError, match=r"give bool \[5\]"):
        match_directions(directions(5), directions(5), alive_a=np.ones(4, bool))
    with pytest.raises(ConfigError, match="'best' is not known"):
        match_directions(directions(5), directions(5), method="best")
    with pytest.raises(ConfigError, match="'no' is not known"):
        match_directions(directions(5), directions(5), null="no")
    with pytest.raises(ConfigError, match="percentile of the null is 101"):
        match_directions(directions(5), directions(5), percentile=101)
    with pytest.raises(InputError, match=r"give bool \[5\]"):
        match_directions(directions(5), directions(5)).rate(np.ones(3, bool))


# ----------------------------------------------------------------------------------------------------- dictionaries


def site(name: str, basis: str) -> Site:
    return Site(name, "resid_post", 0, 1, 0.5, 8, 4, (2, 2), 0, basis)


def test_dictionaries_match_only_in_one_basis():
    post, later, beyond = (f"blocks.{block}.hook_resid_post" for block in range(3))
    known = {post: site(post, "stem"), later: site(later, "stem"), beyond: site(beyond, "from block 2")}
    a = sae(hook_name=post, model_name="resnet")
    found = match_decoders(a, sae(hook_name=post, model_name="resnet"))
    assert found.a.tolist() == found.b.tolist()
    assert found.rate() == 1
    assert match_decoders(a, sae(hook_name=later), known).rate() == 1
    with pytest.raises(ConfigError, match=r"do not share a basis \(stem; from block 2\); match by the correlation"):
        match_decoders(a, sae(hook_name=beyond), known)
    with pytest.raises(ConfigError, match="is not known; give the backbone's `sites`"):
        match_decoders(a, sae(hook_name=later))
    with pytest.raises(ConfigError, match="are of resnet and vit: no basis in common; match by the correlation"):
        match_decoders(a, sae(hook_name=post, model_name="vit"))
    with pytest.raises(ConfigError, match="models with different weights"):
        check_basis(sae(hook_name=post, weights="1"), sae(hook_name=post, weights="2"))
    # Two names of one model and of one site; where both recorded the weights, these decide.
    check_basis(a, sae(hook_name="blocks.0.hook_out", model_name="timm:ResNet"))
    check_basis(sae(hook_name=post, weights="1", model_name="a"), sae(hook_name=post, weights="1", model_name="b"))
    with pytest.raises(ConfigError, match="do not name its site"):
        match_decoders(a, sae())
    with pytest.raises(InputError, match="different bases"):
        match_decoders(a, sae(d=9, hook_name=post))


# ------------------------------------------------------------------------------------------------------ activations


def shared_activity(m: int = 60, shared: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of two dictionaries over the same tokens of which `shared` latents correspond, and a's partners."""
    rng = np.random.default_rng(5)
    a, b = activity(m=m), activity(m=m, seed=1)
    b[:, :shared] = 3 * a[:, :shared] * rng.gamma(8, 1 / 8, size=(3000, shared))
    order = rng.permutation(m)
    partner = np.full(m, -1)
    partner[:shared] = np.argsort(order)[:shared]
    return a, b[:, order], partner


@pytest.mark.parametrize("method", ["mutual nearest", "optimal assignment"])
@pytest.mark.parametrize("form", [SparseCodes.of, csr_matrix, np.asarray])
def test_planted_activity_is_found_in_any_form(method, form):
    a, b, partner = shared_activity()
    given = [form(torch.from_numpy(x)) if form is SparseCodes.of else form(x) for x in (a, b)]
    found = match_activations(*given, names(3000, 10), names(3000, 10), method=method)
    assert np.array_equal(found.partners()[:40], partner[:40])
    assert (found.partners()[40:] >= 0).sum() <= 2
    expected = [np.corrcoef(a[:, i], b[:, j])[0, 1] for i, j in zip(found.a, found.b, strict=True)]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-9)
    assert found.null == "stimuli"
    assert found.notes == ()


def test_all_correlations_are_pearsons(monkeypatch):
    a, b, _ = shared_activity()
    monkeypatch.setattr(sides, "BLOCK", 7 * 60)
    one, two = Activity(csr_matrix(a)), Activity(csr_matrix(b))
    blocks = np.concatenate([block.numpy() for _, block in one.blocks(two)])
    full = np.corrcoef(a.T, b.T)[:60, 60:]
    np.testing.assert_allclose(blocks, full, atol=1e-12)
    found = nearest(one, two)
    assert np.array_equal(found.partner_a, full.argmax(1))
    assert np.array_equal(found.partner_b, full.argmax(0))


def test_dead_and_constant_latents_have_no_partner():
    a, b, partner = shared_activity()
    a[:, 2] = 0
    b[:, partner[4]] = 0.7
    found = match_activations(a, b, names(3000), names(3000))
    assert found.partners()[2] == found.partners()[4] == -1
    assert not found.alive_a[2]
    assert not found.alive_b[partner[4]]
    assert 4 in found.unmatched_a
    one = match_activations(a[:1], b[:1], ["s"], ["s"])
    assert not one.alive_a.any()
    assert len(one.a) == 0


def test_stimuli_are_aligned_by_id_and_never_by_position():
    a, b, partner = shared_activity()
    ids = np.array(names(3000, 10))
    order = np.random.default_rng(0).permutation(300)
    rows = (order[:, None] * 10 + np.arange(10)).ravel()
    straight = match_activations(a, b, ids, ids)
    shuffled = match_activations(a, b[rows], ids, ids[rows])
    assert np.array_equal(shuffled.partners(), straight.partners())
    np.testing.assert_allclose(shuffled.scores, straight.scores)
    by_position = match_activations(a, b[rows], ids, ids)
    assert by_position.rate() < 0.1
    # Tokens of a stimulus may stand apart, as long as they are in order.
    apart = np.arange(3000).reshape(300, 10).T.ravel()
    assert np.array_equal(match_activations(a, b[apart], ids, ids[apart]).partners()[:40], partner[:40])
    fewer = match_activations(a[:2000], b[500:], ids[:2000], ids[500:])
    assert np.array_equal(fewer.partners()[:40], partner[:40])
    assert fewer.notes == (
        "50 stimuli of the first side are not on the other side and were left out.",
        "100 stimuli of the second side are not on the other side and were left out.",
    )


def test_sides_that_cannot_be_aligned_are_refused():
    a, b, _ = shared_activity()
    ids = names(3000, 10)
    with pytest.raises(InputError, match=r"share no stimulus id \(the first ones: 's00000' and 'other0'\)"):
        match_activations(a, b, ids, [f"other{row}" for row in range(3000)])
    with pytest.raises(InputError, match="'s00000' has 10 tokens on one side and 1 on the other; pool both"):
        match_activations(a, b[:300], ids, names(300))
    with pytest.raises(InputError, match="first side has 3000 rows and 2999 stimulus ids"):
        match_activations(a, b, ids[1:], ids)
    a[5, 5] = np.nan
    with pytest.raises(InputError, match="values that are not finite"):
        match_activations(a, b, ids, ids)
    with pytest.raises(InputError, match=r"give \[tokens, latents\]"):
        match_activations(a[None], b, ids, ids)


def test_the_null_keeps_stimuli_together():
    """Latents that follow the place in the image, not the image, correlate on both sides: the null does so, too."""
    rng = np.random.default_rng(0)
    place = np.tile(np.kron(np.eye(10), np.ones(1)), (300, 1))
    a, b = (place * rng.gamma(4, size=(3000, 10)) for _ in range(2))
    ids = names(3000, 10)
    kept = match_activations(a, b, ids, ids)
    assert kept.threshold > 0.7
    assert kept.rate() <= 0.2
    tokens_apart = match_activations(a, b, names(3000), names(3000))
    assert tokens_apart.rate() == 1
    uneven = [*ids[:-5], *["last"] * 5]
    assert match_activations(a, b, uneven, uneven).null == "tokens"


def test_alignment_orders_rows_by_stimulus():
    rows_a, rows_b, tokens, shared = aligned(["x", "y", "x", "z"], ["z", "x", "x", "q"])
    assert shared == ["x", "z"]
    assert rows_a.tolist() == [0, 2, 3]
    assert rows_b.tolist() == [1, 2, 0]
    assert tokens is None
    assert aligned(["b", "a"], ["a", "b"])[2] == 1


def test_pooling_to_stimuli():
    codes = activity(60, 7)
    ids = [f"s{row % 12}" for row in range(60)]
    for how in ("max", "mean"):
        values, order = pooled(codes, ids, how)
        assert order == [f"s{row}" for row in range(12)]
        expected = getattr(codes.reshape(5, 12, 7), how)(axis=0)
        np.testing.assert_allclose(values.toarray(), expected)
    empty, _ = pooled(np.zeros((3, 4)), ["a", "b", "a"])
    assert empty.shape == (2, 4)
    assert empty.nnz == 0
    with pytest.raises(InputError, match="3 rows have 2 stimulus ids"):
        pooled(np.zeros((3, 4)), ["a", "b"])


def test_dense_responses_are_matched_as_sparse_ones_are() -> None:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((200, 6))
    a = np.hstack([shared, rng.standard_normal((200, 4)), np.ones((200, 1))])
    b = np.hstack([rng.standard_normal((200, 4)), shared[:, ::-1] + 0.1 * rng.standard_normal((200, 6))])
    ids = [str(row) for row in range(200)]
    dense, sparse = match_responses(a, b), match_activations(a, b, ids, ids)
    assert dense.partners()[:6].tolist() == [9, 8, 7, 6, 5, 4]
    for own in ("a", "b", "alive_a", "alive_b"):
        np.testing.assert_array_equal(getattr(dense, own), getattr(sparse, own))
    np.testing.assert_allclose(dense.scores, sparse.scores, atol=1e-6)
    assert dense.threshold == pytest.approx(sparse.threshold, abs=0.05)
    assert not dense.alive_a[-1]
    with pytest.raises(InputError, match="same stimuli"):
        match_responses(a, b[1:])
    with pytest.raises(InputError, match="finite"):
        match_responses(a, np.full_like(b, np.nan))
