"""Gabor simplicity of a site's features, from the windows of drawn images that its tokens see."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comparisons.characterise import Windows
from comparisons.probing.chosen import Chosen
from comparisons.probing.found import DRAWN, Found
from probes.simplicity import gabor_design, random_design, simplicity

if TYPE_CHECKING:
    from probes.ridge import Design


class Designs:
    """The Gabor bank's and the random convolutions' components of windows, made once for sites that share windows."""

    def __init__(self, components: int, seed: int):
        self._components, self._seed = components, seed
        self._made: dict[bytes, tuple[Design, Design]] = {}

    def of(self, windows: NDArray[np.float32]) -> tuple[Design, Design]:
        """Those of windows [n, s, s]."""
        key = hashlib.sha256(windows.tobytes()).digest()
        if key not in self._made:
            self._made[key] = (
                gabor_design(windows, self._components),
                random_design(windows, self._components, self._seed),
            )
        return self._made[key]


def score(found: Found, one: Chosen, seen: Windows, pre: NDArray, designs: Designs, side: float) -> None:
    """Scores of features [n, places, m] from the windows that they see; `side` of the receptive field in pixels."""
    scored = simplicity(pre.reshape(-1, pre.shape[2]), *designs.of(seen.images), seen.groups)
    found.keep(one, {"simplicity": scored.score, "simplicity_random": scored.random, "simplicity_label": scored.label})
    n = len(seen.images)
    undefined = int((scored.label == "undefined").sum())
    said = (
        f"{len(scored.label)} features ({undefined} undefined), receptive field {side:.0f} pixels wide",
        "R2 of the response from Gabors, cross-validated over images; simple from .5, complex to .1",
    )
    alive = scored.label != "undefined"
    if not alive.any():
        found.say(one, "share of simple features", math.nan, n, DRAWN, *said)
        return
    simple = (scored.label == "simple")[alive]
    spread = scored.score[alive]
    for measure, value in (
        ("share of simple features", simple.mean()),
        ("number of simple features", simple.sum()),
        ("Gabor simplicity, median", np.median(spread)),
        ("Gabor simplicity, lowest", spread.min()),
        ("Gabor simplicity, highest", spread.max()),
        ("Gabor simplicity beyond random convolutions, median", np.median(scored.advantage[alive])),
    ):
        found.say(one, measure, float(value), n, DRAWN, *said)
