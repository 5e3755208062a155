"""Training dictionaries: one pass over the tokens serves several sites and seeds, and a killed one is gone on with."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.store import cannot_write
from saes.architectures.base import Outcome, reading
from saes.architectures.batchtopk import BatchTopK
from saes.sae import SparseAutoencoder
from saes.settings import Training
from saes.sources import TokenSource
from saes.sparse_ops import batch_top_k
from saes.trainee import Trainee

CHECKPOINT = "training.safetensors"
CHECKPOINT_SECONDS = 60.0
CALIBRATION_TOKENS = 2**17
REPORTS = 200
"""How many points a history has, about."""


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

    @property
    def sites(self) -> tuple[str, ...]:
        """All sites that it needs tokens of."""
        return self.reads if self.writes is None else (*self.reads, self.writes)


@dataclass
class Point:
    """How a training stood: means over the steps since the point before."""

    step: int
    tokens: int
    fvu: float
    """Squared error as a share of the variance of the training tokens."""
    l0: float
    dead: float
    """Share of latents that are dead."""
    parts: dict[str, float] = field(default_factory=dict)


@dataclass
class Report:
    """What `train` tells while it runs."""

    step: int
    steps: int
    tokens_per_second: float
    points: dict[str, Point]
    warnings: list[str] = field(default_factory=list)
    """New ones, a sentence each."""


@dataclass
class Trained:
    """A dictionary as it is saved and applied, and how its training went."""

    sae: SparseAutoencoder
    history: list[Point]
    warnings: list[str]
    seconds: float


def train(
    jobs: Sequence[Job],
    source: TokenSource,
    *,
    folder: Path | None = None,
    metadata: Mapping[str, Any] | None = None,
    progress: Callable[[Report], None] | None = None,
    device: str = "cpu",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> dict[str, Trained]:
    """Train all `jobs` in one pass over the tokens of `source`; the dictionaries by name.

    Jobs may differ in sites, seeds and architectures; batch, epochs and size of the sample must be the same, and the
    first job's seed orders the tokens. With a `folder`, a checkpoint is written there about once a minute, and a
    checkpoint that is found there is gone on from: the same machine and number of threads give the same tensors as
    without the interruption. It is left in place at the end: whoever saves the dictionaries deletes it.

    `metadata` is handed to every dictionary. Memory: of each dictionary twice the tensors for Adam, one gradient and
    one block of pre-activations, and a batch.

    Raises ConfigError for jobs that do not fit the source or diverge, InputError for tokens that are not finite (no
    dictionary makes the step, and a checkpoint of the steps before is written first), StorageError where a checkpoint
    cannot be written (the one before stays).
    """
    _check(jobs, source)
    training = jobs[0].training
    steps = training.steps(source.tokens)
    trainees = _started(jobs, source, steps, device)
    run = _Run(jobs, source, steps, folder)
    run.restore(trainees)
    began, done_before = time.perf_counter(), run.step
    every, saved_at = max(1, steps // REPORTS), time.perf_counter()
    watch = run.watches()
    sums = {job.name: _Sums() for job in jobs}
    alone = len(jobs) == 1  # others would need the batch, too
    for batch in _batches(source, training, steps, run.step):
        if broken := _not_finite(batch, run.step):
            run.save(trainees)
            raise broken
        for job in jobs:
            x, y = _data(job, batch)
            trainee = trainees[job.name]
            outcome = trainee.step(x, y, in_place=alone)
            if not torch.isfinite(outcome.loss):
                raise _diverged(trainee)
            sums[job.name].add(outcome, len(x), trainee.variance)
        run.step += 1
        if run.step % every == 0 or run.step == steps:
            points = {name: sums[name].point(run.step, trainees[name]) for name in trainees}
            sums = {job.name: _Sums() for job in jobs}
            unsaid = {name: watch[name].look(point, run.step / steps) for name, point in points.items()}
            new = [text for texts in unsaid.values() for text in texts]
            run.note(points, unsaid)
            if progress is not None:
                tokens = (run.step - done_before) * training.batch
                progress(Report(run.step, steps, tokens / (time.perf_counter() - began), points, new))
        if folder is not None and time.perf_counter() - saved_at > checkpoint_seconds and run.step < steps:
            run.save(trainees)
            saved_at = time.perf_counter()
    for job in jobs:
        if isinstance(job.training.architecture, BatchTopK):
            trainees[job.name].threshold = calibrated_threshold(job, trainees[job.name], source)
    if folder is not None:
        run.save(trainees)
    return {
        job.name: Trained(
            trainees[job.name].finished({**(metadata or {}), **_described(job, source)}),
            run.history[job.name],
            run.warnings[job.name],
            run.seconds,
        )
        for job in jobs
    }


# ------------------------------------------------------------------------------------------------------- the data


def _check(jobs: Sequence[Job], source: TokenSource) -> None:
    if not jobs:
        raise ConfigError("There is no dictionary to train; name at least one site.")
    names = [job.name for job in jobs]
    if len(set(names)) < len(names):
        raise ConfigError(f"Two dictionaries have the same name ({', '.join(names)}); give each its own.")
    for job in jobs:
        for site in job.sites:
            if site not in source.widths:
                raise ConfigError(
                    f"{site!r} is not among the tokens' sites; {did_you_mean(site, list(source.widths))}."
                )
        if job.writes is not None and len(job.reads) > 1:
            raise ConfigError(f"{job.name} reads several sites and writes another; a transcoder reads one.")
        if job.writes in job.reads:
            raise ConfigError(f"{job.name} reads and writes {job.writes}; leave out `writes` to train an autoencoder.")
        if len({source.places[site] for site in job.sites}) > 1:
            raise ConfigError(
                f"The tokens of {', '.join(job.sites)} lie at different places of a stimulus (of "
                f"{', '.join(str(source.places[site]) for site in job.sites)} patches), so none predicts another; "
                "take sites with one grid, or capture their means (capture.tokens: mean)."
            )
        first, this = jobs[0].training, job.training
        for shared in ("batch", "epochs", "tokens", "sample"):
            if getattr(first, shared) != getattr(this, shared):
                raise ConfigError(
                    f"{jobs[0].name} and {job.name} differ in `{shared}` ({getattr(first, shared)}, "
                    f"{getattr(this, shared)}); dictionaries that share a pass over the data must not."
                )
        if this.precision == "bf16":
            from bridge.activations import has_bfloat16

            if not has_bfloat16("cpu") and not torch.cuda.is_available():
                raise ConfigError("This processor has no bfloat16 arithmetic; train with precision fp32.")


def _data(job: Job, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
    x = batch[job.reads[0]] if len(job.reads) == 1 else torch.cat([batch[site] for site in job.reads], 1)
    return x, None if job.writes is None else batch[job.writes]


def _batches(source: TokenSource, training: Training, steps: int, done: int) -> Iterator[dict[str, torch.Tensor]]:
    """The batches of steps `done` to `steps`, epoch by epoch."""
    per_epoch = -(-source.tokens // training.batch)
    while done < steps:
        epoch, start = divmod(done, per_epoch)
        for batch in source.batches(training.batch, training.seed, epoch, start):
            yield batch
            done += 1
            if done == steps:
                return


def _sample(source: TokenSource, training: Training, sites: Sequence[str]) -> dict[str, torch.Tensor]:
    """The first tokens of the first epoch, [at most `training.sample`, d] by site."""
    parts: dict[str, list[torch.Tensor]] = {site: [] for site in sites}
    held = 0
    for batch in source.batches(training.batch, training.seed):
        for site in sites:
            parts[site].append(batch[site])
        held += len(batch[sites[0]])
        if held >= training.sample:
            break
    return {site: torch.cat(values)[: training.sample] for site, values in parts.items()}


def _started(jobs: Sequence[Job], source: TokenSource, steps: int, device: str) -> dict[str, Trainee]:
    training = jobs[0].training
    sample = _sample(source, training, list(dict.fromkeys(site for job in jobs for site in job.sites)))
    trainees = {}
    for job in jobs:
        x, y = _data(job, sample)
        trainees[job.name] = Trainee(
            job.name,
            job.training,
            x,
            y,
            parts=[source.widths[site] for site in job.reads] if len(job.reads) > 1 else None,
            skip=job.skip,
            dead_after=job.training.dead_tokens(source.tokens),
            steps=steps,
            device=device,
        )
    return trainees


def _not_finite(batch: Mapping[str, torch.Tensor], step: int) -> InputError | None:
    """What to say of a batch that holds NaN or infinite values; None if it holds none."""
    for site, tokens in batch.items():
        if not torch.isfinite(tokens.sum()):  # one pass and no copy; a sum may also overflow
            bad = int((~torch.isfinite(tokens)).any(1).sum())
            if bad:
                return InputError(
                    f"{bad} of {len(tokens)} tokens of {site} hold NaN or infinite values (step {step}); mend or "
                    "leave out the stimuli that they come from. The training so far is kept."
                )
    return None


def _diverged(trainee: Trainee) -> ConfigError:
    return ConfigError(
        f"The loss of {trainee.name} is not finite at step {trainee.step_number} though its tokens are; lower the "
        f"learning rate (lr is {trainee.training.learning_rate(trainee.latents):.2g})."
    )


def _described(job: Job, source: TokenSource) -> dict[str, Any]:
    """What a dictionary's metadata say of the job."""
    about: dict[str, Any] = {
        "hook_name": job.reads[0] if len(job.reads) == 1 else None,
        "trained_as": job.training.architecture.kind,  # type: ignore[attr-defined]
        "training": job.training.content(),
        "training_tokens": job.training.steps(source.tokens) * min(job.training.batch, source.tokens),
    }
    if job.writes is not None:
        about["hook_name_out"] = job.writes
    if len(job.reads) > 1:
        about |= {"sites": list(job.reads), "widths": [source.widths[site] for site in job.reads]}
    return about


@torch.no_grad()
def calibrated_threshold(job: Job, trainee: Trainee, source: TokenSource) -> torch.Tensor:
    """The threshold at which k latents a token are active on average, of scaled activations: a scalar.

    Over up to 131,072 tokens: halfway between the k n-th largest pre-activation and the next.
    """
    architecture = job.training.architecture
    assert isinstance(architecture, BatchTopK)
    k = architecture.k_for(trainee.tensors["encoder"].shape[1])
    largest, seen = [], 0
    for batch in source.batches(job.training.batch, job.training.seed):
        x, y = _data(job, batch)
        read = reading(trainee.tensors, trainee.batch(x, y)).x
        # Twice as many as wanted of each batch: one batch may hold more than its share.
        _, values, _ = batch_top_k(read, trainee.tensors["encoder"], trainee.tensors["b_enc"], 2 * k)
        largest.append(values.cpu())
        seen += len(x)
        if seen >= CALIBRATION_TOKENS:
            break
    pooled = torch.cat(largest).sort(descending=True).values
    wanted = k * seen
    if len(pooled) <= wanted:
        return torch.zeros(())
    return (pooled[wanted - 1] + pooled[wanted]) / 2


# ------------------------------------------------------------------------------------------- watching and keeping


class _Sums:
    """Sums over the steps since the last point."""

    def __init__(self) -> None:
        self.tokens, self.squares, self.active = 0, 0.0, 0.0
        self.parts: dict[str, float] = {}
        self.steps = 0

    def add(self, outcome: Outcome, tokens: int, variance: float) -> None:
        self.tokens += tokens
        self.steps += 1
        self.squares += float(outcome.share) * tokens / variance
        self.active += outcome.l0 * tokens
        for name, value in outcome.parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + value

    def point(self, step: int, trainee: Trainee) -> Point:
        dead = len(trainee.dead) / trainee.latents
        parts = {name: value / self.steps for name, value in self.parts.items()}
        return Point(step, self.tokens, self.squares / self.tokens, self.active / self.tokens, dead, parts)


class Watch:
    """Looks at the points of one training and says, once each, what will not mend itself."""

    def __init__(self, name: str):
        self.name, self.said = name, set[str]()
        self.level, self.best = float("nan"), float("inf")
        """Unexplained variance, smoothed (points of short trainings are single steps), and its least value."""

    def look(self, point: Point, done: float) -> list[str]:
        """Sentences that have not been said before. `done` is the share of the training, 0 to 1."""
        found = {}
        self.level = point.fvu if math.isnan(self.level) else 0.8 * self.level + 0.2 * point.fvu
        if done >= 0.3 and point.fvu > 0.9:
            found["stalled"] = (
                f"{self.name} leaves {point.fvu:.0%} of the variance unexplained after {done:.0%} of its training; "
                "raise k or the learning rate, or lower the penalty."
            )
        if done >= 0.3 and self.level > 1.3 * self.best:
            found["rising"] = (
                f"{self.name}'s unexplained variance has risen from {self.best:.3f} to {self.level:.3f}; lower the "
                "learning rate."
            )
        if done >= 0.3 and point.dead > 0.5:
            found["dying"] = (
                f"{point.dead:.0%} of {self.name}'s latents are dead after {done:.0%} of its training; take fewer "
                "latents, more tokens, or a larger aux_coefficient."
            )
        if done >= 0.3:  # penalties have their full weight by then
            self.best = min(self.best, self.level)
        unsaid = [text for what, text in found.items() if what not in self.said]
        self.said |= set(found)
        return unsaid


class _Run:
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
        plan = [[job.name, job.reads, job.writes, job.skip, job.training.content()] for job in jobs]
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
            save_file(state, temporary, metadata=about)
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
        for number, job in enumerate(self.jobs):
            mine = {key.removeprefix(f"{number}."): v for key, v in state.items() if key.startswith(f"{number}.")}
            trainees[job.name].restore(mine)
        self.step, self.began = int(about["step"]), time.perf_counter() - float(about["seconds"])
        self.warnings = json.loads(about["warnings"])
        self.history = {
            name: [Point(**point) for point in points] for name, points in json.loads(about["history"]).items()
        }
