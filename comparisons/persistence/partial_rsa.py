"""Partial RSA for data sets that are RDMs only: rho(region, simple | complex, pixels, category). Evidence is weak.

What simple features share with a region beyond complex ones is not what they explain of it alone: where the RDMs of
simple and complex features are coupled (`coupling`), whatever the complex RDM misses goes to the simple one. So this
never decides a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

if TYPE_CHECKING:
    from comparisons.rsa.inference import RSA

Array = NDArray[np.float64]
COUPLED = 0.1
"""Squared correlation of the simple RDM with the nuisances above which a partial correlation cannot be trusted."""


@dataclass(frozen=True)
class PartialRSA:
    """The partial correlation with its inference, what was taken out, and how much of the simple RDM that explains."""

    rsa: RSA
    without: RSA
    """The plain correlation of the simple RDM with the region: raw and partial always stand together."""
    nuisances: tuple[str, ...]
    coupling: float
    """R2 of the simple RDM's values (ranks, for spearman) from the nuisances'."""

    @property
    def coupled(self) -> bool:
        """Whether the leak through the nuisances may explain it."""
        return self.coupling > COUPLED


def partial_rsa(
    simple: Array,
    nuisances: Mapping[str, Array],
    region: Array,
    *,
    measure: str = "spearman",
    draws: int = 1000,
    seed: int = 0,
) -> PartialRSA:
    """The RDM of simple features [pair] against a region's RDMs [subject, pair], given `nuisances` by name, [pair] each
    (complex features, pixels, category).

    Ceilings and intervals are those of `comparisons.rsa.evaluate(nuisance=...)`. A nuisance that is constant over the
    pairs says nothing and is left out. Raises InputError without any nuisance that varies, and as `evaluate`.
    """
    from comparisons.rsa.evaluation import evaluate

    used = {name: rdm for name, rdm in nuisances.items() if np.ptp(rdm) > 0}
    if not used:
        raise InputError(
            f"None of the nuisance RDMs ({', '.join(nuisances) or 'none given'}) varies over the stimuli; give that of "
            "complex features at least."
        )
    beside, models = np.stack(list(used.values())), simple[None]
    options = {"measure": measure, "draws": draws, "seed": seed}
    return PartialRSA(
        rsa=evaluate(models, region, nuisance=beside, **options),  # type: ignore[arg-type]
        without=evaluate(models, region, **options),  # type: ignore[arg-type]
        nuisances=tuple(used),
        coupling=rdm_coupling(simple, beside, ranks=measure == "spearman"),
    )


def rdm_coupling(simple: Array, nuisances: Array, *, ranks: bool) -> float:
    """R2 of an RDM [pair] from others [k, pair] by least squares with an intercept, of their ranks if `ranks`."""
    from scipy.stats import rankdata

    every = np.vstack([simple, nuisances]).astype(np.float64)
    if ranks:
        every = rankdata(every, axis=1)
    every -= every.mean(axis=1, keepdims=True)
    fitted = every[1:].T @ np.linalg.lstsq(every[1:].T, every[0], rcond=None)[0]
    return float((fitted**2).sum() / (every[0] ** 2).sum())
