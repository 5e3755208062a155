"""Runs in processes of their own that start in no time: forked from one that has imported everything."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["forked_imports"])


@dataclass
class Run:
    """`ventral ARGUMENTS` in a process group of its own; what it printed goes to a file."""

    process: BaseProcess
    said: Path

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code, or None if it runs on after some seconds."""
        self.process.join(seconds)
        return self.process.exitcode

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        try:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        except ProcessLookupError:
            self.process.kill()  # it has not yet made its group
        self.process.join()

    @property
    def output(self) -> str:
        return self.said.read_text() if self.said.exists() else ""


def ventral(
    *arguments: object, cache: Path, said: Path, largest_file: int | None = None, folder: Path | None = None
) -> Run:
    """Start `ventral ARGUMENTS` with a cache; `largest_file` bytes is all that the system lets it write to one file."""
    environment = {name: value for name, value in os.environ.items() if name.startswith(("VENTRAL_", "OMP_"))}
    environment["VENTRAL_CACHE"] = str(cache)
    process = CONTEXT.Process(
        target=_main, args=(list(map(str, arguments)), environment, said, largest_file, folder or Path.cwd())
    )
    process.start()
    return Run(process, said)


def _main(
    arguments: list[str], environment: Mapping[str, str], said: Path, largest_file: int | None, folder: Path
) -> None:
    os.setsid()
    os.environ.update(environment)
    os.chdir(folder)
    from comparisons.cli import main

    read, write = os.pipe()  # what is printed is kept whatever the limit for files
    text = io.TextIOWrapper(os.fdopen(write, "wb", 0), write_through=True, encoding="utf-8")
    keeper = os.fork()
    if keeper == 0:
        os.close(write)
        with open(read, "rb") as source, open(said, "wb") as target:
            while part := source.read1(65536):  # type: ignore[attr-defined]
                target.write(part)
                target.flush()
        os._exit(0)
    os.close(read)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sys.argv = ["ventral", *arguments]
    code = 0
    with redirect_stdout(text), redirect_stderr(text):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 99
    text.close()
    os.waitpid(keeper, 0)
    os._exit(code)


def numbers(out: Path) -> str:
    """What a run found, without when, how long and by which command."""
    content = json.loads((out / "results.json").read_bytes())
    kept: dict[str, Any] = {key: value for key, value in content.items() if key not in ("provenance", "seconds")}
    kept["files"] = {name: sha for name, sha in kept["files"].items() if name != "report.html"}  # says when
    return json.dumps(kept, sort_keys=True)
