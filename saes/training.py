"""Training dictionaries: one pass over the tokens serves several sites and seeds, and a killed one is gone on with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bridge.errors import ConfigError, InputError, did_you_mean
from saes.architectures.base import reading
from saes.architectures.batchtopk import BatchTopK
from saes.course import Point, Report, Sums, Watch
from saes.run_state import CHECKPOINT, Job, RunState
from saes.sae import SparseAutoencoder
from saes.settings import Training
from saes.sources import TokenSource
from saes.sparse_ops import batch_top_k
from saes.threads import fitting
from saes.trainee import Trainee

__all__ = ["CHECKPOINT", "Job", "Point", "Report", "Trained", "Watch", "calibrated_threshold", "train"]

CHECKPOINT_SECONDS = 60.0
CALIBRATION_TOKENS = 2**17
REPORTS = 200
"""How many points a history has, about."""


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
    run = RunState(jobs, source, steps, folder)
    run.restore(trainees)
    began, done_before = time.perf_counter(), run.step
    every, saved_at = max(1, steps // REPORTS), time.perf_counter()
    watch = run.watches()
    sums = {job.name: Sums() for job in jobs}
    alone = len(jobs) == 1  # others would need the batch, too
    largest = max(len(one.tensors["encoder"]) * one.tensors["encoder"].shape[1] for one in trainees.values())
    with fitting(largest * min(training.batch, source.tokens)):
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
                sums = {job.name: Sums() for job in jobs}
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
            start=job.start,
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
