"""What can be said of a feature at all: alive, dead, constant, undefined, or driven by a single stimulus.

A feature is one column of an array [n_stim, feature]: a unit, a latent or a neuroid. Every probe states what it
returns for features that are not alive; this is where they are told apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError

ALIVE, DEAD, CONSTANT, UNDEFINED, SINGLE = "alive", "dead", "constant", "undefined", "single stimulus"
STATES = (ALIVE, DEAD, CONSTANT, UNDEFINED, SINGLE)
TOLERANCE = 1e-6
"""Differences below this part of the largest absolute response are rounding, not a response."""

Floats = NDArray[np.floating]


def feature_states(responses: Floats) -> NDArray[np.str_]:
    """The state of each feature, str [feature], from its responses [n_stim, feature].

    undefined        a response is NaN or infinite
    dead             every response is 0
    constant         all responses are equal (but for rounding, `TOLERANCE`), and not 0
    single stimulus  all responses but one are equal
    alive            anything else

    Raises InputError for an array of another form, or without stimuli.
    """
    check_responses(responses)
    finite = np.isfinite(responses).all(axis=0)
    low, high = responses.min(axis=0), responses.max(axis=0)
    size = np.maximum(np.abs(low), np.abs(high))
    with np.errstate(invalid="ignore"):
        constant = high - low <= TOLERANCE * size
        near = TOLERANCE * size
        # One stimulus differs from all others if all but one lie at the lowest value, or all but one at the highest.
        at_low = (responses - low <= near).sum(axis=0)
        at_high = (high - responses <= near).sum(axis=0)
    single = (len(responses) > 2) & (np.maximum(at_low, at_high) == len(responses) - 1)
    return np.select([~finite, size == 0, constant, single], [UNDEFINED, DEAD, CONSTANT, SINGLE], default=ALIVE).astype(
        np.str_
    )


def check_responses(responses: Floats) -> None:
    """Raises InputError for anything but a float array [n_stim, feature] with at least one stimulus."""
    if responses.ndim != 2 or not len(responses):
        raise InputError(
            f"Responses have shape {list(responses.shape)}; give one row a stimulus (at least one) and one column a "
            "feature."
        )
    if not np.issubdtype(responses.dtype, np.floating):
        raise InputError(f"Responses are of type {responses.dtype}; give floating-point numbers.")
