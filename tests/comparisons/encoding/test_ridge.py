"""The choice of a penalty: what single precision rules out is what double precision would have ruled out."""

from __future__ import annotations

import numpy as np
import pytest

from comparisons.encoding.ridge import PENALTIES, least_penalties, leave_one_out_errors


def spectrum(n: int, p: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = rng.standard_normal((n, p)) * np.geomspace(30, 0.01, p)
    left, scale, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    return left, scale**2


@pytest.mark.parametrize(("n", "p"), [(80, 200), (120, 30), (60, 60)])
@pytest.mark.parametrize("noise", [0.01, 1.0, 30.0])
def test_the_penalty_is_that_of_double_precision(n: int, p: int, noise: float) -> None:
    rng = np.random.default_rng(n + p)
    vectors, values = spectrum(n, p, rng)
    y = vectors @ (np.sqrt(values)[:, None] * rng.standard_normal((len(values), 12))) + noise * rng.standard_normal(
        (n, 12)
    )
    y -= y.mean(axis=0)
    y[:, 5] = 0.0  # a neuroid that never varies
    names = np.array(list("aaabbbcccddd"))
    z = vectors.T @ y
    exact = leave_one_out_errors(vectors, values, z, y, PENALTIES)
    found = least_penalties(vectors, values, z, y, PENALTIES, names)
    for name in "abcd":
        mine = names == name
        assert (found[mine] == PENALTIES[exact[:, mine].mean(axis=1).argmin()]).all()
    rough = leave_one_out_errors(vectors, values, z, y, PENALTIES, "float32")
    assert np.allclose(rough, exact, rtol=2e-4, atol=1e-9 * exact.max())
