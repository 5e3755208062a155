"""What a training keeps so that it can go on: jobs, step, histories and warnings, in a checkpoint with all tensors."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bridge.store import cannot_write
from saes.course import Point, Watch
from saes.settings import Training
from saes.sources import TokenSource
from saes.trainee import Trainee

CHECKPOINT = "training.safetensors"


@dataclass(frozen=True)
class Job:
    """One dictionary to train: what it reads, and what it writes if that is another site."""

    name: str
    reads: tuple[str, ...]
    """The site; several for a crosscoder, a dictionary of their concatenation."""
    training: Training
    writes: str | None = None
    """The site that a transcoder predicts."""
    skip: bool = False
    """Whether a transcoder has a linear part beside its latents."""
    start: int | None = None
    """Seed of its first directions; the training's where left out. Dictionaries whose latents are to be matched with
    each other must not start alike."""

    @property
    def sites(self) -> tuple[str, ...]:
        """All sites that it needs tokens of."""
        return self.reads if self.writes is None else (*self.reads, self.writes)


class RunState:
    """The step, histories and warnings of a run, and its checkpoint."""

    def __init__(self, jobs: Sequence[Job], source: TokenSource, steps: int, folder: Path | None):
        self.jobs, self.steps, self.path = jobs, steps, None if folder is None else folder / CHECKPOINT
        self.step, self.began = 0, time.perf_counter()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise cannot_write(folder, error) from error
        self.history: dict[str, list[Point]] = {job.name: [] for job in jobs}
        self.warnings: dict[str, list[str]] = {job.name: [] for job in jobs}
        plan = [[job.name, job.reads, job.writes, job.skip, job.start, job.training.content()] for job in jobs]
        data = [source.tokens, dict(source.widths)]
        self.plan = hashlib.sha256(json.dumps([plan, data, steps], sort_keys=True).encode()).hexdigest()

    @property
    def seconds(self) -> float:
        """How long it took, before interruptions too."""
        return time.perf_counter() - self.began

    def watches(self) -> dict[str, Watch]:
        """Watches that have seen what happened so far: what was said before an interruption is not said again."""
        watch = {job.name: Watch(job.name) for job in self.jobs}
        for name, points in self.history.items():
            for point in points:
                watch[name].look(point, point.step / self.steps)
        return watch

    def note(self, points: Mapping[str, Point], warnings: Mapping[str, Sequence[str]]) -> None:
        """Add a point and what was said of it to each history."""
        for name, point in points.items():
            self.history[name].append(point)
            self.warnings[name] += warnings[name]

    def save(self, trainees: Mapping[str, Trainee]) -> None:
        """Write the checkpoint; the one before stays until this one is whole. Raises StorageError."""
        if self.path is None:
            return
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        about = {
            "plan": self.plan,
            "step": str(self.step),
            "seconds": str(self.seconds),
            "warnings": json.dumps(self.warnings),
            "history": json.dumps({name: [asdict(point) for point in points] for name, points in self.history.items()}),
        }
        state = {
            f"{number}.{key}": value.detach().cpu().clone()
            for number, job in enumerate(self.jobs)
            for key, value in trainees[job.name].state().items()
        }
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        try:
            save_file(state, temporary, metadata={**about, "sha256": _sealed(about, state)})
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except (OSError, SafetensorError) as error:  # safetensors has its own word for a failed write
            temporary.unlink(missing_ok=True)
            cause = error if isinstance(error, OSError) else OSError(str(error))
            raise cannot_write(self.path.parent, cause) from error

    def restore(self, trainees: Mapping[str, Trainee]) -> None:
        """Go on from the checkpoint, if there is a readable one of this plan."""
        if self.path is None or not self.path.is_file():
            return
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("plan") != self.plan:
                    return
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError):
            return  # damaged: the training starts again
        if about.pop("sha256", None) != _sealed(about, state):
            return
        for number, job in enumerate(self.jobs):
            mine = {key.removeprefix(f"{number}."): v for key, v in state.items() if key.startswith(f"{number}.")}
            trainees[job.name].restore(mine)
        self.step, self.began = int(about["step"]), time.perf_counter() - float(about["seconds"])
        self.warnings = json.loads(about["warnings"])
        self.history = {
            name: [Point(**point) for point in points] for name, points in json.loads(about["history"]).items()
        }


def _sealed(about: Mapping[str, str], state: Mapping[str, torch.Tensor]) -> str:
    """sha256 over all that a checkpoint holds: a training that went on from damaged numbers would not show it."""
    found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
