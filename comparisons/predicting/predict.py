"""What the stages of a plan will take, by what is known best of each:

the same stage      it was made before in this store, and is made again: what it took then
stages like it      others of its kind: those of known size by their seconds for the size, else those of the same
                    settings by their seconds for the bytes that they read (median)
benchmarks          seconds that the benchmarks' machine takes (two cores), for a stage without a GPU
not known           no number is made up
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from statistics import median
from typing import Any, Literal

from bridge.devices import resolved
from bridge.store import Store
from comparisons.plan import Plan, Stage
from comparisons.predicting.history import Took, records, shape, size_of
from comparisons.predicting.sizes import Size

How = Literal["cached", "the same stage", "stages like it", "benchmarks", "not known"]
RECENT = 9
"""The last so many stages like one are asked."""
FAR = 10.0
"""What is so many times larger or smaller tells nothing: what does not grow with the size is then most of the time."""
LEAST_SECONDS = 1.0
"""Of the benchmarks: below, it is not multiplications that take the time."""


@dataclass(frozen=True)
class Prediction:
    """What a stage will take; None is what is not known."""

    id: str
    kind: str
    key: str
    cached: bool
    how: How
    """How the seconds are known."""
    seconds: float | None
    memory: int | None
    """Bytes by which the process grows at the stage's height."""
    disk: int | None
    """Bytes that it leaves in the store; for a cached one, those that are there."""

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Total:
    """Of all stages that are missing, one after the other."""

    missing: int
    seconds: float
    unknown: int
    """Stages whose seconds are not known, and that `seconds` lacks."""
    memory: int | None
    """The most of any stage whose memory is known."""
    memory_unknown: int
    disk: int
    disk_unknown: int


def predict(plan: Plan, store: Store, missing: Sequence[str], device: str = "cpu") -> list[Prediction]:
    """A prediction for every stage of a plan, in its order. `device` is where networks run."""
    found: list[Prediction] = []
    left: dict[str, int | None] = {}

    @cache
    def before(kind: str, where: str) -> dict[str, Took]:
        return records(store, kind, where)

    for name, stage in plan.stages.items():
        if name in missing:
            read = [left[need] for need in stage.needs]
            known = sum(size for size in read if size is not None) if None not in read else None
            where = device if stage.on_device else "cpu"
            one = _missing(stage, before(stage.kind, where), known, where)
        else:
            there = size_of(store.path(stage.kind, stage.inputs))
            one = Prediction(name, stage.kind, stage.key, True, "cached", 0.0, None, there)
        left[name] = one.disk
        found.append(one)
    return found


def _missing(stage: Stage, before: Mapping[str, Took], read: int | None, device: str) -> Prediction:
    size = stage.size() if stage.size is not None else Size()
    how: How = "not known"
    seconds, memory, disk = None, size.memory, size.disk
    if (same := before.get(stage.key.partition("/")[2])) is not None:
        how, seconds, memory, disk = "the same stage", same.seconds, same.memory, same.disk
    elif (scaled := _like(before, stage, size, read)) is not None:
        how, seconds = "stages like it", scaled
        alike = [took for took in before.values() if took.shape == shape(stage.inputs)][-RECENT:]
        if disk is None:
            scaled_disk = _scaled([(took.disk, took.read) for took in alike], read if stage.needs else 0)
            disk = None if scaled_disk is None else round(scaled_disk)
        if memory is None:  # it does not grow in step with what is read: only stages of about this size tell it
            near = [one.memory for one in alike if one.memory is not None and _about(one.read, read)]
            memory = round(median(near)) if near else None
    elif size.seconds is not None and size.seconds >= LEAST_SECONDS and resolved(device) == "cpu":
        how, seconds = "benchmarks", size.seconds
    return Prediction(stage.id, stage.kind, stage.key, False, how, seconds, memory, disk)


def _like(before: Mapping[str, Took], stage: Stage, size: Size, read: int | None) -> float | None:
    """Seconds by those of stages like it; None where there are none."""
    if size.seconds is not None:
        sized = [(took.seconds, took.standard) for took in before.values() if took.standard]
        return _scaled(sized[-RECENT:], size.seconds)
    alike = [took for took in before.values() if took.shape == shape(stage.inputs)][-RECENT:]
    return _scaled([(took.seconds, took.read) for took in alike], read if stage.needs else 0)


def _scaled(alike: Sequence[tuple[float, float]], size: float | None) -> float | None:
    """The median of values for their sizes, times the size, of those that are not far larger or smaller; of stages
    that read nothing (size 0), the median. None where there are none, or the size is not known."""
    if size is None or not alike:
        return None
    if not size:
        return median(value for value, _ in alike)
    rates = [value / of for value, of in alike if of and size / FAR <= of <= FAR * size]
    return median(rates) * size if rates else None


def _about(size: int, read: int | None) -> bool:
    return read is not None and read / 2 <= size <= 2 * read


def total(found: Sequence[Prediction]) -> Total:
    """The sums over the stages that are missing."""
    missing = [one for one in found if not one.cached]
    seconds = [one.seconds for one in missing if one.seconds is not None]
    memory = [one.memory for one in missing if one.memory is not None]
    disk = [one.disk for one in missing if one.disk is not None]
    count = len(missing)
    return Total(
        count,
        sum(seconds),
        count - len(seconds),
        max(memory, default=None),
        count - len(memory),
        sum(disk),
        count - len(disk),
    )
