"""How a dictionary's error falls with its size and its sparsity: the scaling law of Gao et al. 2024, fitted to a sweep.

    L(n, k) = exp(alpha + beta_k log k + beta_n log n + gamma log k log n) + exp(zeta + eta log k)

n latents, k of them active; the second term is what no number of latents brings down (section 3.1.3 and eq. 5 there).
The published exponents are of language models: fit them anew for other streams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bridge.errors import InputError

NAMES = ("alpha", "beta_k", "beta_n", "gamma", "zeta", "eta")
HUBER = 1e-3
"""Where the loss of a log residual turns from square to linear (Hoffmann et al. 2022, appendix D.3)."""
_STARTS = 40
_FEWEST = 8


@dataclass(frozen=True)
class ScalingLaw:
    """A fitted law and how sure it is."""

    coefficients: np.ndarray
    """alpha, beta_k, beta_n, gamma, zeta, eta, float64 [6]."""
    draws: np.ndarray
    """The same, fitted to each bootstrap draw, float64 [draws, 6]."""
    residuals: np.ndarray
    """log L - log of the fit, of each point, float64 [points]."""
    n: tuple[float, float]
    """Smallest and largest number of latents in the sweep."""
    k: tuple[float, float]
    floor: float
    """Largest share of the second term in the fit over the sweep; near 0, the sweep shows no floor, and zeta and eta
    mean nothing."""
    seed: int

    def predict(self, n: Any, k: Any) -> np.ndarray:
        """The error at n latents and k active ones (numbers or arrays that broadcast), float64."""
        return np.exp(_log_law(self.coefficients, np.log(n), np.log(k)))

    def interval(self, n: Any, k: Any, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Percentile bootstrap interval of the curve at (n, k): of the fit, not of another measurement's noise. Far
        from the sweep it holds only as far as the law does. Raises InputError for a law fitted without draws."""
        if not len(self.draws):
            raise InputError("The law was fitted without bootstrap draws; give `draws` to have intervals.")
        curves = np.stack([_log_law(one, np.log(n), np.log(k)) for one in self.draws])
        low, high = np.percentile(curves, [50 * (1 - level), 50 * (1 + level)], axis=0)
        return np.exp(low), np.exp(high)

    def extrapolates(self, n: Any, k: Any) -> np.ndarray:
        """Whether (n, k) lies outside of the sweep's ranges, bool."""
        n, k = np.broadcast_arrays(n, k)
        return (n < self.n[0]) | (n > self.n[1]) | (k < self.k[0]) | (k > self.k[1])

    def as_json(self) -> dict[str, Any]:
        """Coefficients with 95% intervals, and what was fitted, as JSON values."""
        bounds = np.percentile(self.draws, [2.5, 97.5], axis=0).T if len(self.draws) else [None] * len(NAMES)
        return {
            "coefficients": dict(zip(NAMES, self.coefficients.tolist(), strict=True)),
            "intervals": {name: None if b is None else list(b) for name, b in zip(NAMES, bounds, strict=True)},
            "points": len(self.residuals),
            "draws": len(self.draws),
            "seed": self.seed,
            "residual": float(np.abs(self.residuals).max()),
            "floor": self.floor,
            "n": list(self.n),
            "k": list(self.k),
        }


def fit_scaling_law(n: Any, k: Any, loss: Any, *, draws: int = 200, seed: int = 0) -> ScalingLaw:
    """Fit the law to a sweep: loss [points] (FVU, say) of dictionaries with n latents [points] and k active ones.

    Huber loss of the log residuals, from many seeded starts, by scipy's `least_squares`. The bootstrap resamples the
    residuals of the fit (n and k stay as they were designed), scaled up by sqrt(points / (points - 6)).

    Raises InputError for fewer than 8 points, fewer than 3 different n or 2 different k, and for values that are not
    positive and finite.
    """
    n, k, loss = (np.asarray(values, dtype=np.float64).ravel() for values in (n, k, loss))
    if not len(n) == len(k) == len(loss):
        raise InputError(f"The sweep has {len(n)} n, {len(k)} k and {len(loss)} losses; give one of each a point.")
    for name, values in (("n", n), ("k", k), ("loss", loss)):
        if not (np.isfinite(values) & (values > 0)).all():
            raise InputError(f"The sweep's {name} holds values that are not positive and finite; leave them out.")
    sizes, sparsities = len(np.unique(n)), len(np.unique(k))
    if len(n) < _FEWEST or sizes < 3 or sparsities < 2:
        raise InputError(
            f"The sweep has {len(n)} points with {sizes} different n and {sparsities} different k; its six "
            f"coefficients ask for at least {_FEWEST} points with 3 different n and 2 different k."
        )
    rng = np.random.default_rng(seed)
    log_n, log_k, log_loss = np.log(n), np.log(k), np.log(loss)
    # The optimiser works about the middle of the sweep, where the coefficients hardly depend on one another.
    middle = log_n.mean(), log_k.mean()
    x, y = log_n - middle[0], log_k - middle[1]
    best = min((_fit(start, x, y, log_loss) for start in _starts(x, y, log_loss, rng)), key=lambda fit: fit[1])[0]
    fitted = _log_law(best, x, y)
    residuals = log_loss - fitted
    spread = residuals * np.sqrt(len(n) / max(1, len(n) - len(NAMES)))
    again = [_fit(best, x, y, fitted + rng.choice(spread, len(n)))[0] for _ in range(draws)]
    floor = float(np.exp(best[4] + best[5] * y - fitted).max())
    return ScalingLaw(
        coefficients=_uncentred(best, *middle),
        draws=np.array([_uncentred(one, *middle) for one in again]).reshape(-1, len(NAMES)),
        residuals=residuals,
        n=(float(n.min()), float(n.max())),
        k=(float(k.min()), float(k.max())),
        floor=floor,
        seed=seed,
    )


def _terms(c: np.ndarray, log_n: Any, log_k: Any) -> tuple[Any, Any]:
    alpha, beta_k, beta_n, gamma, zeta, eta = c
    return alpha + beta_k * log_k + beta_n * log_n + gamma * log_k * log_n, zeta + eta * log_k


def _log_law(c: np.ndarray, log_n: Any, log_k: Any) -> np.ndarray:
    return np.logaddexp(*_terms(c, log_n, log_k))


def _fit(start: np.ndarray, log_n: np.ndarray, log_k: np.ndarray, log_loss: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients and cost from one start."""
    from scipy.optimize import least_squares

    one = np.ones_like(log_n)

    def residual(c: np.ndarray) -> np.ndarray:
        return _log_law(c, log_n, log_k) - log_loss

    def jacobian(c: np.ndarray) -> np.ndarray:
        first, second = _terms(c, log_n, log_k)
        share = np.exp(first - np.logaddexp(first, second))
        columns = [share * part for part in (one, log_k, log_n, log_k * log_n)]
        return np.stack([*columns, *((1 - share) * part for part in (one, log_k))], axis=1)

    found = least_squares(residual, start, jacobian, loss="huber", f_scale=HUBER, x_scale="jac", max_nfev=400)
    return found.x, float(found.cost)


def _starts(x: np.ndarray, y: np.ndarray, log_loss: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """First terms fitted without a floor, with floors at several shares of the smallest loss and several slopes."""
    starts = []
    design = np.stack([np.ones_like(x), y, x, x * y], axis=1)
    lowest = log_loss.min()
    for _ in range(_STARTS):
        share = rng.uniform(0.05, 0.95)
        floor = lowest + np.log(share)
        above = np.log(np.exp(log_loss) - np.exp(floor))
        first = np.linalg.lstsq(design, above, rcond=None)[0]
        starts.append(np.concatenate([first, [floor, rng.uniform(-1, 0.5)]]))
    return starts


def _uncentred(c: np.ndarray, at_n: float, at_k: float) -> np.ndarray:
    """Coefficients of log n and log k from those of their distances from (at_n, at_k)."""
    alpha, beta_k, beta_n, gamma, zeta, eta = c
    return np.array(
        [
            alpha - beta_k * at_k - beta_n * at_n + gamma * at_k * at_n,
            beta_k - gamma * at_n,
            beta_n - gamma * at_k,
            gamma,
            zeta - eta * at_k,
            eta,
        ]
    )
