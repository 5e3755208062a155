"""This machine: the process of the run itself, or some beside it."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Annotated, Literal

from pydantic import Field

from comparisons.executors.base import PATIENT, ExecutorSpec, Workers
from comparisons.executors.work import Outcome, Task, perform


class LocalExecutor(ExecutorSpec):
    """This machine alone."""

    kind: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes that compute stages side by side; 1: the process of the run itself, one stage after the other. Each
    loads its own libraries and networks and computes with as many threads as the run alone would (OMP_NUM_THREADS=1 is
    faster, and differs in the last digits)."""

    @property
    def alone(self) -> bool:
        """Whether this process computes every stage itself."""
        return self.workers == 1

    @contextmanager
    def open(self) -> Iterator[Workers]:
        """The processes."""
        pool = Processes(self.workers)
        try:
            yield pool
        finally:
            pool.end()


class Processes:
    """Processes of this machine, started anew where one was lost."""

    def __init__(self, count: int):
        self._count = count
        self._before = set(multiprocessing.active_children())
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, task: Task, on_device: bool) -> Future[Outcome]:
        """Hand a task out to the next process that is free."""
        for _ in range(2):
            try:
                return self._started().submit(perform, task)
            except BrokenProcessPool:
                self.end()
        return self._started().submit(perform, task)

    def hindered(self) -> str:
        """Nothing: processes of this machine take what they are given."""
        return ""

    def lost(self, error: BaseException) -> bool:
        """Whether a process ended without a word; the others of the pool were ended with it, so all begin anew."""
        if not isinstance(error, BrokenProcessPool):
            return False
        self.end()
        return True

    def end(self) -> None:
        """End the processes, also in the middle of a stage: what it has written stays for the next run."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        pool.shutdown(wait=False, cancel_futures=True)
        own = [process for process in multiprocessing.active_children() if process not in self._before]
        for process in own:
            _kill_below(process.pid)
            process.kill()
        for process in own:
            process.join()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            for name, value in PATIENT.items():  # what is started now inherits it
                os.environ.setdefault(name, value)
            self._pool = ProcessPoolExecutor(
                self._count, mp_context=multiprocessing.get_context("spawn"), initializer=end_with_parent
            )
        return self._pool


def _kill_below(pid: int | None) -> None:
    """Kill what a process has started itself: some stages share their work out, too."""
    import psutil

    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for process in below:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def end_with_parent() -> None:
    """Called in a worker, which then leaves Ctrl-C to the run and does not outlive it, however the run ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
