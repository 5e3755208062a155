"""The data sets of a cell: each drawn from its own seed, judged by every statistic asked for, on several processes.

An answer depends on the group, the seed and the data set's number alone: not on workers, order or count, so that a
run of 200 begins with the 40 of a shorter one. Each is judged by one thread: more of them cut sums otherwise, and a
last digit can turn an answer at a bound.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bridge.errors import InputError
from bridge.heap import kept_heap
from bridge.threads import threads_limited
from comparisons.validation.spec import Cell, Statistic

Answers = dict[str, dict[Statistic, str]]
"""The answer by cell and statistic."""
CHUNK = 5
"""Data sets that a process judges before it reports."""


@dataclass(frozen=True)
class Group:
    """Cells that are judged together: all planted blocks, which share a stream a seed, or one simulated brain."""

    name: str
    cells: tuple[Cell, ...]


def groups(cells: Sequence[Cell]) -> list[Group]:
    """The cells in groups, in their order; the planted blocks where the first of them stands."""
    blocks = tuple(cell for cell in cells if cell.block is not None)
    found = []
    for cell in cells:
        if cell.block is None:
            found.append(Group(cell.name, (cell,)))
        elif cell is blocks[0]:
            found.append(Group("planted blocks", blocks))
    return found


def seed_of(group: str, seed: int, number: int) -> int:
    """The seed of data set `number` of a group: different for every group, number and seed of the run."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(group.encode()), number])
    return int(entropy.generate_state(1)[0])


@threads_limited(1)
def judged(group: Group, shown: Path, seed: int, numbers: range) -> list[Answers]:
    """The answers of some data sets; `shown` is the artefact of `comparisons.validation.brains.save_shown`."""
    seeds = [seed_of(group.name, seed, number) for number in numbers]
    if group.cells[0].block is not None:
        from comparisons.validation.editing_rates import planted_verdicts

        blocks = {cell.block: cell.name for cell in group.cells if cell.block is not None}
        return [
            {blocks[block]: {"editing": verdict.answer} for block, verdict in planted_verdicts(one, list(blocks))}
            for one in seeds
        ]
    from comparisons.validation.brains import judge_brain

    (cell,), stimuli = group.cells, _shown(shown)
    return [{cell.name: judge_brain(cell, stimuli, one)} for one in seeds]


@lru_cache(maxsize=2)
def _shown(folder: Path) -> Any:
    from comparisons.validation.brains import load_shown

    return load_shown(folder)


def judge_all(
    group: Group,
    shown: Path,
    seed: int,
    datasets: int,
    *,
    pool: ProcessPoolExecutor | None,
    kept: Path,
    progress: Callable[[float], None],
) -> list[Answers]:
    """The answers of data sets 0 to `datasets` - 1, in that order.

    What is finished is kept in the folder `kept`, a file a chunk, and not judged again; without a `pool` it all runs in
    this process.
    """
    chunks = {start: range(start, min(start + CHUNK, datasets)) for start in range(0, datasets, CHUNK)}
    found: dict[int, list[Answers]] = {}
    for start, numbers in chunks.items():
        file = _file(kept, numbers)
        if file.exists():
            found[start] = json.loads(file.read_text())
    waiting = {start: numbers for start, numbers in chunks.items() if start not in found}
    for start, answers in _computed(group, shown, seed, waiting, pool):
        from bridge.store import write_atomically

        write_atomically(_file(kept, chunks[start]), json.dumps(answers))
        found[start] = answers
        progress(sum(map(len, found.values())) / datasets)
    return [answer for start in sorted(found) for answer in found[start]]


def _computed(
    group: Group, shown: Path, seed: int, chunks: Mapping[int, range], pool: ProcessPoolExecutor | None
) -> Iterator[tuple[int, list[Answers]]]:
    if pool is None:
        for start, numbers in chunks.items():
            yield start, judged(group, shown, seed, numbers)
        return
    waiting: dict[Future[list[Answers]], int] = {
        pool.submit(judged, group, shown, seed, numbers): start for start, numbers in chunks.items()
    }
    for future in as_completed(waiting):
        try:
            yield waiting[future], future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "A process that judged data sets ended without a word (memory?); the same command goes on from "
                "here, and --workers 1 takes less memory."
            ) from error


def _file(folder: Path, numbers: range) -> Path:
    return folder / f"{numbers.start:05d}-{numbers.stop:05d}.json"


_pools: dict[int, ProcessPoolExecutor] = {}


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor | None]:
    """So many processes; None for one, which needs none.

    They stay for the next group, because each takes seconds to begin; an error or Ctrl-C ends them.
    """
    if count < 2:
        yield None
        return
    import multiprocessing

    pool = _pools.get(count)
    if pool is None:
        pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_worker)
        _pools[count] = pool
    try:
        yield pool
    except BaseException:
        del _pools[count]
        pool.shutdown(cancel_futures=True)
        raise


_until_the_end = ExitStack()
"""What a worker holds until it ends."""


def _worker() -> None:
    from comparisons.executors.local import end_with_parent

    end_with_parent()
    _until_the_end.enter_context(kept_heap())  # data sets are of one size: what one frees, the next takes
