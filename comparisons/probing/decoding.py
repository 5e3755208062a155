"""Which variables a linear reader finds at each site, tested on conditions that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comparisons.probing.chosen import Chosen
from comparisons.probing.found import DRAWN, Found
from probes.decoding import decode_each, information_complexity, one_hot, orientation_target

if TYPE_CHECKING:
    import pandas as pd

DIMENSIONS = 50
"""Principal components that decoding reads from, the same at every site."""
PERMUTATIONS = 20
"""Draws of the floor: targets permuted within conditions."""
READERS = 100
"""Principal components that readers of V-information see."""
TOKEN = "middle token"
FROM_GRATINGS, FROM_PATCHES = "decoded from gratings (R2)", "decoded from patches (R2)"
FROM_OBJECTS, FROM_SHAPES = "decoded from objects (R2)", "decoded from shapes (R2)"
COMPLEXITY = "V-information complexity, median"


@dataclass(frozen=True)
class Question:
    """Variables that are decoded together, and the columns whose combinations are left out in turn.

    `targets` are columns by the name that results give them; their form is `form`.
    """

    measure: str
    family: str
    targets: Mapping[str, str]
    across: tuple[str, ...]
    left_out: str
    form: Callable[[NDArray], NDArray]
    where: tuple[str, float] | None = None
    """Only stimuli whose column is above a value."""

    def rows(self, table: pd.DataFrame) -> NDArray[np.intp]:
        """Its stimuli in a table of conditions."""
        chosen = (table["family"] == self.family).to_numpy()
        if self.where is not None and chosen.any():
            chosen &= table[self.where[0]].to_numpy(float) > self.where[1]
        return np.flatnonzero(chosen)

    def conditions(self, part: pd.DataFrame) -> NDArray[np.str_]:
        """What is left out in turn, a name a stimulus."""
        columns = [part[name].map(str).to_numpy(str) for name in self.across]
        return np.array([" ".join(values) for values in zip(*columns, strict=True)])

    def named(self, target: str) -> str:
        """How a result calls the variable."""
        return f"{target}, other {self.left_out}"


def _plain(values: NDArray) -> NDArray:
    return values.astype(float)


def _log2(values: NDArray) -> NDArray:
    return np.log2(values.astype(float))


QUESTIONS = (
    Question(FROM_GRATINGS, "gratings", {"orientation": "orientation"}, ("cycles",), "frequencies", orientation_target),
    Question(
        FROM_GRATINGS, "gratings", {"orientation": "orientation"}, ("quadrant",), "phases", orientation_target
    ),
    Question(
        FROM_GRATINGS, "contrasts", {"orientation": "orientation"}, ("contrast",), "contrasts", orientation_target
    ),
    Question(FROM_GRATINGS, "gratings", {"log frequency": "cycles"}, ("orientation",), "orientations", _log2),
    Question(FROM_GRATINGS, "contrasts", {"log contrast": "contrast"}, ("orientation",), "orientations", _log2),
    Question(FROM_PATCHES, "gabors", {"x": "x", "y": "y"}, ("orientation",), "orientations", _plain),
    Question(FROM_PATCHES, "gabors", {"x": "x", "y": "y"}, ("cycles", "phase"), "gratings", _plain),
    Question(FROM_PATCHES, "gabors", {"orientation": "orientation"}, ("x", "y"), "places", orientation_target),
    Question(FROM_PATCHES, "edges", {"orientation of edges": "orientation"}, ("x", "y"), "places", orientation_target),
    Question(
        FROM_OBJECTS, "scenes", {"x": "x", "y": "y", "size": "size"}, ("category",), "categories", _plain, ("level", 0)
    ),
    Question(FROM_OBJECTS, "scenes", {"category": "category"}, ("exemplar",), "exemplars", one_hot),
    Question(FROM_SHAPES, "shapes", {"x": "x", "y": "y", "size": "size"}, ("shape",), "shapes", _plain),
    Question(FROM_SHAPES, "shapes", {"shape": "shape"}, ("x", "y"), "places", one_hot),
)  # fmt: skip


def decode(
    found: Found, one: Chosen, table: pd.DataFrame, values: NDArray, read: str, measures: Sequence[str], seed: int
) -> None:
    """Decode from features [n, d] of the stimuli in `table` whatever of `measures` they can tell; `read` says how the
    features were read."""
    if "phase" in table:
        table = table.assign(quadrant=np.floor(table["phase"].to_numpy(float) / 90))
    for question in (question for question in QUESTIONS if question.measure in measures):
        rows = question.rows(table)
        part, x = table.iloc[rows], values[rows].astype(np.float64)
        x = x[:, np.isfinite(x).all(axis=0)]
        if x.shape[1] == 0:
            for name in question.targets:
                found.say(one, question.measure, np.nan, len(rows), read, "no feature is finite",
                          what=question.named(name))  # fmt: skip
            continue
        targets = {name: question.form(part[column].to_numpy()) for name, column in question.targets.items()}
        decoded = decode_each(
            x, targets, question.conditions(part),
            components=DIMENSIONS, permutations=PERMUTATIONS, seed=seed, clip=True,
        )  # fmt: skip
        for name, result in decoded.items():
            floor = float(np.quantile(result.floor, 0.95)) if np.isfinite(result.floor).all() else np.nan
            found.say(
                one, question.measure, result.r2, len(rows), read,
                f"ridge from {DIMENSIONS} components, tested on {question.left_out} left out, responses beyond the "
                "range of training taken at its end",
                f"95% of label permutations below {floor:.3f}", what=question.named(name),
            )  # fmt: skip


def complexity(
    found: Found, streams: Mapping[str, NDArray], pixels: NDArray, features: Iterator[tuple[Chosen, NDArray]], seed: int
) -> None:
    """V-information complexity of every feature [n, m] from the pixels [n, p] and the stream [n, d] at each depth.

    Images are left out in five random parts. Secondary, and no label: see `probes.decoding.information_complexity`.
    """
    parts = np.random.default_rng(seed).permutation(len(pixels)) % 5
    depths = [pixels, *(np.where(np.isfinite(x), x, 0) for x in streams.values())]
    for one, z in features:
        alive = np.isfinite(z).all(axis=0) & (z.std(axis=0) > 0)
        values = np.full(z.shape[1], np.nan)
        if alive.any():
            values[alive] = information_complexity(depths, z[:, alive], parts, READERS)
        found.keep(one, {"information_complexity": values})
        said = f"readers at the pixels and {len(streams)} sites, {READERS} components, images left out"
        middle = float(np.median(values[alive])) if alive.any() else np.nan
        found.say(one, COMPLEXITY, middle, len(pixels), DRAWN, said, f"{int(alive.sum())} of {z.shape[1]} features")
