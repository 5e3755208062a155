"""Execute a plan: make what is missing, reuse what is there, and leave a run folder a person can read.

runs/NAME/results.json   config, provenance, results, verdicts (written last: its presence says that all is there)
runs/NAME/report.html    the same, to be read
runs/NAME/figures/       the pictures as PNG and SVG
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bridge.claims import Record, claimed
from bridge.errors import ConfigError, UserError
from bridge.store import Store, cannot_write, digest, file_sha256, write_atomically
from comparisons.config import Config
from comparisons.plan import Plan, Stage, make_plan
from comparisons.predicting.history import from_the_start, note, watched
from comparisons.results import BenchmarkScore, ConfusionRow, Dictionary, Exhibit, Result, RunResults, Verdict

if TYPE_CHECKING:
    from comparisons.executors.base import ExecutorSpec

REPORTED = (
    "ventral-bridge",
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "transformer-lens",
    "sae-lens",
    "rsatoolbox",
    "brainscore-vision",
    "datasets",
    "numpy",
    "scipy",
)


class Reporter(Protocol):
    """Told what a run does. The command line draws bars or writes a plain log; a notebook may pass its own."""

    def planned(self, plan: Plan, missing: list[str]) -> None:
        """Called once before anything is computed."""
        ...

    def started(self, stage: Stage) -> None:
        """A stage begins."""
        ...

    def advanced(self, stage: Stage, share: float, text: str = "") -> None:
        """`share` (0 to 1) of a stage is done; `text` says in a few words how it stands."""
        ...

    def finished(self, stage: Stage, seconds: float, reused: bool) -> None:
        """A stage is done, or was found done."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know."""
        ...


class Silent:
    """A reporter that says nothing."""

    def planned(self, plan: Plan, missing: list[str]) -> None:
        """Nothing."""

    def started(self, stage: Stage) -> None:
        """Nothing."""

    def advanced(self, stage: Stage, share: float, text: str = "") -> None:
        """Nothing."""

    def finished(self, stage: Stage, seconds: float, reused: bool) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


def run(
    config: Config,
    out: Path,
    *,
    store: Store | None = None,
    reporter: Reporter | None = None,
    command: str = "",
) -> RunResults:
    """Run a config and leave results, report and figures in `out`; returns what results.json holds.

    What the store holds already is not computed again, and a run whose folder is complete changes nothing.
    Raises ConfigError, InputError, UnreachableError and StorageError; then `out` is as it was.
    """
    store, reporter = store or Store(), reporter or Silent()
    for part in (config.stimuli, *config.recordings):
        part.prepare()
    plan = make_plan(config, store)
    before = finished(out, config, plan)
    if before is not None:
        reporter.note(f"{out} is complete; nothing to compute.")
        return before
    _check_writable(out)
    announce(plan, store, reporter)
    paths, seconds = execute(plan, store, reporter, config.executor)
    found = _collect(plan, paths)
    made = RunResults(
        name=config.name,
        title=config.title or config.name,
        question=config.question,
        config=config.content(),
        provenance=_provenance(config, plan, command),
        results=tuple(Result.model_validate(one) for one in found["results"]),
        verdicts=tuple(Verdict.model_validate(one) for one in found["verdicts"]),
        confusion=tuple(ConfusionRow.model_validate(one) for one in found["confusion"]),
        dictionaries=_dictionaries(config, plan, paths),
        benchmarks=tuple(BenchmarkScore.model_validate(one) for one in found["benchmarks"]),
        dropped=tuple(dict.fromkeys(found["dropped"])),
        seconds=seconds,
    )
    from comparisons.report.exhibits.drawn import save_exhibits
    from comparisons.report.figures import save_figures
    from comparisons.report.page import write_report

    with held(store, out):
        # Without results.json the folder is incomplete: an interruption from here on is seen by the next run.
        (out / "results.json").unlink(missing_ok=True)
        for old in (out / "figures").glob("*.*"):
            old.unlink()
        out.mkdir(parents=True, exist_ok=True)
        stages = [(name, plan.stages[name].kind, paths[name]) for name in plan.results]
        drawn, copied = save_exhibits(stages, out / "figures")
        own, pictures = _exhibits(plan, paths, out)
        copied += pictures
        made = made.model_copy(update={"exhibits": (*drawn, *own)})
        shown = [*copied, write_report(made, out), *save_figures(made, out / "figures")]
        files = {path.relative_to(out).as_posix(): file_sha256(path) for path in sorted(shown)}
        made = made.model_copy(update={"files": files})
        write_atomically(out / "results.json", made.model_dump_json(indent=1))
    return made


@contextmanager
def held(store: Store, out: Path) -> Iterator[None]:
    """Two runs that write to one folder do so one after the other. Raises StorageError where it cannot be written."""
    try:
        with claimed(store.root, f"out-{digest(str(out.absolute()))}"):
            yield
    except OSError as error:
        raise cannot_write(out, error) from error


def needed(plan: Plan, store: Store) -> list[str]:
    """The stages that have to be computed, in order: those that results need and the store lacks."""
    wanted: set[str] = set()
    waiting = list(plan.results)
    while waiting:
        name = waiting.pop()
        stage = plan.stages[name]
        if name not in wanted and not store.has(stage.kind, stage.inputs):
            wanted.add(name)
            waiting += stage.needs
    return [name for name in plan.stages if name in wanted]


def announce(plan: Plan, store: Store, reporter: Reporter) -> None:
    """Tell a reporter what is to be made, with the seconds that it is predicted to take."""
    from comparisons.predicting.predict import predict

    missing = needed(plan, store)
    if missing:
        with suppress(UserError):  # what is wrong with the stimuli the stages themselves say
            plan.expected = {one.id: one.seconds for one in predict(plan, store, missing, plan.device)}
    reporter.planned(plan, missing)


def execute(
    plan: Plan, store: Store, reporter: Reporter, executor: ExecutorSpec | None = None
) -> tuple[dict[str, Path], dict[str, float]]:
    """Make what is missing, each stage after what it needs; folders by stage id, and seconds of those computed.

    Without an `executor` this process does it, one stage after the other. The artefacts are the same wherever they are
    made. Raises what the stages raise, and what `ExecutorSpec.open` does.
    """
    listed = needed(plan, store)
    if executor is not None and not executor.alone and listed:
        from comparisons.executors.spread import spread

        with executor.open() as workers:
            return spread(plan, listed, store, reporter, workers, executor.retries)
    missing = set(listed)
    paths: dict[str, Path] = {}
    seconds: dict[str, float] = {}
    for name, stage in plan.stages.items():
        if name not in missing:
            paths[name] = store.path(stage.kind, stage.inputs)
            continue
        reporter.started(stage)
        built: list[Path] = []

        def build(folder: Path, stage: Stage = stage, built: list[Path] = built) -> None:
            built.append(folder)

            def advanced(share: float, text: str = "", /) -> None:
                reporter.advanced(stage, share, text)

            stage.build(folder, paths, advanced)

        told = _Waiting(stage, reporter)
        whole = from_the_start(store, stage)
        with watched() as seen:
            paths[name] = store.obtain(stage.kind, stage.inputs, build, resumable=stage.resumable, waiting=told)
        took = round(seen.seconds, 2)
        if built:  # else another process made it meanwhile
            seconds[name] = took
            if whole:
                note(store, stage, seen, paths, plan.device)
        reporter.finished(stage, took, reused=not built)
    return paths, seconds


class _Waiting:
    """Says, once, that another process makes a stage, and then how far it is."""

    def __init__(self, stage: Stage, reporter: Reporter):
        self._stage, self._reporter, self._said = stage, reporter, False

    def __call__(self, record: Record) -> None:
        if not self._said and "pid" in record:
            self._said = True
            where = f"process {record['pid']} on {record.get('host')}"
            self._reporter.note(f"notice: {self._stage.id} is being computed by {where}; waiting for it.")
        if isinstance(share := record.get("share"), int | float):
            self._reporter.advanced(self._stage, min(max(float(share), 0.0), 1.0), str(record.get("text", "")))


def finished(out: Path, config: Config, plan: Plan) -> RunResults | None:
    """The results in `out` if they are those of this very config and plan, and the report is there."""
    try:
        found = RunResults.model_validate_json((out / "results.json").read_bytes())
        same = found.provenance.get("plan") == plan.digest and found.config == config.content()
        whole = bool(found.files) and all(file_sha256(out / name) == sha for name, sha in found.files.items())
    except (OSError, ValueError):
        return None  # incomplete, of another version, or damaged: it is written anew
    return found if same and whole else None


def _collect(plan: Plan, paths: Mapping[str, Path]) -> dict[str, list[Any]]:
    """What the stages that hold results say, by part of results.json."""
    found: dict[str, list[Any]] = {part: [] for part in ("results", "verdicts", "confusion", "benchmarks", "dropped")}
    for name in plan.results:
        content = json.loads((paths[name] / "results.json").read_text())
        for part, values in found.items():
            values += content.get(part, [])
    return found


def _exhibits(plan: Plan, paths: Mapping[str, Path], out: Path) -> tuple[tuple[Exhibit, ...], list[Path]]:
    """The pictures of all stages, copied into the run's folder under names of their own; the records and the files."""
    found: list[Exhibit] = []
    copied: dict[str, Path] = {}
    for number, name in enumerate(plan.results):
        content = json.loads((paths[name] / "results.json").read_text())
        for exhibit in (Exhibit.model_validate(values) for values in content.get("exhibits", [])):
            named = {}
            for part, own in (("file", exhibit.file), ("drawing", exhibit.drawing)):
                if not own:
                    continue
                file = f"figures/{own}"
                if file in copied:
                    file = f"figures/{number}-{own}"
                write_atomically(out / file, (paths[name] / own).read_bytes())
                copied[file] = out / file
                named[part] = file
            found.append(exhibit.model_copy(update=named))
    return tuple(found), list(copied.values())


def _dictionaries(config: Config, plan: Plan, paths: Mapping[str, Path]) -> tuple[Dictionary, ...]:
    if not config.saes:
        return ()
    from comparisons.dictionaries import recorded

    return tuple(recorded(plan, paths))


def _check_writable(out: Path) -> None:
    """Find out before hours of work, not after, that the results cannot be written. Leaves nothing behind."""
    try:
        parent = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
        if not parent.is_dir():
            raise ConfigError(f"{parent} is a file; give a folder for the results with --out.")
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise cannot_write(out, error) from error


def _provenance(config: Config, plan: Plan, command: str) -> dict[str, Any]:
    from bridge.data import dataset

    parts = [config.stimuli, *config.models, *config.saes, *config.recordings, *config.comparisons]
    names = dict.fromkeys(name for part in parts for name in part.datasets())
    return {
        "plan": plan.digest,
        "command": command or "ventral run",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.seed,
        "versions": {name: importlib.metadata.version(name) for name in REPORTED},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "artefacts": {name: stage.key for name, stage in plan.stages.items()},
        "datasets": [
            {"name": name, "title": data.title, "licence": data.licence, "citation": data.citation}
            for name in names
            for data in [dataset(name)]
        ],
        "interpreter": sys.implementation.name,
        "executor": config.executor.content(),
    }
