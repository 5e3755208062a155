"""How alike two representations of the same stimuli are, up to what each measure ignores. No map is fitted on one part
and judged on another: see `encoding` for that.

All take features [n, p] and [n, q] of the same stimuli in the same order, and are symmetric.
"""

from __future__ import annotations

import numpy as np

from bridge.errors import InputError
from comparisons.encoding.gram import LinearKernel


def cka(x: np.ndarray | LinearKernel, y: np.ndarray | LinearKernel, *, unbiased: bool = True) -> float:
    """Linear centred kernel alignment: <K, L> / |K| |L| of the centred kernels (Kornblith et al. 2019).

    The biased form rises with the number of features even for independent noise; the unbiased one (Song et al. 2012;
    Murphy et al. 2024, arXiv 2405.01012) stays at 0 there and may fall below. Equal to Brain-Score's `linear_CKA` and
    `unbiased_linear_CKA`, which gives 0, as here, where either has no unbiased variance. Raises InputError for
    different stimuli, or fewer than 4 for the unbiased form.
    """
    k, m = _kernels(x, y)
    if not unbiased:
        sizes = np.linalg.norm(k) * np.linalg.norm(m)
        return float((k * m).sum() / sizes) if sizes > 0 else 0.0
    if len(k) < 4:
        raise InputError(f"Unbiased CKA needs at least 4 stimuli; there are {len(k)}.")
    product = unbiased_hsic(k, k) * unbiased_hsic(m, m)
    return unbiased_hsic(k, m) / (float(np.sqrt(product)) + 1e-12) if product > 0 else 0.0


def unbiased_hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Unbiased Hilbert-Schmidt independence criterion of two kernels [n, n] (Song et al. 2012, equation 5)."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    rows_k, rows_m = k.sum(axis=0), m.sum(axis=0)
    total = (k * m).sum() + rows_k.sum() * rows_m.sum() / ((n - 1) * (n - 2)) - 2 * (rows_k @ rows_m) / (n - 2)
    return float(total / (n * (n - 3)))


def procrustes(x: np.ndarray | LinearKernel, y: np.ndarray | LinearKernel) -> float:
    """Similarity up to shift, scale and rotation: |X'Y|_* / (|X| |Y|), 0 to 1 (Schoenemann 1966; Williams et al. 2021).

    Its arccosine is a metric. Features of different number are padded with zeros, which changes nothing. It is biased
    up by many features, as biased CKA is. Raises InputError for different stimuli.
    """
    a, b = (value if isinstance(value, LinearKernel) else LinearKernel(value) for value in (x, y))
    _same_stimuli(a, b)
    left, right = a.reduced, b.reduced
    sizes = np.linalg.norm(left) * np.linalg.norm(right)
    if not sizes > 0:
        return 0.0
    return float(np.linalg.svd(left.T @ right, compute_uv=False).sum() / sizes)


def _kernels(x: np.ndarray | LinearKernel, y: np.ndarray | LinearKernel) -> tuple[np.ndarray, np.ndarray]:
    a, b = (value if isinstance(value, LinearKernel) else LinearKernel(value) for value in (x, y))
    _same_stimuli(a, b)
    return a.matrix, b.matrix


def _same_stimuli(a: LinearKernel, b: LinearKernel) -> None:
    if a.n != b.n:
        raise InputError(f"Features of {a.n} and of {b.n} stimuli were given; give both sides the same stimuli.")
