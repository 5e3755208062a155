"""What is decoded, from which stimuli, and what is held out meanwhile: the design behind each D.

Edges and gratings decide; what is known of objects stands beside them, because object untangling, too, makes objects'
position and size more readable at later stages (Hong et al. 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from probes.decoding import one_hot, orientation_target

if TYPE_CHECKING:
    import pandas as pd

    from bridge.stimuli.battery import Battery

Column = Callable[["pd.DataFrame"], NDArray]


@dataclass(frozen=True)
class Variable:
    """One variable of the stimuli of one family; `held`, `apart` and `cells` as in `decodability`, from the table."""

    name: str
    family: str
    target: Column
    held: Column
    held_as: str
    """What is held out, in words."""
    cells: tuple[str, ...]
    """Columns that name a cell; of scenes each stimulus is its own."""
    apart: str | None = None
    """Column whose levels are fitted on and predicted apart."""
    simple: bool = True
    """Whether it is one of edges, not of objects."""


def _column(name: str) -> Column:
    return lambda table: table[name].to_numpy()


def _orientation(table: pd.DataFrame) -> NDArray:
    return orientation_target(table["orientation"].to_numpy(float))


def _log2(name: str) -> Column:
    return lambda table: np.log2(table[name].to_numpy(float))


def _groups(name: str, count: int) -> Column:
    """Every `count`-th level of a factor together: enough of them to hold out, few enough to be quick."""
    return lambda table: np.unique(table[name].to_numpy(), return_inverse=True)[1] % count


def _places(table: pd.DataFrame) -> NDArray:
    """The nine places in three groups, each with one of every row and column of the grid (a Latin square)."""
    column = np.unique(table["x"].to_numpy(float), return_inverse=True)[1]
    row = np.unique(table["y"].to_numpy(float), return_inverse=True)[1]
    return (column + row) % 3


def _category(table: pd.DataFrame) -> NDArray:
    return one_hot(table["category"].to_numpy())


ORIENTATION = Variable(
    "orientation", "gratings", _orientation, _column("cycles"), "spatial frequencies and phases",
    ("orientation", "cycles"), "phase",
)  # fmt: skip
"""The primary statistic: orientation, read at frequencies and phases on which no probe was fitted."""

EDGES = (
    ORIENTATION,
    Variable("orientation across contrasts", "contrasts", _orientation, _column("contrast"), "contrasts",
             ("orientation", "contrast")),
    Variable("orientation across backgrounds", "backgrounds", _orientation, _groups("background", 3),
             "backgrounds and phases", ("orientation", "background"), "phase"),
    Variable("orientation across places", "edges", _orientation, _places, "places and polarities",
             ("orientation", "x", "y"), "polarity"),
    Variable("log frequency", "gratings", _log2("cycles"), _groups("orientation", 4), "orientations and phases",
             ("orientation", "cycles"), "phase"),
    Variable("log contrast", "contrasts", _log2("contrast"), _groups("orientation", 4), "orientations and phases",
             ("orientation", "contrast"), "phase"),
    Variable("x of edges", "edges", _column("x"), _groups("orientation", 4), "orientations and polarities",
             ("orientation", "x", "y"), "polarity"),
    Variable("y of edges", "edges", _column("y"), _groups("orientation", 4), "orientations and polarities",
             ("orientation", "x", "y"), "polarity"),
)  # fmt: skip
CATEGORY = Variable(
    "category of objects", "scenes", _category, _column("exemplar"), "exemplars (and backgrounds)", (), simple=False
)
OBJECTS = (
    CATEGORY,
    *(
        Variable(f"{name} of objects", "scenes", _column(name), _groups("category", 4), "categories (and backgrounds)",
                 (), simple=False)
        for name in ("x", "y", "size")
    ),
)  # fmt: skip


def cells_of(variable: Variable, table: pd.DataFrame) -> NDArray:
    """The cell of each stimulus, int [n]."""
    if not variable.cells:
        return np.arange(len(table))
    return table.groupby(list(variable.cells), sort=True).ngroup().to_numpy()


def edge_battery(size: int, jitter: int, seed: int, scenes: int, gratings: int | None = None) -> Battery:
    """The stimuli of all variables, drawn at `size` pixels: gratings (so many at most), a contrast series,
    gratings on backgrounds, edges at nine places, and `scenes` drawn objects (0: none).

    `jitter` displaces each pattern by up to so many pixels, for networks that cut images into patches. Raises
    ConfigError where the image cannot carry the gratings.
    """
    from bridge.stimuli.battery import Battery

    limit = {"scenes": scenes} if scenes else {}
    if gratings is not None:
        limit["gratings"] = gratings
    families = ["gratings", "contrasts", "backgrounds", "edges", *(["scenes"] if scenes else [])]
    values = {"name": "edges and objects", "families": families, "size": size, "jitter": jitter, "seed": seed}
    return Battery.model_validate({**values, "limit": limit})
