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
WHOLE = ""
"""The bar of all stages; no stage is called so."""


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


class Left:
    """How long a run still takes: of the stage that runs by its share and its time so far, of the others by what was
    predicted for them (`Plan.expected`)."""

    def __init__(self) -> None:
        self._expected: dict[str, float | None] = {}
        self._began: dict[str, float] = {}
        self._shares: dict[str, float] = {}

    def planned(self, plan: Plan, missing: list[str]) -> None:
        """A run of these stages begins."""
        self._expected = {name: plan.expected.get(name) for name in missing}
        self._began, self._shares = {}, {}

    def started(self, name: str) -> None:
        """A stage begins."""
        self._began[name] = time.monotonic()

    def advanced(self, name: str, share: float) -> None:
        """So much of it is done."""
        self._shares[name] = share

    def finished(self, name: str) -> None:
        """It is done."""
        self._expected.pop(name, None)
        self._began.pop(name, None)

    def of(self, name: str) -> float | None:
        """Seconds that a stage still takes; None where nothing tells."""
        expected, share = self._expected.get(name), self._shares.get(name, 0.0)
        if name not in self._began:
            return expected
        so_far = time.monotonic() - self._began[name]
        if share >= LEAST_SHARE:
            return so_far * (1 - share) / share
        return None if expected is None or so_far > expected else expected - so_far

    def text(self) -> str:
        """Of all stages, in words; nothing where none of them is known."""
        from comparisons.predicting.table import duration

        each = [self.of(name) for name in self._expected]
        known = [seconds for seconds in each if seconds is not None]
        if not known:
            return ""
        unknown = len(each) - len(known)
        besides = f" and {unknown} stage{'s' if unknown > 1 else ''} of unknown length" if unknown else ""
        return f"about {duration(sum(known))}{besides} left"


LEAST_SHARE = 0.02
"""Of a stage: below, its own pace says little."""


class Log:
    """Plain lines on standard error: a stage when it starts and ends, its share at most every ten seconds."""

    def __init__(self) -> None:
        self._said = 0.0
        self._total = self._done = 0
        self._left = Left()

    def planned(self, plan: Plan, missing: list[str]) -> None:
        """Say how much is to do."""
        self._done, self._total = 0, len(missing)
        self._left.planned(plan, missing)
        left = f"; {text}" if (text := self._left.text()) else ""
        self._say(f"{len(missing)} of {len(plan.stages)} stages to compute, the others are reused{left}")

    def started(self, stage: Stage) -> None:
        """Name the stage."""
        self._done += 1
        self._said = time.monotonic()
        self._left.started(stage.id)
        self._say(f"[{self._done}/{self._total}] {stage.id} ...")

    def advanced(self, stage: Stage, share: float, text: str = "") -> None:
        """Say the share, if there was silence for ten seconds."""
        self._left.advanced(stage.id, share)
        if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            told = [f"{share:.0%}", text, self._left.text()]
            self._say(f"      {stage.id}: {', '.join(part for part in told if part)}")

    def finished(self, stage: Stage, seconds: float, reused: bool) -> None:
        """Say how long it took."""
        self._left.finished(stage.id)
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
    """One bar a stage with the remaining time, and above them that of the whole run, on standard error."""

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
        self._left = Left()
        self._progress.start()

    def planned(self, plan: Plan, missing: list[str]) -> None:
        """Show every stage that is to do."""
        self._left.planned(plan, missing)
        if len(missing) > 1:
            whole = self._progress.add_task("all stages", total=len(missing), text=self._left.text())
            self._tasks[WHOLE] = whole
        for name in missing:
            self._tasks[name] = self._progress.add_task(name, total=1.0, start=False, text="")

    def started(self, stage: Stage) -> None:
        """Start its clock."""
        self._left.started(stage.id)
        self._progress.start_task(self._tasks[stage.id])

    def advanced(self, stage: Stage, share: float, text: str = "") -> None:
        """Move its bar."""
        self._left.advanced(stage.id, share)
        self._progress.update(self._tasks[stage.id], completed=share, text=text)
        self._whole(0)

    def finished(self, stage: Stage, seconds: float, reused: bool) -> None:
        """Fill its bar."""
        self._left.finished(stage.id)
        self._progress.update(self._tasks[stage.id], completed=1.0, text="")
        self._whole(1)

    def _whole(self, done: int) -> None:
        """Move the bar of all stages, and say what is left."""
        if WHOLE in self._tasks:
            self._progress.update(self._tasks[WHOLE], advance=done, text=self._left.text())

    def note(self, text: str) -> None:
        """Print above the bars."""
        self._progress.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()
