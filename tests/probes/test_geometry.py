"""Dimensions against closed forms, and against scikit-dimension."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.errors import InputError
from probes.geometry import cvpca, effective_latents, matched, participation_ratio
from probes.intrinsic import decimation, nearest_two, two_nn
from probes.manifolds import cone_geometry, manifold_geometry


def test_participation_ratio_is_its_closed_form() -> None:
    rng = np.random.default_rng(0)
    for scale in (np.ones(6), np.array([3, 1, 1, 0.5]), np.array([1, 0, 0])):
        x = rng.standard_normal((400_000, len(scale))) * scale
        expected = (scale**2).sum() ** 2 / (scale**4).sum()
        assert participation_ratio(x) == pytest.approx(expected, rel=0.01)
    wide = rng.standard_normal((30, 500))
    cov = np.cov(wide.T)
    assert participation_ratio(wide) == pytest.approx(np.trace(cov) ** 2 / (cov**2).sum(), rel=1e-9)
    assert np.isnan(participation_ratio(np.ones((5, 3))))


def test_participation_ratio_is_scikit_dimensions_pca_measure() -> None:
    skdim = pytest.importorskip("skdim")
    x = np.random.default_rng(1).standard_normal((300, 12)) * np.linspace(1, 3, 12)
    assert participation_ratio(x) == pytest.approx(skdim.id.lPCA(ver="participation_ratio").fit(x).dimension_)


@pytest.mark.parametrize("alpha", [0.8, 1.2])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_cvpca_finds_the_exponent_through_noise(alpha: float, noise: float) -> None:
    """Eigenvalues rank^-alpha; independent noise in each repeat flattens the plain spectrum and not this one."""
    rng = np.random.default_rng(2)
    d, n = 300, 3000
    signal = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** (-alpha / 2)
    turn, _ = np.linalg.qr(rng.standard_normal((d, d)))
    sd = noise * np.sqrt((np.arange(1, d + 1) ** -alpha).mean())
    repeats = signal @ turn + sd * rng.standard_normal((2, n, d))
    assert cvpca(repeats, (5, 60)).alpha == pytest.approx(alpha, abs=0.12)


def test_cvpca_of_noise_shares_nothing() -> None:
    found = cvpca(np.random.default_rng(3).standard_normal((2, 500, 50)))
    assert abs(found.shared.sum()) < 3
    with pytest.raises(InputError, match="two repeats"):
        cvpca(np.zeros((3, 5, 5)))
    assert np.isnan(cvpca(np.random.default_rng(0).standard_normal((2, 6, 5))).alpha)


@pytest.mark.parametrize("width", [3, 10, 30, 60])
@pytest.mark.parametrize("method", ["fit", "likelihood"])
def test_two_nn_is_scikit_dimensions(width: int, method: str) -> None:
    skdim = pytest.importorskip("skdim")
    rng = np.random.default_rng(4)
    x = np.sin(rng.standard_normal((800, 3)) @ rng.standard_normal((3, width)) * 0.2)
    for discard in (0.1, 0.3):
        theirs = skdim.id.TwoNN(discard_fraction=discard, method={"fit": "linear", "likelihood": "mle"}[method])
        ours = two_nn(x, discard, method)  # type: ignore[arg-type]
        assert ours.dimension == pytest.approx(theirs.fit(x).dimension_, rel=1e-9)
    assert ours.dimension == pytest.approx(3, abs=0.5)


def test_neighbours_are_exact_where_points_are_close() -> None:
    rng = np.random.default_rng(5)
    x = 1e3 + rng.standard_normal((300, 40))
    x[1] = x[0] + 1e-7
    x[3] = x[2]
    first, second = nearest_two(x)
    distance = np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))
    distance[np.diag_indices(300)] = np.inf
    expected = np.sort(distance, axis=1)
    np.testing.assert_allclose(first, expected[:, 0], rtol=1e-9)
    np.testing.assert_allclose(second, expected[:, 1], rtol=1e-9)
    assert two_nn(x).duplicates == 2


def test_two_nn_without_an_answer() -> None:
    assert np.isnan(two_nn(np.zeros((10, 3))).dimension)
    assert two_nn(np.zeros((10, 3))).duplicates == 10
    with pytest.raises(InputError, match="finite"):
        two_nn(np.full((10, 3), np.nan))


def test_decimation_takes_noise_away() -> None:
    """A noisy curve looks three-dimensional from near, and less so the fewer points there are."""
    rng = np.random.default_rng(6)
    angle = rng.uniform(0, 2 * np.pi, 8000)
    x = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(8000)]) + 0.003 * rng.standard_normal((8000, 3))
    found = decimation(x, halvings=6)
    assert [count for count, _, _ in found] == [8000, 4000, 2000, 1000, 500, 250, 125]
    assert found[0][1] > 1.8
    assert found[-1][1] < 1.4
    assert found == decimation(x, halvings=6)


def test_effective_latents() -> None:
    z = np.zeros((100, 20))
    assert effective_latents(z) == 0
    z[:, :4] = np.sqrt(np.random.default_rng(0).exponential(size=(100, 1)))
    assert effective_latents(z) == pytest.approx(4)
    z[:, 4] = 1e-3
    assert effective_latents(z) == pytest.approx(4, abs=1e-3)


def test_matched_numbers() -> None:
    rng = np.random.default_rng(7)
    rows = np.arange(50)[:, None]
    parts = [rows + np.zeros((50, 30)), rows + np.zeros((50, 12))]
    one, two = matched(parts, seed=1, n=20)
    assert one.shape == two.shape == (20, 12)
    np.testing.assert_array_equal(one[:, 0], two[:, 0])
    with pytest.raises(InputError, match="same stimuli"):
        matched([rng.random((5, 3)), rng.random((6, 3))], seed=0)
    with pytest.raises(InputError, match="ask for fewer"):
        matched(parts, seed=0, d=13)


@pytest.mark.parametrize("radius", [0.2, 1.0, 3.0])
def test_capacity_of_a_pair_of_points_is_its_closed_form(radius: float) -> None:
    """A cone of half-angle psi = atan R in the plane: 1 / capacity = 1/2 + 2 psi / pi (its statistical dimension)."""
    points = np.array([[radius, 1.0], [-radius, 1.0]])
    _, dimension, capacity = cone_geometry(points, 20_000, np.random.default_rng(0))
    assert 1 / capacity == pytest.approx(0.5 + 2 * np.arctan(radius) / np.pi, abs=0.02)
    assert dimension < 1.001


def test_capacity_of_points_is_covers() -> None:
    capacity = cone_geometry(np.array([[1.0]]), 40_000, np.random.default_rng(1))[2]
    assert capacity == pytest.approx(2, abs=0.05)


def test_capacity_of_balls_falls_with_radius_and_dimension() -> None:
    """Manifolds in 200 dimensions: small ones come near 2; the ball's dimension and radius are found."""
    rng = np.random.default_rng(8)
    found = {}
    for radius, dimension in ((0.01, 5), (1.0, 5), (1.0, 20)):
        parts, labels = [], []
        for number in range(6):
            axes = np.linalg.qr(rng.standard_normal((200, dimension)))[0].T
            sphere = rng.standard_normal((150, dimension))
            sphere *= radius / np.linalg.norm(sphere, axis=1, keepdims=True)
            centre = rng.standard_normal(200)
            parts.append(centre / np.linalg.norm(centre) + sphere @ axes)
            labels += [number] * 150
        found[radius, dimension] = manifold_geometry(np.concatenate(parts), labels, draws=100)
    assert found[0.01, 5].mean_capacity == pytest.approx(2, abs=0.2)
    assert found[0.01, 5].mean_capacity > found[1.0, 5].mean_capacity > found[1.0, 20].mean_capacity
    assert 0.5 < np.median(found[1.0, 5].radius) < 1.5
    assert np.median(found[1.0, 20].dimension) > 1.5 * np.median(found[1.0, 5].dimension)
    with pytest.raises(InputError, match="two objects or more"):
        manifold_geometry(np.zeros((4, 3)), [0, 0, 0, 0])


def test_neighbours_are_exact_where_float32_cannot_rank_them() -> None:
    """Many points far from the mean whose distances differ in the tenth digit, beside one that lies far out."""
    rng = np.random.default_rng(9)
    x = rng.standard_normal((6, 30))[rng.integers(0, 6, 200)] + 1e-6 * rng.standard_normal((200, 30))
    x[7] = 1e5
    first, second = nearest_two(x)
    distance = np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))
    distance[np.diag_indices(200)] = np.inf
    expected = np.sort(distance, axis=1)
    np.testing.assert_allclose(first, expected[:, 0], rtol=1e-6)
    np.testing.assert_allclose(second, expected[:, 1], rtol=1e-6)
