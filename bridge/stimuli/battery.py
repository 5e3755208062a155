"""The embedded battery: drawn stimuli with their factors as columns; nothing is fetched, nothing is stored."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from bridge.errors import ConfigError
from bridge.spec import Seed
from bridge.stimuli.base import StimulusSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bridge.stimuli.procedural.canvas import Family, Row, Setting
    from bridge.stimuli.stimulus_set import StimulusSet

FamilyName = Literal[
    "gratings",
    "contrasts",
    "sizes",
    "colours",
    "backgrounds",
    "gabors",
    "edges",
    "bars",
    "textures",
    "shapes",
    "scenes",
    "blanks",
    "probes",
]
STANDARD: tuple[FamilyName, ...] = tuple(name for name in get_args(FamilyName) if name != "backgrounds")
GENERATOR = 1
"""Version of the drawing: raised whenever any image would come out differently."""


class Battery(StimulusSpec):
    """Drawn stimuli at any size, deterministic from the seed, each image independent of the others."""

    kind: Literal["battery"] = "battery"
    families: Annotated[tuple[FamilyName, ...], Field(min_length=1)] = STANDARD
    """Which families, in this order; gratings on backgrounds only where they are named."""
    size: int = Field(128, ge=16, le=2048)
    """Width and height of the images, pixels."""
    degrees: float = Field(8.0, gt=0)
    """Width of the images, degrees of visual angle."""
    seed: Seed = 0
    """Seed of textures, shapes, backgrounds, positions and balanced subsets. Objects' exemplars do not depend on it."""
    limit: dict[FamilyName, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """At most so many stimuli of a family: a seeded subset in which the levels of its factors stay balanced. Scenes
    are free of correlations between identity and nuisances only as a whole: for fewer of them, prefer fewer exemplars
    and multiples of 20 images."""
    jitter: int = Field(0, ge=0, le=1024)
    """Displace each pattern by up to so many pixels each way. Stimuli that differ only in phase or polarity are
    displaced alike. Give half of a patch to break up the artefacts of a transformer's patch grid."""
    cycles: tuple[Annotated[float, Field(gt=0)], ...] = Field((2.0, 3.0, 5.0, 8.0, 13.0), min_length=1)
    """Spatial frequencies of gratings, cycles an image, ascending. All of the default ones are below the Nyquist
    limit of a network that sees 32 pixels."""
    phases: Literal[2, 4, 6, 12] = 12
    """Phases of the tuning gratings, evenly spaced; 12 for tuning itself, fewer where orientation shall be decoded."""
    exemplars: int = Field(4, ge=1)
    """Objects a category in scenes. The last one is held out."""
    images_per_exemplar: int = Field(20, ge=1)
    """Scenes an object: a fifth at variation level 0, two fifths each at levels 3 and 6."""

    @field_validator("cycles")
    @classmethod
    def _ascending(cls, cycles: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in itertools.pairwise(cycles)):
            raise ValueError(f"cycles must ascend, and {list(cycles)} does not; sort them")
        return cycles

    def fingerprint(self) -> dict[str, Any]:
        """The spec and the version of the drawing."""
        return {**super().fingerprint(), "generator": GENERATOR}

    def load(self) -> StimulusSet:
        """The table of conditions, with images drawn on demand. Raises ConfigError for gratings that would alias."""
        import pandas as pd

        from bridge.stimuli.stimulus_set import StimulusSet

        if beyond := [f for f in self.cycles if f > self.size / 2]:
            raise ConfigError(
                f"Gratings of {beyond[0]:g} cycles an image alias at {self.size} pixels, whose limit is "
                f"{self.size / 2:g}; lower `cycles` or raise `size`."
            )
        rows = battery_rows(self.key)
        table = pd.DataFrame(list(rows)).set_index("stimulus_id")
        return StimulusSet(self.name, table, BatterySource(self.key), self.degrees)

    @property
    def key(self) -> BatteryKey:
        """The part of the spec that tables and images depend on, hashable and light."""
        return BatteryKey(
            self.families,
            self.size,
            self.degrees,
            self.seed,
            tuple(sorted(self.limit.items())),
            self.jitter,
            self.cycles,
            self.exemplars,
            self.images_per_exemplar,
            self.phases,
        )


@dataclass(frozen=True)
class BatteryKey:
    """See `Battery`."""

    families: tuple[str, ...]
    size: int
    degrees: float
    seed: int
    limit: tuple[tuple[str, int], ...]
    jitter: int
    cycles: tuple[float, ...]
    exemplars: int
    images_per_exemplar: int
    phases: int


@lru_cache(maxsize=1)
def registry() -> dict[str, Family]:
    """All families by name."""
    from bridge.stimuli.procedural import backgrounds, gratings, patches, probes, scenes, shapes, textures

    modules = (gratings, backgrounds, patches, textures, shapes, scenes, probes)
    return {name: family for module in modules for name, family in module.FAMILIES.items()}


@lru_cache(maxsize=8)
def battery_rows(key: BatteryKey) -> tuple[Row, ...]:
    """The conditions of a battery, in order: ids, factors, `family`, `held_out` and, with jitter, the displacement."""
    from bridge.stimuli.procedural.canvas import Setting

    setting = Setting(key.degrees, key.cycles, key.seed, key.exemplars, key.images_per_exemplar, key.phases)
    families, limit = registry(), dict(key.limit)
    chosen: list[Row] = []
    for name in key.families:
        rows = list(families[name].rows(setting))
        if limit.get(name, len(rows)) < len(rows):
            rows = [rows[index] for index in balanced_subset(rows, families[name].factors, limit[name], key.seed)]
        chosen += [_completed(row, name, families[name], setting, key) for row in rows]
    return tuple(chosen)


def _completed(row: Row, name: str, family: Family, setting: Setting, key: BatteryKey) -> Row:
    shown = {"stimulus_id": row["stimulus_id"], "family": name, "held_out": family.held_out(row, setting), **row}
    if key.jitter:
        from bridge.stimuli.procedural.canvas import generator

        condition = [row.get(factor) for factor in family.factors if factor not in ("phase", "polarity")]
        rng = generator(key.seed, "jitter", name, repr(condition))
        shown["jitter_x"], shown["jitter_y"] = (int(v) for v in rng.integers(-key.jitter, key.jitter + 1, 2))
    return shown


def balanced_subset(rows: list[Row], factors: tuple[str, ...], count: int, seed: int) -> NDArray[np.intp]:
    """`count` of the rows, ascending, chosen one by one so that levels of factors, and pairs of them, occur evenly.

    Each step takes a row whose levels, and then whose pairs of levels, were taken least so far; ties fall by a seeded
    order. The pairs are those among the first three factors and those of the first, the identity, with any other.
    A smaller subset of the same seed is a part of a larger one.
    """
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(rows))
    codes = [_levels([rows[index].get(factor) for index in order]) for factor in factors]
    pairs = [(a, b) for a, b in itertools.combinations(range(len(factors)), 2) if a == 0 or b < 3]
    codes += [codes[a] * (codes[b].max() + 1) + codes[b] for a, b in pairs]
    widths = [100 if number < len(factors) else 1 for number in range(len(codes))]
    cost = np.zeros(len(rows))
    taken = []
    members = [[np.flatnonzero(code == level) for level in range(code.max() + 1)] for code in codes]
    for _ in range(count):
        best = int(cost.argmin())
        taken.append(int(order[best]))
        cost[best] = np.inf
        for code, width, groups in zip(codes, widths, members, strict=True):
            cost[groups[code[best]]] += width
    return np.sort(np.array(taken, dtype=np.intp))


def _levels(values: list[Any]) -> NDArray[np.intp]:
    """Values as level numbers. A continuous factor (over 16 values) has three: below, at and above its median."""
    import numpy as np

    names, codes = np.unique([str(value) for value in values], return_inverse=True)
    if len(names) > 16 and isinstance(values[0], float):
        codes = np.unique(np.sign(np.array(values) - np.median(values)), return_inverse=True)[1]
    return codes


KEPT, KEPT_SIZE = 1344, 128
"""Drawn images that are kept in memory, and the size up to which they are (66 MB in all)."""


@lru_cache(maxsize=KEPT)
def _drawn(key: BatteryKey, index: int) -> NDArray[np.uint8]:
    from bridge.stimuli.procedural.canvas import Canvas, to_uint8

    row = battery_rows(key)[index]
    canvas = Canvas(key.size, key.degrees, (row.get("jitter_x", 0), row.get("jitter_y", 0)))
    return to_uint8(registry()[row["family"]].draw(row, canvas, key.seed))


@dataclass(frozen=True)
class BatterySource:
    """Draws image `index` of a battery when it is asked for. A pickled source is a few hundred bytes."""

    key: BatteryKey

    def image(self, index: int) -> NDArray[np.uint8]:
        """Image `index`, uint8 [size, size, 3]; the last small ones are kept, since several networks see the same."""
        if self.key.size > KEPT_SIZE:
            return _drawn.__wrapped__(self.key, index)
        return _drawn(self.key, index).copy()

    def fingerprint(self) -> str:
        """Generator and parameters."""
        return f"battery {GENERATOR} {self.key!r}"
