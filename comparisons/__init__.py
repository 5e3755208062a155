"""Floor 4: run a config; statistics, predictions, verdicts, the report, the submission, the command line.

From Python and notebooks:

    from comparisons import read, run

    found = run("demo")                     # or a path, or a config as plain values
    found.table()                           # every number, as a pandas table
    read("runs/demo").verdict_table()       # a run that is there already
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comparisons.config import Config
    from comparisons.results import RunResults

__all__ = ["read", "run"]


def run(
    config: str | Path | Mapping[str, Any] | Config,
    out: str | Path | None = None,
    *,
    set: str | Sequence[str] = (),
    progress: bool = True,
) -> RunResults:
    """Run a config and leave results, report and figures in `out` (default: runs/NAME), as `ventral run` does.

    `config` is the name of one that ships, the path of a YAML file, its content as plain values, or a
    `comparisons.config.Config`; `set` changes values of the first two: "seed=1", or several as a list. What the cache
    holds is not computed again. Progress goes to standard error.

    Raises InputError for a config that is not there, ConfigError (one sentence a field) for one that is not valid, and
    what `comparisons.running.run` raises.
    """
    from bridge.errors import InputError
    from comparisons import config as configs
    from comparisons import running
    from comparisons.progress import make_reporter

    if isinstance(config, str | Path):
        parsed = configs.load(str(config), [set] if isinstance(set, str) else set)
    elif set:
        raise InputError("`set` changes configs that are named; change the values that you give.")
    else:
        parsed = config if isinstance(config, configs.Config) else configs.parse(config)
    folder = Path(out) if out is not None else Path("runs") / parsed.name
    if not progress:
        return running.run(parsed, folder)
    with make_reporter() as reporter:
        return running.run(parsed, folder, reporter=reporter)


def read(folder: str | Path) -> RunResults:
    """A finished run, from its folder or results.json. Raises InputError for anything else."""
    from comparisons.report.together.reading import read_run

    return read_run(Path(folder))
