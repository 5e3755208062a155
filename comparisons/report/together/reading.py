"""Runs read back from their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from bridge.errors import InputError
from comparisons.results import RunResults


def read_runs(paths: Sequence[Path]) -> dict[str, RunResults]:
    """The runs in these folders (or results.json files), by a name of their own: the run's, with its folder where two
    share one. Raises InputError for a folder without a finished run, and for what is no results.json."""
    found = [(path, read_run(path)) for path in paths]
    names, folders = [run.name for _, run in found], [path.absolute().name for path, _ in found]
    named: dict[str, RunResults] = {}
    for (path, run), folder in zip(found, folders, strict=True):
        apart = folder if folders.count(folder) == 1 else path
        name = run.name if names.count(run.name) == 1 else f"{run.name} ({apart})"
        if name in named:
            raise InputError(f"{path} was given twice; name each run once.")
        named[name] = run
    return named


def read_run(path: Path) -> RunResults:
    """The run in a folder, or of a results.json file. Raises InputError for anything else."""
    file = path / "results.json" if path.is_dir() else path
    try:
        return RunResults.model_validate_json(file.read_bytes())
    except OSError:
        raise InputError(
            f"{path} holds no finished run (there is no {file}); name the folder of one, such as runs/demo."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise InputError(
            f"{file} is no results.json of this version ({where}: {first['msg']}); run its config again."
        ) from None
