"""How a run is shown while it runs: bars on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comparisons.plan import Plan, Stage
    from comparisons.running import Reporter

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def make_reporter() -> Iterator[Reporter]:
    """Bars if standard error is a terminal, else a plain log; warnings are shown as notes, each once."""
    terminal = sys.stderr.isatty()
    reporter: Any = Bars() if terminal else Log()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning):
            reporter.note(f"notice: {message}")

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.showwarning = show
        try:
            yield reporter
        finally:
            reporter.close()


class Log:
    """Plain lines on standard error: a stage when it starts and ends, its share at most every ten seconds."""

    def __init__(self) -> None:
        self._said = 0.0
        self._total = self._done = 0

    def planned(self, plan: Plan, missing: list[str]) -> None:
        """Say how much is to do."""
        self._done, self._total = 0, len(missing)
        self._say(f"{len(missing)} of {len(plan.stages)} stages to compute, the others are reused")

    def started(self, stage: Stage) -> None:
        """Name the stage."""
        self._done += 1
        self._said = time.monotonic()
        self._say(f"[{self._done}/{self._total}] {stage.id} ...")

    def advanced(self, stage: Stage, share: float, text: str = "") -> None:
        """Say the share, if there was silence for ten seconds."""
        if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self._say(f"      {stage.id}: {share:.0%}" + (f", {text}" if text else ""))

    def finished(self, stage: Stage, seconds: float, reused: bool) -> None:
        """Say how long it took."""
        self._say(
            f"      {stage.id}: " + (f"made by another process ({seconds:.1f} s)" if reused else f"{seconds:.1f} s")
        )

    def note(self, text: str) -> None:
        """Say it."""
        self._say(text)

    def close(self) -> None:
        """Nothing to close."""

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Bars:
    """One bar a stage with the remaining time, on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description:34}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[text]}"),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}
        self._progress.start()

    def planned(self, plan: Plan, missing: list[str]) -> None:
        """Show every stage that is to do."""
        for name in missing:
            self._tasks[name] = self._progress.add_task(name, total=1.0, start=False, text="")

    def started(self, stage: Stage) -> None:
        """Start its clock."""
        self._progress.start_task(self._tasks[stage.id])

    def advanced(self, stage: Stage, share: float, text: str = "") -> None:
        """Move its bar."""
        self._progress.update(self._tasks[stage.id], completed=share, text=text)

    def finished(self, stage: Stage, seconds: float, reused: bool) -> None:
        """Fill its bar."""
        self._progress.update(self._tasks[stage.id], completed=1.0, text="")

    def note(self, text: str) -> None:
        """Print above the bars."""
        self._progress.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()
