"""Responses to a full factorial of gratings, rearranged from rows of a table to an array with one axis a factor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bridge.errors import InputError
from probes.features import Floats, check_responses

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GratingGrid:
    """Responses [feature, orientation, frequency, phase], and the levels of each factor, ascending.

    Orientations and phases are in degrees, frequencies in cycles a degree or an image (any unit: it is handed on).
    """

    responses: Array
    orientations: Array
    frequencies: Array
    phases: Array

    def select_phases(self, which: slice) -> GratingGrid:
        """The same grid with some of the phases, such as every second one."""
        return GratingGrid(self.responses[..., which], self.orientations, self.frequencies, self.phases[which])


def grating_grid(responses: Floats, orientation: ArrayLike, frequency: ArrayLike, phase: ArrayLike) -> GratingGrid:
    """A grid from responses [n_stim, feature] to gratings in any order, with each grating's factors [n_stim].

    Raises InputError unless every combination of levels was shown exactly once, and unless orientations and phases
    are evenly spaced over 180 and 360 degrees (circular statistics and harmonics need that).
    """
    values, levels = factorial(responses, {"orientation": orientation, "frequency": frequency, "phase": phase})
    for name, period in (("orientation", 180), ("phase", 360)):
        spacing = np.diff(levels[name])
        if len(levels[name]) < 2 or not np.allclose(spacing, period / len(levels[name])):
            raise InputError(
                f"The gratings' {name}s are {', '.join(f'{v:g}' for v in levels[name])} degrees; give levels evenly "
                f"spaced over {period} degrees."
            )
    return GratingGrid(values, levels["orientation"], levels["frequency"], levels["phase"])


def factorial(responses: Floats, factors: Mapping[str, ArrayLike]) -> tuple[Array, dict[str, Array]]:
    """Responses as float64 [feature, level of the 1st factor, level of the 2nd, ...], and the levels, ascending.

    Raises InputError unless every combination of levels was shown exactly once.
    """
    check_responses(responses)
    levels: dict[str, Array] = {}
    place = np.zeros(len(responses), np.intp)
    for name, given in factors.items():
        column = np.asarray(given, np.float64)
        if column.shape != (len(responses),):
            raise InputError(f"{len(responses)} responses came with {column.shape} values of {name}; give one each.")
        levels[name], codes = np.unique(column, return_inverse=True)
        place = place * len(levels[name]) + codes
    shape = tuple(len(values) for values in levels.values())
    if len(place) != np.prod(shape) or len(np.unique(place)) != len(place):
        said = " x ".join(f"{len(values)} {name}s" for name, values in levels.items())
        raise InputError(
            f"{len(place)} gratings do not show each of {said} exactly once; give the responses to a full factorial."
        )
    ordered = np.empty((responses.shape[1], len(place)))
    ordered[:, place] = responses.T
    return ordered.reshape(-1, *shape), levels
