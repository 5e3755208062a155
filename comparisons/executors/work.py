"""What a worker does: make the plan again from the config, and obtain one stage of it from the store."""

from __future__ import annotations

import os
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import bridge.errors
from bridge.errors import ConfigError, StorageError, UserError
from bridge.store import Store
from bridge.threads import threads_limited
from comparisons.plan import Plan, Recipe, Stage
from comparisons.predicting.history import from_the_start, note, watched


@dataclass(frozen=True)
class Surroundings:
    """What a stage's numbers and files depend on beside the plan: of the process that runs, for those that work."""

    store: str
    folder: str
    environment: Mapping[str, str]
    threads: Mapping[str, int]


@dataclass(frozen=True)
class Task:
    """One stage to compute. `key` is the artefact's as the run knows it."""

    recipe: Recipe
    stage: str
    key: str
    surroundings: Surroundings


@dataclass(frozen=True)
class Outcome:
    """What came of a task: seconds and notices, or what went wrong (a UserError's class and sentence, or a trace)."""

    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: tuple[str, str] | None = None
    trace: str = ""
    worker: str = ""


@dataclass
class _Process:
    """This process as a worker."""

    lock: threading.Lock = field(default_factory=threading.Lock)


_process = _Process()


def surroundings(store: Store) -> Surroundings:
    """Those of this process. `threads` are what a local run would compute with: results are equal to the last bit only
    where sums are split alike."""
    return Surroundings(
        str(store.root.absolute()),
        os.getcwd(),
        {name: value for name, value in os.environ.items() if name.startswith("VENTRAL_")},
        _threads(),
    )


def perform(task: Task) -> Outcome:
    """Compute one stage in this process (one at a time) and leave its artefact in the store."""
    import multiprocessing
    import platform

    # Dask's workers are daemons, which may start no processes, as some stages do. There is no public way to change it.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    worker = f"{platform.node()}, process {os.getpid()}"
    with _process.lock, warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always", UserWarning)
        try:
            with _within(task.surroundings):
                seconds = _obtain(task)
        except UserError as error:
            return Outcome(error=(type(error).__name__, str(error)), worker=worker)
        except Exception:
            return Outcome(trace=traceback.format_exc(), worker=worker)
    notes = [str(one.message) for one in met if issubclass(one.category, UserWarning)]
    return Outcome(seconds, tuple(dict.fromkeys(notes)), worker=worker)


def raised(stage: Stage, outcome: Outcome) -> Exception:
    """What a failed outcome is to the process that asked for it: the worker's own sentence, or its trace."""
    if outcome.error is not None:
        kind, sentence = outcome.error
        found = getattr(bridge.errors, kind, UserError)
        return found(sentence)
    return RuntimeError(f"The stage {stage.id} failed on a worker ({outcome.worker}):\n{outcome.trace}")


def _obtain(task: Task) -> float:
    root = Path(task.surroundings.store)
    if not root.is_dir():
        raise StorageError(
            f"A worker does not see the run's cache folder {root}; put it on a disk that all workers share, and name "
            "it with VENTRAL_CACHE."
        )
    store = Store(root)
    plan = _plan(task.recipe, root)
    stage = plan.stages.get(task.stage)
    if stage is None or stage.key != task.key:
        raise ConfigError(
            f"A worker would compute {task.stage!r} from other code, libraries or files than this run ("
            f"{stage.key if stage else 'no such stage'}, not {task.key}); install the same version of everything for "
            "all workers, let them see the same files, and start them anew after a change."
        )
    for need in stage.needs:
        other = plan.stages[need]
        if not _arrived(store, other):
            raise StorageError(
                f"A worker does not see what {need!r} left under {root}; put the cache folder on a disk that all "
                "workers share, and name it with VENTRAL_CACHE."
            )
    paths = {name: store.path(one.kind, one.inputs) for name, one in plan.stages.items()}
    said: dict[str, Any] = {}
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)

        def advanced(share: float, text: str = "", /) -> None:
            said.update(share=share, text=text[:200])

        stage.build(folder, paths, advanced)

    whole = from_the_start(store, stage)
    with watched() as seen:
        store.obtain(stage.kind, stage.inputs, build, resumable=stage.resumable, status=lambda: dict(said))
    if whole and built:
        note(store, stage, seen, paths, plan.device)
    return round(seen.seconds, 2)


ARRIVAL_SECONDS = 30.0
"""How long a file that another machine wrote may take to be seen: network file systems remember what was not there."""


def _arrived(store: Store, stage: Stage) -> bool:
    """Whether an artefact is there, or comes within ARRIVAL_SECONDS."""
    end = time.monotonic() + ARRIVAL_SECONDS
    while not store.has(stage.kind, stage.inputs):
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


@lru_cache(maxsize=1)
def _plan(recipe: Recipe, root: Path) -> Plan:
    """The plan, made once a process and kept for its next stages: it holds what was read of the stimuli."""
    return recipe.plan(Store(root))


@contextmanager
def _within(there: Surroundings) -> Iterator[None]:
    """In the folder of the run, with its settings and its number of threads."""
    import torch

    for name in [name for name in os.environ if name.startswith("VENTRAL_")]:
        del os.environ[name]
    os.environ.update(there.environment)
    os.environ["VENTRAL_CACHE"] = there.store
    try:
        os.chdir(there.folder)
    except OSError as error:
        raise StorageError(
            f"A worker cannot go to the run's folder {there.folder} ({error.strerror}); run in a folder that all "
            "workers share."
        ) from error
    torch.set_num_threads(there.threads["torch"])
    limits = {name: count for name, count in there.threads.items() if name != "torch"}
    with threads_limited(limits):
        yield


def _threads() -> dict[str, int]:
    """Threads of torch, and of the libraries of linear algebra (by threadpoolctl's names)."""
    import scipy.linalg  # noqa: F401  # brings the libraries in
    import torch
    from threadpoolctl import threadpool_info

    found = {"torch": torch.get_num_threads()}
    for library in threadpool_info():
        name = library["user_api"]
        found[name] = max(found.get(name, 1), library["num_threads"])
    return found
