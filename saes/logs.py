"""Where the points of a training go besides the terminal: TensorBoard or Weights & Biases, where they are installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from saes.training import Report

Log = Callable[[str, "Report"], None]
"""Told the name of a run and what `saes.training.train` reports."""
Where = Literal["tensorboard", "wandb"]


def log_to(where: str, folder: Path) -> Log:
    """A log that writes into `folder`. Raises ConfigError for an unknown kind, or one that is not installed."""
    try:
        if where == "tensorboard":
            return _tensorboard(folder)
        if where == "wandb":
            return _wandb(folder)
    except ImportError as error:
        raise ConfigError(
            f"{where} is not installed ({error}); install it (pip install {where}), or leave --log out."
        ) from None
    raise ConfigError(f"There is no log {where!r}; give tensorboard or wandb.")


def values_of(report: Report) -> dict[str, float]:
    """What a report says, by NAME/QUANTITY."""
    values = {"tokens_per_second": report.tokens_per_second}
    for name, point in report.points.items():
        values |= {f"{name}/fvu": point.fvu, f"{name}/l0": point.l0, f"{name}/dead": point.dead}
        values |= {f"{name}/{part}": value for part, value in point.parts.items()}
    return values


def _tensorboard(folder: Path) -> Log:
    from torch.utils.tensorboard import SummaryWriter

    writers: dict[str, Any] = {}

    def log(run: str, report: Report) -> None:
        if run not in writers:
            writers[run] = SummaryWriter(str(folder / run))
        for name, value in values_of(report).items():
            writers[run].add_scalar(name, value, report.step)
        if report.step == report.steps:
            writers[run].flush()

    return log


def _wandb(folder: Path) -> Log:
    import wandb

    runs: dict[str, Any] = {}

    def log(run: str, report: Report) -> None:
        if run not in runs:
            folder.mkdir(parents=True, exist_ok=True)
            runs[run] = wandb.init(project="ventral-bridge", name=run, dir=str(folder), reinit="create_new")
        runs[run].log(values_of(report), step=report.step)
        if report.step == report.steps:
            runs[run].finish()

    return log
