"""What training adds to transport: are directions that the task does not use passed on better than those it does?

Shown beside the verdict. Directions of a stage are told apart by labels of the stimuli; both kinds have like variance,
so that the difference is not one of size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TaskDirections:
    """Orthonormal directions of a stage: those that separate classes, and others of like variance, [r, d] each."""

    relevant: Array
    irrelevant: Array


def task_directions(values: NDArray, labels: NDArray) -> TaskDirections:
    """Directions from a stage's values of stimuli [n, d] (mean over tokens) and the stimuli's labels [n].

    Relevant: principal axes of the class means, r = min(classes - 1, d / 2) of them. Irrelevant: principal axes of
    what is left within classes, orthogonal to all class means, each the one whose variance is next to a relevant one's.
    Raises InputError for fewer than two classes, or where nothing is left within them.
    """
    values = np.asarray(values, np.float64)
    classes, numbered = np.unique(labels, return_inverse=True)
    if len(classes) < 2 or len(numbered) != len(values):
        raise InputError(
            f"{len(numbered)} labels of {len(classes)} classes were given for {len(values)} stimuli; give one for "
            "each, of two classes at least."
        )
    means = np.stack([values[numbered == row].mean(axis=0) for row in range(len(classes))])
    centred = values - values.mean(axis=0)
    span = min(len(classes) - 1, values.shape[1] - 1)
    axes = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2][:span]
    relevant = axes[: max(1, min(span, values.shape[1] // 2))]
    within = values - means[numbered]
    within -= within @ axes.T @ axes
    singular, others = np.linalg.svd(within, full_matrices=False)[1:]
    others = others[singular > 1e-9 * max(float(singular.max()), 1e-300)]
    if not len(others):
        raise InputError("Nothing varies within the classes, so there is no direction that the task does not use.")
    spread = (centred @ others.T).var(axis=0)
    free, chosen = list(range(len(others))), []
    for wanted in (centred @ relevant.T).var(axis=0)[: len(others)]:
        chosen.append(min(free, key=lambda row: abs(np.log(spread[row] / max(wanted, 1e-300)))))
        free.remove(chosen[-1])
    return TaskDirections(relevant[: len(chosen)], others[chosen])


def contrast(irrelevant: Array, relevant: Array) -> tuple[float, float]:
    """Mean of the one minus mean of the other, and its standard error over directions (NaN of a single one)."""
    irrelevant, relevant = (values[np.isfinite(values)] for values in (irrelevant, relevant))
    if not len(irrelevant) or not len(relevant):
        return float("nan"), float("nan")
    if min(len(irrelevant), len(relevant)) < 2:
        return float(irrelevant.mean() - relevant.mean()), float("nan")
    se = np.sqrt(sum(values.var(ddof=1) / len(values) for values in (irrelevant, relevant)))
    return float(irrelevant.mean() - relevant.mean()), float(se)
