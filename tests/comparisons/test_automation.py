"""What scripts rely on: exit codes, JSON on standard output, completion, plain logs, and the time that is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge.errors
from bridge.errors import UserError
from comparisons.command_parts import EXIT_CODES, completed, print_json
from comparisons.plan import Plan, Stage
from comparisons.progress import Left, Log

Ventral = Callable[..., tuple[int, str, str]]
Written = Callable[[dict[str, Any]], Path]
PAGE = Path(__file__).parents[2] / "docs" / "automation.md"


# ---------------------------------------------------------------------------------------------------- exit codes


def test_every_exit_code_is_stated_once_and_on_the_page() -> None:
    kinds = [kind for kind in vars(bridge.errors).values() if isinstance(kind, type) and issubclass(kind, UserError)]
    assert {kind.exit_code for kind in kinds} | {0, 1, 130} == set(EXIT_CODES)
    page = PAGE.read_text()
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in page


def test_exit_codes(
    ventral: Ventral, written: Written, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6 is in the tests of `sae release`."""
    config = written(tiny)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert ventral("configs")[0] == 0
    assert ventral("init", tmp_path / "empty", "--check")[0] == 1
    assert ventral("run", config, "--set", "models.0.kind=nothing")[0] == 2
    assert ventral("run", "no_such_config")[0] == 3
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert ventral("sae", "release", "release_resnet18", "--repo", "lab/x")[0] == 4
    monkeypatch.setenv("VENTRAL_CACHE", str(tmp_path / "file"))
    code, said, error = ventral("run", config, "--json")
    assert (code, said) == (5, "")
    assert error.startswith("error: Cannot write to")
    monkeypatch.setattr("comparisons.running.execute", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setenv("VENTRAL_CACHE", str(tmp_path / "cache"))
    code, _, error = ventral("run", config, "--out", tmp_path / "out")
    assert code == 130
    assert "the same command goes on from here" in error


# ---------------------------------------------------------------------------------------------------------- JSON


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command, by its words."""
    if hasattr(command, "commands"):
        for name, one in command.commands.items():
            yield from leaves(one, (*path, name))
    else:
        yield path, command


def test_every_command_with_something_to_read_has_json() -> None:
    from typer.main import get_command

    from comparisons.cli import app

    lacking = []
    for path, command in leaves(get_command(app)):
        options = {option: one for one in command.params for option in one.opts}
        if "--json" not in options:
            lacking.append(path)
        else:
            assert options["--json"].is_flag, path
    assert lacking == [("schema",)], "which is JSON anyway"


@pytest.mark.parametrize(
    "words", [["configs"], ["data", "list"], ["brain-score", "list"], ["init", "study"], ["doctor"]]
)
def test_json_is_all_that_is_printed(
    words: list[str], ventral: Ventral, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("comparisons.doctor._connects", lambda host: False)
    monkeypatch.setattr("comparisons.doctor.PACKAGES", {"torch": "torch"})
    code, said, error = ventral(*words, "--json")
    assert code == 0, error
    found = json.loads(said)
    assert found
    if words == ["configs"]:
        assert {"name", "command", "title", "path"} == set(found[0])
    if words == ["doctor"]:
        assert found["problems"] == []
        assert "torch" in found["Packages"]


def test_what_is_not_finite_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": ("é", True, None)})
    said = capsys.readouterr().out
    assert json.loads(said) == {"a": None, "b": [None, 1.5], "c": ["é", True, None]}
    assert "é" in said


# ---------------------------------------------------------------------------------------------------- completion


def test_a_shell_is_offered_commands_and_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(line: str) -> list[str]:
        count = str(len(line.split(" ")) - 1)
        asked = {"_VENTRAL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": count}
        code = "import sys; sys.argv = ['ventral']; from comparisons.cli import app; app(prog_name='ventral')"
        run = subprocess.run([sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True)
        return run.stdout.split()

    assert offered("ventral sae rel") == ["release"]
    assert "release_resnet50" in offered("ventral sae release release_res")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demonstration.yaml").write_text("")
    (tmp_path / "demo.txt").write_text("")
    assert completed("demons") == ["demonstration.yaml"]
    assert "demo" in completed("dem")
    assert completed("nowhere/") == []


# ---------------------------------------------------------------------------------------------------------- logs


def test_a_piped_log_is_plain_lines(written: Written, tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["recordings"] = [{"kind": "simulated", "subjects": 2, "simple_dimensions": 2, "complex_dimensions": 2}]
    code = "from comparisons.cli import main; main()"
    command = [sys.executable, "-c", code, "run", str(written(tiny)), "--out", str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TERM": "xterm-256color"})
    assert run.returncode == 0, run.stderr
    assert "\x1b" not in run.stdout + run.stderr
    assert "\r" not in run.stderr
    assert "stages to compute, the others are reused" in run.stderr


def stage(id: str) -> Stage:
    return Stage(id, "work", {"id": id}, (), lambda *_: None)


def test_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("comparisons.progress.time.monotonic", lambda: now[0])
    plan = Plan({name: stage(name) for name in "abc"}, ["c"], expected={"a": 10.0, "b": 60.0, "c": None})
    left = Left()
    left.planned(plan, ["a", "b", "c"])
    assert left.text() == "about 1 min 10 s and 1 stage of unknown length left"
    left.started("a")
    now[0] += 4
    assert left.of("a") == 6.0, "as predicted, until it tells its own pace"
    left.advanced("a", 0.1)
    assert left.of("a") == pytest.approx(36.0)
    left.finished("a")
    left.started("c")
    now[0] += 5
    left.advanced("c", 0.5)
    assert left.text() == "about 1 min 5 s left", "a stage of unknown length is known once it runs"
    left.finished("b")
    left.finished("c")
    assert left.text() == ""
    nothing = Left()
    nothing.planned(Plan({"a": stage("a")}, ["a"]), ["a"])
    assert nothing.text() == "", "nothing is made up"


def test_the_log_tells_what_is_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comparisons.progress.SECONDS_BETWEEN_LINES", 0.0)
    plan = Plan({name: stage(name) for name in "ab"}, ["b"], expected={"a": 10.0, "b": 60.0})
    log = Log()
    log.planned(plan, ["a", "b"])
    log.started(plan.stages["a"])
    log.advanced(plan.stages["a"], 0.0)
    said = capsys.readouterr().err
    assert "2 of 2 stages to compute, the others are reused; about 1 min 10 s left" in said
    assert "a: 0%, about 1 min 10 s left" in said
