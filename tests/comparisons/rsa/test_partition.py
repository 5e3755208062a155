"""Variance partitioning against least squares written out and against a known composition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from bridge.errors import InputError
from comparisons.rsa.partition import partition_variance


def r_squared(predictors: np.ndarray, target: np.ndarray) -> float:
    design = np.column_stack([np.ones(len(target)), predictors.T])
    left = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    return float(1 - left.var() / target.var())


def data(n: int = 20) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    a, b, c, common = rng.standard_normal((4, n * (n - 1) // 2))
    groups = {"a": np.stack([a + common, a]), "b": (b + common)[None], "c": c[None]}
    return groups, a + b + common + rng.standard_normal((3, a.size))


@pytest.mark.parametrize("measure", ["corr", "spearman"])
def test_parts_of_two_and_three_groups_equal_least_squares(measure: str) -> None:
    groups, region = data()
    parts, found = partition_variance(groups, region, measure=measure, draws=0)
    assert parts == (("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c"), ())
    if measure == "spearman":
        groups, region = ({name: rankdata(x, axis=1) for name, x in groups.items()}, rankdata(region, axis=1))

    def explained(*names: str) -> float:
        return float(np.mean([r_squared(np.concatenate([groups[name] for name in names]), row) for row in region]))

    total = explained("a", "b", "c")
    assert found.estimate[7] == pytest.approx(total, abs=1e-10)
    assert found.estimate[:7].sum() == pytest.approx(total, abs=1e-10)
    assert found.estimate[0] == pytest.approx(total - explained("b", "c"), abs=1e-10)
    both = explained("a", "c") + explained("b", "c") - explained("c") - total
    assert found.estimate[3] == pytest.approx(both, abs=1e-10)


def test_intervals_come_from_the_draws_and_the_ceiling_is_squared() -> None:
    groups, region = data()
    _, found = partition_variance(groups, region, draws=200)
    assert (found.standard_error > 0).all()
    assert found.p()[[0, 1, 7]].max() < 0.05 < found.p()[2]
    assert 0 < found.ceiling[0] < found.ceiling[1] < 1
    pool = region.mean(axis=0) + 0 * region
    assert found.ceiling[1] == pytest.approx(
        np.mean([np.corrcoef(p, r)[0, 1] ** 2 for p, r in zip(pool, region, strict=True)]), abs=0.01
    )


def test_too_many_groups_are_refused() -> None:
    groups, region = data()
    with pytest.raises(InputError, match="one to 6 groups"):
        partition_variance({}, region)
    with pytest.raises(InputError, match="Predictor RDMs"):
        partition_variance({"a": groups["a"][:, :-1]}, region)
