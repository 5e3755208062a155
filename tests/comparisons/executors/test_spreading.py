"""A run spread over processes leaves the artefacts of a run in one, whatever happens to the processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import yaml
from store_files import files

from bridge.errors import ConfigError, InputError, StorageError, UnreachableError
from bridge.store import Store
from comparisons.config import Config, load, parse, shipped
from comparisons.executors.cluster import _Cluster
from comparisons.executors.local import LocalExecutor
from comparisons.executors.spread import spread
from comparisons.executors.work import Outcome, Surroundings, Task, perform, raised, surroundings
from comparisons.plan import make_plan
from comparisons.running import Silent, needed, run


def test_a_plan_is_made_again_from_its_recipe(content: dict[str, Any]) -> None:
    plan = make_plan(parse(content), Store())
    assert plan.recipe is not None
    again = plan.recipe.plan(Store())
    assert {name: stage.key for name, stage in again.stages.items()} == {n: s.key for n, s in plan.stages.items()}
    assert [stage.kind for stage in plan.stages.values() if stage.on_device] == [
        "activations",
        "saes",
        *["activations"] * 2,
    ]


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_config_reads_its_own_content(name: str) -> None:
    config = load(name)
    again = Config.model_validate(json.loads(json.dumps(config.content())))
    assert again == config


def test_who_computes_is_no_part_of_what_is_computed(content: dict[str, Any]) -> None:
    alone, other = parse(content), parse({**content, "executor": {"kind": "dask", "workers": 2}})
    assert alone.content() == other.content()
    assert make_plan(alone, Store()).digest == make_plan(other, Store()).digest


class Here:
    """Workers that are this process; `lose` of the first tasks are lost."""

    def __init__(self, lose: int = 0):
        self.lose, self.done = lose, []

    def submit(self, task: Task, on_device: bool) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        if self.lose:
            self.lose -= 1
            future.set_exception(ConnectionError())
        else:
            self.done.append((task.stage, on_device))
            future.set_result(perform(task))
        return future

    def hindered(self) -> str:
        return ""

    def lost(self, error: BaseException) -> bool:
        return isinstance(error, ConnectionError)


class Late(Here):
    """Workers that come when it has been asked four times why there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.held = 0, []

    def submit(self, task: Task, on_device: bool) -> Future[Outcome]:
        if self.asked >= 4:
            return super().submit(task, on_device)
        self.held.append((future := Future(), task))
        return future

    def hindered(self) -> str:
        self.asked += 1
        if self.asked == 4:
            for future, task in self.held:
                future.set_result(perform(task))
        return "there is no worker yet." if self.asked < 3 else "all workers are paused."


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.ended: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def finished(self, stage: Any, seconds: float, reused: bool) -> None:
        self.ended.append(stage.id)


def test_lost_workers_are_replaced_and_the_files_are_the_same(
    content: dict[str, Any], executed: Any, tmp_path: Path
) -> None:
    whole = executed("alone", content)
    store, notes, here = Store(tmp_path / "spread"), Notes(), Here(lose=2)
    plan = make_plan(parse(content), store)
    missing = needed(plan, store)
    paths, seconds = spread(plan, missing, store, notes, here, 3)
    assert files(store.root) == whole
    assert sorted(notes.ended) == sorted(missing) == sorted(seconds)
    assert all(path.is_dir() for path in paths.values())
    assert len([text for text in notes.notes if "was lost; it is computed again" in text]) == 2


def test_a_run_without_workers_says_why_it_stands_still_once(
    content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comparisons.executors.spread.STILL", 0.0)
    monkeypatch.setattr("comparisons.executors.spread.LOOK", 0.01)
    store, notes = Store(), Notes()
    plan = make_plan(parse(content), store)
    spread(plan, needed(plan, store), store, notes, Late(), 3)
    said = [text for text in notes.notes if "worker" in text]
    assert said == ["notice: there is no worker yet.", "notice: all workers are paused."]


def test_what_hinders_a_cluster_is_told() -> None:
    distributed = pytest.importorskip("distributed")
    from distributed.core import Status

    def pause(dask_worker: Any) -> None:
        dask_worker.status = Status.paused

    look = {"dashboard_address": None, "threads_per_worker": 1, "processes": False, "silence_logs": 50}
    with distributed.LocalCluster(n_workers=0, **look) as none, distributed.Client(none) as client:
        assert _Cluster(client, None, "squeue").hindered() == "there is no dask worker yet; squeue."
    with distributed.LocalCluster(n_workers=1, **look) as one, distributed.Client(one) as client:
        assert _Cluster(client, None).hindered() == ""
        client.run(pause)
        end = time.monotonic() + 10
        while not (said := _Cluster(client, None).hindered()):  # a worker tells its scheduler when it next can
            assert time.monotonic() < end
            time.sleep(0.05)
        assert said.startswith("dask has paused all 1 workers")


def test_a_stage_that_costs_every_worker_ends_the_run(content: dict[str, Any]) -> None:
    store = Store()
    plan = make_plan(parse(content), store)
    with pytest.raises(StorageError, match="lost its worker 3 times"):
        spread(plan, needed(plan, store), store, Silent(), Here(lose=99), 2)


def test_a_worker_with_other_code_or_another_disk_says_so(content: dict[str, Any], tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plan = make_plan(parse(content), store)
    assert plan.recipe is not None
    there = surroundings(store)
    stage = plan.stages["rdms net"]
    wrong = perform(Task(plan.recipe, stage.id, "rdms/0123", there))
    assert wrong.error is not None
    assert wrong.error[0] == "ConfigError"
    assert "other code, libraries or files" in wrong.error[1]
    away = Surroundings(str(tmp_path / "nowhere"), there.folder, there.environment, there.threads)
    unseen = perform(Task(plan.recipe, stage.id, stage.key, away))
    assert "does not see the run's cache folder" in str(raised(stage, unseen))
    gone = Surroundings(there.store, str(tmp_path / "nowhere"), there.environment, there.threads)
    assert "cannot go to the run's folder" in str(raised(stage, perform(Task(plan.recipe, stage.id, stage.key, gone))))


def test_errors_of_stages_keep_their_kind_and_sentence(content: dict[str, Any]) -> None:
    stage = make_plan(parse(content), Store()).stages["rdms net"]
    error = raised(stage, Outcome(error=("InputError", "One image is broken; replace it.")))
    assert isinstance(error, InputError)
    assert str(error) == "One image is broken; replace it."
    trace = raised(stage, Outcome(trace="Traceback: a mistake of ours", worker="host, process 3"))
    assert isinstance(trace, RuntimeError)
    assert "host, process 3" in str(trace)


@pytest.mark.parametrize(
    ("executor", "said"),
    [
        ({"kind": "dask"}, "nothing is given; give one of address, workers and slurm"),
        ({"kind": "dask", "workers": 2, "address": "tcp://10.0.0.1:8786"}, "address and workers is given"),
        ({"kind": "dask", "address": "here"}, "executor.address: was given 'here'"),
        ({"kind": "local", "workers": 0}, "executor.workers: was given 0"),
        ({"kind": "dusk", "workers": 2}, "did you mean 'dask'"),
        ({"kind": "dask", "slurm": {"jobs": 2, "walltime": "soon"}}, "executor.slurm.walltime: was given 'soon'"),
    ],
)
def test_what_an_executor_cannot_be(content: dict[str, Any], executor: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse({**content, "executor": executor})


def test_more_workers_are_this_machines_where_nothing_else_is_said(content: dict[str, Any]) -> None:
    assert parse({**content, "executor": {"workers": 2}}).executor == LocalExecutor(workers=2)


def test_workers_threads_wait_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    from comparisons.executors.base import PATIENT
    from comparisons.executors.local import Processes

    for name in PATIENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    pool = Processes(1)
    try:
        found = pool._started().submit(os.getenv, "OPENBLAS_THREAD_TIMEOUT").result()
        kept = pool._started().submit(os.getenv, "OMP_WAIT_POLICY").result()
    finally:
        pool.end()
        for name in PATIENT:
            monkeypatch.setenv(name, "")  # so that it is undone
    assert (found, kept) == (PATIENT["OPENBLAS_THREAD_TIMEOUT"], "ACTIVE"), "what the user says, stands"


@pytest.mark.parametrize(
    ("module", "executor"),
    [("distributed", {"kind": "dask", "workers": 2}), ("dask_jobqueue", {"kind": "dask", "slurm": {"jobs": 1}})],
)
def test_a_library_that_is_missing_is_named(
    content: dict[str, Any], module: str, executor: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if module == "dask_jobqueue":
        pytest.importorskip("distributed")
    monkeypatch.setitem(sys.modules, module, None)
    package = module.replace("_", "-")
    with pytest.raises(ConfigError, match=f"needs the package {package}, .* `pip install {package}`"):
        run(parse({**content, "executor": executor}), tmp_path / "out", store=Store())
    assert not (tmp_path / "out").exists()


def test_an_address_where_nobody_answers(content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("comparisons.executors.cluster.SECONDS", 1)
    config = parse({**content, "executor": {"kind": "dask", "address": "tcp://127.0.0.1:9"}})
    with (
        pytest.raises(UnreachableError, match="There is no dask scheduler at tcp://"),
        config.executor.open(),
    ):
        pass


# -------------------------------------------------------------------------------------------- with real processes


@pytest.mark.parametrize("kind", [pytest.param("local", marks=pytest.mark.slow), "dask"])
def test_a_worker_that_is_killed_in_the_middle(
    kind: str, captures: dict[str, Any], executed: Any, killing: Any
) -> None:
    """The short form: two captures over two processes, one of them killed while it captures."""
    if kind == "dask":
        pytest.importorskip("distributed")
    alone = executed("alone", captures, only_captures=True)
    reporter = killing("activations")
    spread_ = executed("spread", {**captures, "executor": {"kind": kind, "workers": 2}}, reporter, only_captures=True)
    assert reporter.killed
    assert spread_ == alone


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "dask"])
def test_a_whole_run_over_three_processes_one_of_them_killed(
    kind: str, content: dict[str, Any], tmp_path: Path, killing: Any
) -> None:
    if kind == "dask":
        pytest.importorskip("distributed")
    content["saes"][0]["training"]["epochs"] = 40
    reporter = killing("saes")
    reporter.store = Store(tmp_path / "spread")
    alone = run(parse(content), tmp_path / "a", store=Store(tmp_path / "alone"))
    config = parse({**content, "executor": {"kind": kind, "workers": 3}})
    other = run(config, tmp_path / "b", store=reporter.store, reporter=reporter)
    assert reporter.killed
    # How long it took, when, and by whom; the report says so, too.
    left = {"seconds": True, "provenance": True, "files": {"report.html"}}
    assert other.model_dump_json(exclude=left) == alone.model_dump_json(exclude=left)
    assert files(tmp_path / "spread") == files(tmp_path / "alone")
    # The folder that one executor completed is complete for the other.
    assert run(parse(content), tmp_path / "b", store=reporter.store) == other


@pytest.mark.slow
@pytest.mark.parametrize("executor", [{"kind": "local", "workers": 2}, {"kind": "dask", "workers": 2}])
def test_an_interrupt_ends_the_workers_and_the_run_goes_on(
    executor: dict[str, Any], captures: dict[str, Any], tmp_path: Path
) -> None:
    """Ctrl-C reaches every process of the terminal's group; nothing but the word on how to go on is printed."""
    if executor["kind"] == "dask":
        pytest.importorskip("distributed")
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**captures, "executor": executor}))
    command = [sys.executable, "-m", "comparisons.cli", "capture", str(config)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_hears_interrupts
    ) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "capture net ..." in line:
                break
        group = _members(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        said += process.stderr.read()
    assert process.returncode == 130
    assert "Interrupted. What was computed is kept" in said
    assert "Traceback" not in said
    end = time.monotonic() + 20
    while alive := [pid for pid in group if Path(f"/proc/{pid}").exists() and "zombie" not in _state(pid)]:
        assert time.monotonic() < end, alive
        time.sleep(0.2)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr


def _hears_interrupts() -> None:
    """A shell that starts the tests in the background has SIGINT ignored, and so would all that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _members(group: int) -> list[int]:
    """The processes of a group, and their descendants."""
    import psutil

    return [group, *[child.pid for child in psutil.Process(group).children(recursive=True)]]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "zombie"


@pytest.mark.slow
def test_workers_end_with_a_run_that_is_killed(captures: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**captures, "executor": {"kind": "local", "workers": 2}}))
    command = [sys.executable, "-m", "comparisons.cli", "capture", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "capture net ..." in line:
                break
        group = _members(process.pid)
        assert len(group) >= 3
        process.kill()
    end = time.monotonic() + 20
    while [pid for pid in group if Path(f"/proc/{pid}").exists() and "zombie" not in _state(pid)]:
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
def test_stages_that_start_processes_themselves(tmp_path: Path) -> None:
    """The matrix of simulated data sets shares its cells out among processes, inside a worker too."""
    pytest.importorskip("distributed")
    content = load("truth").model_dump(mode="json")
    content["comparisons"][0] |= {"per_cell": 2, "workers": 2}
    content["comparisons"][0]["cells"] = content["comparisons"][0]["cells"][:1]
    alone = run(parse(content), tmp_path / "a", store=Store(tmp_path / "alone"))
    config = parse({**content, "executor": {"kind": "dask", "workers": 1}})
    assert run(config, tmp_path / "b", store=Store(tmp_path / "spread")).confusion == alone.confusion


SBATCH = """#!/bin/sh
# Stands for SLURM's: keeps the job's script, as that does, and runs it at once, in the background.
for last; do :; done
cp "$last" "{folder}/job.sh"
nohup sh "{folder}/job.sh" > /dev/null 2>&1 &
echo $! >> "{folder}/jobs"
echo "Submitted batch job $!"
"""


@pytest.mark.slow
def test_jobs_of_slurm(
    captures: dict[str, Any], executed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins for sbatch and scancel: the script that is submitted starts a worker, and ends with the run."""
    pytest.importorskip("dask_jobqueue")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "sbatch").write_text(SBATCH.format(folder=programs))
    (programs / "scancel").write_text('#!/bin/sh\nfor job; do kill "$job"; done\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    alone = executed("alone", captures, only_captures=True)
    slurm = {"jobs": 1, "cores": 1, "memory": "1GB", "queue": "gpu", "directives": ["--gres=gpu:1"], "interface": "lo"}
    executor = {"kind": "dask", "slurm": slurm, "gpu_resource": "GPU"}
    assert executed("spread", {**captures, "executor": executor}, only_captures=True) == alone
    assert (programs / "jobs").read_text().split()
