"""Hand out the stages of a plan to workers, each once what it needs is there, and tell how they stand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import StorageError
from bridge.store import Store
from comparisons.executors.base import Workers
from comparisons.executors.work import Outcome, Task, _arrived, raised, surroundings
from comparisons.plan import Plan, Stage

if TYPE_CHECKING:
    from comparisons.running import Reporter

LOOK = 0.5
"""Seconds between two looks at how the stages stand."""
STILL = 60.0
"""Seconds without any sign of a worker after which it is asked why."""
SHOWN = 64
"""Of at most so many stages that were handed out the state is looked at each time."""


def spread(
    plan: Plan, missing: list[str], store: Store, reporter: Reporter, workers: Workers, retries: int
) -> tuple[dict[str, Path], dict[str, float]]:
    """Compute `missing` (in an order in which each stands after what it needs); folders by stage id, and seconds.

    A stage whose worker was lost is handed out again, at most `retries` times. An error of a stage ends the run; what
    others are computing then is kept where it can be gone on with.

    Raises the UserErrors of the stages, and StorageError for a stage that costs every worker that takes it.
    """
    if plan.recipe is None:
        raise ValueError("a plan without a recipe cannot be made again by workers")
    store.prepare()
    there = surroundings(store)
    seconds: dict[str, float] = {}
    tries: Counter[str] = Counter()
    waiting = list(missing)
    handed: dict[Future[Outcome], str] = {}
    view = _View(store, reporter)
    patience = _Patience(workers, reporter)
    try:
        while waiting or handed:
            undone = {*waiting, *handed.values()}
            for name in [name for name in waiting if not undone.intersection(plan.stages[name].needs)]:
                stage = plan.stages[name]
                handed[workers.submit(Task(plan.recipe, name, stage.key, there), stage.on_device)] = name
                waiting.remove(name)
            done, _ = wait(handed, timeout=LOOK, return_when=FIRST_COMPLETED)
            at_work = view.look([plan.stages[name] for future, name in handed.items() if future not in done])
            patience.look(moved=at_work or bool(done))
            for future in done:
                stage = plan.stages[handed.pop(future)]
                error = future.exception()
                if error is not None:
                    if not workers.lost(error):
                        raise error
                    tries[stage.id] += 1
                    if tries[stage.id] > retries:
                        raise _costly(stage, tries[stage.id])
                    reporter.note(f"notice: the worker that computed {stage.id} was lost; it is computed again.")
                    waiting.insert(0, stage.id)
                    continue
                outcome = future.result()
                if outcome.error or outcome.trace:
                    raise raised(stage, outcome)
                if not _arrived(store, stage):
                    raise StorageError(
                        f"A worker ({outcome.worker}) computed {stage.id}, and nothing of it is under {store.root}; "
                        "put the cache folder on a disk that all workers share, and name it with VENTRAL_CACHE."
                    )
                seconds[stage.id] = outcome.seconds
                view.finished(stage, outcome)
    finally:
        for future in handed:
            future.cancel()
    return {name: store.path(stage.kind, stage.inputs) for name, stage in plan.stages.items()}, seconds


def _costly(stage: Stage, times: int) -> StorageError:
    return StorageError(
        f"The stage {stage.id} lost its worker {times} times; most often a worker is ended because memory runs out: "
        "give the workers more of it, or start fewer on a machine. What was computed is kept."
    )


class _Patience:
    """Says why nothing goes on, once for each reason."""

    def __init__(self, workers: Workers, reporter: Reporter):
        self._workers, self._reporter = workers, reporter
        self._since, self._said = time.monotonic(), ""

    def look(self, *, moved: bool) -> None:
        """`moved`: whether a stage ended, or is being computed."""
        if moved:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > STILL:
            self._since = time.monotonic()
            why = self._workers.hindered()
            if why and why != self._said:
                self._reporter.note(f"notice: {why}")
            self._said = why


class _View:
    """Tells a reporter what the workers say of themselves in the store."""

    def __init__(self, store: Store, reporter: Reporter):
        self._store, self._reporter = store, reporter
        self._makers: dict[str, tuple[Any, Any]] = {}

    def look(self, stages: list[Stage]) -> bool:
        """See who computes what, and how far they are; whether anyone does."""
        found = False
        for stage in stages[:SHOWN]:
            record = self._store.maker(stage.kind, stage.inputs)
            if record is None:
                continue
            found = True
            maker = (record.get("host"), record.get("pid"))
            if self._makers.get(stage.id, maker) != maker:
                self._reporter.note(f"notice: {stage.id} goes on in another worker; the one before was lost.")
            self._started(stage, maker)
            self._tell(stage, record)
        return found

    def finished(self, stage: Stage, outcome: Outcome) -> None:
        """A stage is done."""
        self._started(stage, ("", ""))
        for text in outcome.notes:
            self._reporter.note(f"notice: {text}")
        self._reporter.finished(stage, outcome.seconds, reused=False)

    def _started(self, stage: Stage, maker: tuple[Any, Any]) -> None:
        if stage.id not in self._makers:
            self._reporter.started(stage)
        self._makers[stage.id] = maker

    def _tell(self, stage: Stage, record: Mapping[str, Any]) -> None:
        share = record.get("share")
        if isinstance(share, int | float):
            self._reporter.advanced(stage, min(max(float(share), 0.0), 1.0), str(record.get("text", "")))
