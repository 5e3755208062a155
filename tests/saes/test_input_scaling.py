"""Scaling of activations, where training starts, and folding into the tensors."""

from __future__ import annotations

import pytest
import torch

from bridge.errors import InputError
from saes.initial import geometric_median, initial_tensors
from saes.input_scaling import Scaling, folded
from saes.settings import Training

DRAW = torch.Generator().manual_seed(0)
X = 30 * torch.randn(500, 6, generator=DRAW) + torch.tensor([1e3, 0, -5, 2, 0, 7])


def total(x: torch.Tensor) -> float:
    return float((x - x.mean(0)).double().square().sum() / len(x))


def test_total_variance_is_one() -> None:
    scaled = Scaling.fitted(X).apply(X)
    assert total(scaled) == pytest.approx(1, rel=1e-5)
    assert scaled.mean(0).abs().max() < 1e-4
    ratios = scaled.std(0) / X.std(0)
    torch.testing.assert_close(ratios, ratios[:1].expand(6))  # one number for all dimensions


def test_sites_of_a_crosscoder_weigh_the_same() -> None:
    joint = torch.cat([X, 1e-3 * X[:, :2]], 1)
    scaled = Scaling.fitted(joint, [6, 2]).apply(joint)
    assert total(scaled[:, :6]) == pytest.approx(0.5, rel=1e-4)
    assert total(scaled[:, 6:]) == pytest.approx(0.5, rel=1e-4)


def test_in_place_overwrites_and_otherwise_does_not() -> None:
    scaling, given = Scaling.fitted(X), X.clone()
    expected = scaling.apply(given)
    assert torch.equal(given, X)
    assert scaling.apply(given, in_place=True) is given
    assert torch.equal(given, expected)


def test_what_cannot_be_scaled() -> None:
    with pytest.raises(InputError, match="NaN or infinite values stand among the stream; mend"):
        Scaling.fitted(X.clone().index_fill_(0, torch.tensor([3]), float("inf")), what="the stream")
    with pytest.raises(InputError, match="the stream do not vary"):
        Scaling.fitted(torch.full((900, 3), 0.1), what="the stream")
    with pytest.raises(InputError, match="do not vary"):  # one constant site of two
        Scaling.fitted(torch.cat([X, torch.ones(500, 2)], 1), [6, 2])


def test_folding_needs_nothing_of_tensors_that_act_on_the_stream() -> None:
    tensors = {"W_enc": torch.randn(6, 4), "W_dec": torch.randn(4, 6), "b_enc": torch.randn(4), "b_dec": torch.randn(6)}
    none = Scaling.none(6)
    same = folded(tensors, none, none, transcodes=False)
    for name, value in tensors.items():
        assert torch.equal(value, same[name])
        assert value.data_ptr() != same[name].data_ptr()


def test_decoder_directions_keep_their_norms() -> None:
    tensors = {"W_enc": torch.randn(6, 4), "W_dec": torch.randn(4, 6), "b_enc": torch.randn(4), "b_dec": torch.randn(6)}
    scaling = Scaling.fitted(X)
    torch.testing.assert_close(folded(tensors, scaling, scaling, transcodes=False)["W_dec"], tensors["W_dec"])


def test_geometric_median_is_where_distances_are_least() -> None:
    cross = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 100.0]])
    found = geometric_median(cross, iterations=1000, tolerance=1e-9)
    for away in (torch.tensor([0.01, 0.0]), torch.tensor([0.0, 0.01]), torch.tensor([0.0, -0.01])):
        assert (cross - found).norm(dim=1).sum() <= (cross - found - away).norm(dim=1).sum() + 1e-6
    assert found[1] < 1 < cross.mean(0)[1]  # the outlier pulls the mean to 20
    torch.testing.assert_close(geometric_median(torch.ones(5, 3)), torch.ones(3))


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "matryoshka", "relu", "jumprelu", "gated"])
def test_training_starts_parallel_and_fitting(kind: str) -> None:
    """Encoder rows are parallel to unit decoder rows, and no other gain gives a better first reconstruction."""
    from saes.architectures.base import Batch

    spec = Training(architecture={"kind": kind, "latents": 64}).architecture  # type: ignore[arg-type]
    x = Scaling.fitted(X).apply(X)
    tensors = initial_tensors(spec, x, x, 3, transcodes=False, skip=False)
    torch.testing.assert_close(tensors["decoder"].norm(dim=1), torch.ones(64))
    cosine = torch.nn.functional.cosine_similarity(tensors["encoder"], tensors["decoder"])
    torch.testing.assert_close(cosine, torch.ones(64))
    again = initial_tensors(spec, x, x, 3, transcodes=False, skip=False)
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)
    if kind not in ("jumprelu",):  # whose thresholds do not grow with the gain
        own = spec.forward(tensors, Batch(x, x)).share
        for factor in (0.9, 1.1):
            other = {**tensors, "encoder": factor * tensors["encoder"]}
            assert own <= spec.forward(other, Batch(x, x)).share


def test_transcoders_start_with_directions_of_their_own() -> None:
    spec = Training(architecture={"kind": "relu", "latents": 64}).architecture  # type: ignore[arg-type]
    tensors = initial_tensors(spec, X, X[:, :3], 3, transcodes=True, skip=True)
    assert {name: tuple(value.shape) for name, value in tensors.items()} == {
        "encoder": (64, 6), "decoder": (64, 3), "b_enc": (64,), "b_dec": (3,), "skip": (3, 6),
    }  # fmt: skip
