"""The additive law, as a check of linearity: Var_k = b + sum_j w_jk sigma_j^2 for noise sigma_j injected at stages j.

It holds in skip networks and plain chains alike (noise that is small adds up in both), so it says nothing about P2.
What it does say: whether the Jacobians, which are local, describe noise of the size that was injected.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

if TYPE_CHECKING:
    from bridge.models.base import Backbone

Array = NDArray[np.float64]


@dataclass(frozen=True)
class AdditiveLaw:
    """Weights w_jk [sites], offset b, and R2 on the settings that were held out."""

    weights: Array
    offset: float
    held_out_r2: float


def additive_law(noise: Array, variances: Array) -> AdditiveLaw:
    """Non-negative least squares of variances [settings] on injected variances sigma_j^2 [settings, sites].

    Fitted on every other setting, judged on the rest; errors count relative to the variance (it spans decades). Raises
    InputError for fewer than twice as many settings as two more than the sites.
    """
    from scipy.optimize import nnls

    settings, sites = noise.shape
    if settings < 2 * (sites + 2):
        raise InputError(f"{settings} settings were given for {sites} sites; give at least {2 * (sites + 2)}.")
    design = np.hstack([noise, np.ones((settings, 1))])
    scale = 1 / np.maximum(variances, 1e-300)
    fit, test = slice(0, None, 2), slice(1, None, 2)
    # The offset is brought to the columns' size: the solver compares gradients.
    size = np.maximum((design[fit] * scale[fit, None]).max(axis=0), 1e-300)
    weights = nnls(design[fit] * scale[fit, None] / size, np.ones(len(noise[fit])))[0] / size
    predicted, seen = design[test] @ weights, variances[test]
    r2 = 1 - ((seen - predicted) ** 2).sum() / max(((seen - seen.mean()) ** 2).sum(), 1e-300)
    return AdditiveLaw(weights[:-1], float(weights[-1]), float(r2))


def injected(
    backbone: Backbone,
    inputs: Any,
    sites: Sequence[str],
    target: str,
    *,
    settings: int = 16,
    draws: int = 8,
    sizes: tuple[float, float] = (0.0005, 0.005),
    seed: int = 0,
) -> tuple[Array, Array]:
    """Noise variances (sigma_j^2 [settings, sites]) and the mean square change of `target` that each causes [settings].

    sigma_j are drawn log-uniformly between `sizes`, in standard deviations of the site over the prepared batch. Each
    setting is the mean over `draws` of the noise: where few directions arrive (in chains), one draw says little.
    """
    from bridge.interventions import noisy
    from bridge.streams import read

    clean = read(backbone, inputs, [*sites, target])
    spread = np.array([float(clean[name].std()) for name in sites])
    rng = np.random.default_rng(seed)
    drawn = np.exp(rng.uniform(np.log(sizes[0]), np.log(sizes[1]), (settings, len(sites)))) * spread
    variances = np.empty(settings)
    for row in range(settings):
        changes = []
        for draw in range(draws):
            with ExitStack() as stack:
                for number, (name, size) in enumerate(zip(sites, drawn[row], strict=True)):
                    own = seed + 1 + (row * draws + draw) * len(sites) + number
                    stack.enter_context(noisy(backbone, name, float(size), own))
                moved = read(backbone, inputs, [target])[target]
            changes.append(float((moved - clean[target]).double().square().mean()))
        variances[row] = np.mean(changes)
    return drawn**2, variances
