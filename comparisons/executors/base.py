"""The contract of an executor: who computes the stages of a plan."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import Field

from bridge.spec import Spec

if TYPE_CHECKING:
    from comparisons.executors.work import Outcome, Task


PATIENT = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "4"}
"""Environment of workers that share a machine: threads that have nothing to do sleep instead of spinning, which takes
the processor from the other workers. Two on two cores took 5.9 min for the demo without it, and 1.9 min with it."""


class Workers(Protocol):
    """Processes that compute stages."""

    def submit(self, task: Task, on_device: bool) -> Future[Outcome]:
        """Hand a task out; the future is done when a worker did it. `on_device`: best where there is a GPU."""
        ...

    def hindered(self) -> str:
        """Why no worker takes any task, in words; empty where nothing is known to hinder them."""
        ...

    def lost(self, error: BaseException) -> bool:
        """Whether an exception of a future means that its worker is gone, so that the task may be given to another.

        Raises UnreachableError where there is no other, with what to do.
        """
        ...


class ExecutorSpec(Spec):
    """Who computes a run's stages; a kind adds its own fields and a literal `kind`."""

    retries: Annotated[int, Field(ge=0)] = 3
    """How often a stage whose worker was lost is given to another, before the run ends with an error."""

    @property
    def alone(self) -> bool:
        """Whether this process computes every stage itself."""
        return False

    @contextmanager
    def open(self) -> Iterator[Workers]:
        """The workers, for as long as the context lasts; those that were started for it are ended with it.

        Raises ConfigError where something that they need is not installed, UnreachableError where they cannot be had.
        """
        raise NotImplementedError
        yield
