"""A dask.distributed cluster: processes of this machine, a scheduler at an address, or jobs under SLURM.

Dask places the stages, and places those of a lost worker anew. What it carries is a config and a name, and seconds
back: the artefacts go through the store, on a disk that all workers share.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from bridge.errors import ConfigError, UnreachableError
from bridge.spec import Spec
from comparisons.executors.base import PATIENT, ExecutorSpec, Workers
from comparisons.executors.work import Outcome, Task, perform

SECONDS = 30
"""How long a scheduler, and the first worker of a cluster that is said to run, are waited for."""


class Slurm(Spec):
    """Jobs that are submitted for the run and cancelled with it; each is one worker."""

    jobs: Annotated[int, Field(ge=1)]
    """How many jobs."""
    cores: Annotated[int, Field(ge=1)] = 4
    """Processors a job."""
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?([KMGT]i?)?B$")] = "16GB"
    """Memory a job."""
    walltime: Annotated[str, Field(pattern=r"^(\d+-)?\d+(:\d\d){1,2}$")] = "04:00:00"
    """How long a job may last; a stage that is cut off goes on in another."""
    queue: str | None = None
    """Partition to submit to."""
    account: str | None = None
    """Account to charge."""
    directives: list[str] = []
    """Further options of sbatch, such as `--gres=gpu:1`."""
    prologue: list[str] = []
    """Shell lines before the worker starts, such as `module load cuda`."""
    interface: str | None = None
    """Network interface between the machines, such as `ib0`."""


class DaskExecutor(ExecutorSpec):
    """A dask.distributed cluster; give one of `address`, `workers` and `slurm`."""

    kind: Literal["dask"] = "dask"
    address: Annotated[str, Field(pattern=r"^[a-z]+://.+")] | None = None
    """Of a scheduler that runs, such as `tcp://10.0.0.1:8786`. Start its workers with one thread each."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes on this machine."""
    slurm: Slurm | None = None
    """Jobs to submit (needs the package dask-jobqueue)."""
    gpu_resource: str | None = None
    """The dask resource that stages which run or train networks ask for (one each), such as `GPU`; workers that have it
    were started with `--resources GPU=1`. Those that this run starts itself have it."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [name for name in ("address", "workers", "slurm") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"{' and '.join(given) or 'nothing'} is given; give one of address, workers and slurm")
        return self

    @contextmanager
    def open(self) -> Iterator[Workers]:
        """The cluster's workers. Those at an address go on with what they are computing when the context ends early."""
        distributed = _library("distributed", "executor: kind dask", "distributed")
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        with ExitStack() as stack:
            cluster = None
            if self.slurm is not None:
                cluster = stack.enter_context(_slurm(self.slurm, self._own_resources()))
            elif self.workers is not None:
                cluster = stack.enter_context(_processes(distributed, self.workers, self._own_resources()))
            try:
                client = stack.enter_context(distributed.Client(cluster or self.address, timeout=SECONDS))
            except (OSError, TimeoutError, ValueError) as error:
                raise UnreachableError(
                    f"There is no dask scheduler at {self.address} ({error}); start one with `dask scheduler`, and "
                    "give the address that it prints under executor.address."
                ) from error
            if self.address is not None:
                self._check_workers(client)
            yield _Cluster(client, self.gpu_resource, _NO_JOB if self.slurm is not None else "")

    def _own_resources(self) -> dict[str, float]:
        return {self.gpu_resource: 1.0} if self.gpu_resource else {}

    def _check_workers(self, client: Any) -> None:
        """Raises UnreachableError for a scheduler without workers, ConfigError for workers that do not fit."""
        try:
            client.wait_for_workers(1, timeout=SECONDS)
        except TimeoutError as error:
            raise UnreachableError(
                f"The dask scheduler at {self.address} has no workers; start some with `dask worker {self.address} "
                "--nthreads 1`."
            ) from error
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if threaded := [one["name"] for one in workers if one["nthreads"] > 1]:
            raise ConfigError(
                f"{len(threaded)} of {len(workers)} dask workers have several threads, and a stage needs its process "
                f"for itself; start them with `dask worker {self.address} --nthreads 1` (and --nworkers for several)."
            )
        if self.gpu_resource and not any(one.get("resources", {}).get(self.gpu_resource) for one in workers):
            raise ConfigError(
                f"executor.gpu_resource: was given {self.gpu_resource!r}, and none of {len(workers)} dask workers has "
                f"it; start one with `dask worker {self.address} --nthreads 1 --resources {self.gpu_resource}=1`."
            )


def _library(name: str, what: str, package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{what} needs the package {package}, which is not installed; install it with `pip install {package}`, or "
            "set executor.kind to local."
        ) from error


def _processes(distributed: Any, count: int, resources: dict[str, float]) -> Any:
    """A cluster of processes on this machine, which compute with as many threads as a local run."""
    import dask

    # In place of dask's own settings: one thread a process, which splits sums in another way than a local run does.
    environment = {name: os.environ.get(name, value) for name, value in PATIENT.items()}
    with dask.config.set({"distributed.nanny.pre-spawn-environ": environment}):
        return distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,  # what is mapped from shards is no reason to end a worker
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            preload=[__name__],
            resources=resources or None,
        )


def dask_setup(worker: Any) -> None:
    """Called by dask in each worker process of this machine: Ctrl-C is for the run, which ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _slurm(spec: Slurm, resources: dict[str, float]) -> Any:
    """A cluster of jobs."""
    jobqueue = _library("dask_jobqueue", "executor.slurm", "dask-jobqueue")
    told = ["--resources", ",".join(f"{name}={count:g}" for name, count in resources.items())] if resources else []
    # SLURM holds a job to its memory. Dask would stop giving work to a worker near it, and so would a run stand still.
    told += ["--memory-limit", "0"]
    cluster = jobqueue.SLURMCluster(
        cores=spec.cores,
        processes=1,
        memory=spec.memory,
        walltime=spec.walltime,
        queue=spec.queue,
        account=spec.account,
        interface=spec.interface,
        job_extra_directives=spec.directives,
        job_script_prologue=spec.prologue,
        worker_extra_args=["--nthreads", "1", *told],
        log_directory=None,
    )
    cluster.scale(jobs=spec.jobs)
    return cluster


_NO_JOB = "SLURM may keep the jobs waiting (`squeue`), or they ended before they began (their output says why)"


class _Cluster:
    """Workers behind a dask client."""

    def __init__(self, client: Any, gpu_resource: str | None, absent: str = ""):
        """`absent`: where to look while there is no worker."""
        self._client, self._absent = client, absent
        self._any = client.get_executor(pure=False, retries=0)
        self._gpu = client.get_executor(pure=False, retries=0, resources={gpu_resource: 1}) if gpu_resource else None

    def submit(self, task: Task, on_device: bool) -> Future[Outcome]:
        """Hand a task to the scheduler."""
        executor = self._gpu if on_device and self._gpu is not None else self._any
        future: Future[Outcome] = executor.submit(perform, task)
        return future

    def hindered(self) -> str:
        """That there is no worker, or that dask gives the workers nothing, since their memory is nearly full."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        if not workers:
            return f"there is no dask worker yet{f'; {self._absent}' if self._absent else ''}."
        if all(one.get("status") == "paused" for one in workers):
            return (
                f"dask has paused all {len(workers)} workers, since their memory is nearly full; start them with more "
                "of it, or with `--memory-limit 0`."
            )
        return ""

    def lost(self, error: BaseException) -> bool:
        """Whether dask gave up on a task that cost several workers. Raises UnreachableError without a scheduler."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        if self._client.status not in ("running", "connecting") or isinstance(error, FutureCancelledError):
            raise UnreachableError(
                "The dask scheduler is gone; what was computed is kept: start it again and give the same command."
            ) from error
        return isinstance(error, KilledWorker)
