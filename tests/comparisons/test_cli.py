"""The command line around a run: configs, schema, capture, doctor, data, and how fast it answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bridge.store import Store
from comparisons.cli import main
from comparisons.config import load, parse, shipped
from comparisons.plan import Planner, plan_capture

Ventral = Callable[..., tuple[int, str, str]]
Written = Callable[[dict[str, Any]], Path]

HEAVY = ("torch", "pandas", "numpy", "pydantic", "matplotlib", "rsatoolbox", "transformers")


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, comparisons.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_recognising_a_finished_run_needs_no_torch(
    ventral: Ventral, written: Written, tiny: dict[str, Any], tmp_path: Path
) -> None:
    tiny["recordings"] = [{"kind": "simulated", "subjects": 2, "simple_dimensions": 2, "complex_dimensions": 2}]
    arguments = ["run", str(written(tiny)), "--out", str(tmp_path / "out")]
    assert ventral(*arguments)[0] == 0
    again = f"""
import sys
sys.argv = ["ventral", *{arguments!r}]
from comparisons.cli import main
try:
    main()
except SystemExit as stop:
    print(stop.code, "torch" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "0 False", run.stderr
    assert "nothing to compute" in run.stderr


def test_memory_that_runs_out_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(**_: object) -> None:
        raise MemoryError("Unable to allocate 137. GiB")

    monkeypatch.setattr("comparisons.cli.app", full)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 5
    assert capsys.readouterr().err.startswith("error: Memory ran out (Unable to allocate 137. GiB); give fewer draws")


def test_shipped_configs_are_listed_and_valid(ventral: Ventral) -> None:
    code, out, _ = ventral("configs")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} == set(shipped())
    assert {"demo", "resnet20_human_ventral"} <= set(shipped())
    for name in shipped():
        assert load(name).name == name


def test_the_schema_accepts_what_ships_and_refuses_unknown_keys(ventral: Ventral) -> None:
    schema = json.loads(ventral("schema")[1])
    for path in shipped().values():
        content = yaml.safe_load(path.read_text())
        jsonschema.validate(content, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**content, "modles": []}, schema)


def test_every_field_of_the_schema_is_described(ventral: Ventral) -> None:
    schema = json.loads(ventral("schema")[1])
    bare = [
        f"{name}.{field}"
        for name, part in [("Config", schema), *schema["$defs"].items()]
        for field, about in part.get("properties", {}).items()
        if field != "kind" and not about.get("description")
    ]
    assert bare == []


def test_set_reaches_into_lists_and_tables(written: Written, tiny: dict[str, Any]) -> None:
    config = load(str(written(tiny)), ["seed=3", "comparisons.0.draws=7", "capture.dtype=float16"])
    assert (config.seed, config.comparisons[0].draws, config.capture.dtype) == (3, 7, "float16")


def test_a_dry_run_computes_nothing(ventral: Ventral, written: Written, tiny: dict[str, Any], tmp_path: Path) -> None:
    code, out, _ = ventral("run", written(tiny), "--dry-run", "--out", tmp_path / "out")
    assert code == 0
    assert out.split()[:2] == ["to", "do"]
    assert not (tmp_path / "out").exists()


def test_capture_alone(ventral: Ventral, written: Written, tiny: dict[str, Any]) -> None:
    from bridge.readers import Activations

    del tiny["comparisons"], tiny["recordings"]
    code, out, error = ventral("capture", written(tiny), "--sites", "blocks.7.*", "--sites", "stem")
    assert code == 0, error
    name, folder = out.strip().split(": ")
    activations = Activations(Path(folder))
    assert name == "net"
    assert activations.read("blocks.7.hook_write").shape == (12, 64, 64)
    assert activations.read("blocks.0.hook_resid_pre").shape == (12, 1024, 16)


def test_comparisons_share_one_capture(tiny: dict[str, Any]) -> None:
    first = tiny["comparisons"][0]
    config = parse({**tiny, "comparisons": [first]})
    planner = Planner(config, Store())
    model = config.models[0]
    ids = {planner.capture(model, ["blocks.8.hook_write"]), planner.capture(model, ["blocks.0.hook_resid_pre"])}
    plan = planner.finish(list(ids))
    assert len(plan.stages) == 1
    assert next(iter(plan.stages.values())).inputs["sites"] == ["blocks.0.hook_resid_pre", "blocks.8.hook_write"]
    assert plan_capture(config, Store(), ["stem"]).stages["capture net"].inputs["sites"] == ["blocks.0.hook_resid_pre"]


def test_data_is_listed(ventral: Ventral, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VENTRAL_DATA", raising=False)
    code, out, _ = ventral("data", "list")
    assert code == 0
    state = {line.split()[0]: line for line in out.splitlines()}
    assert "to be fetched" in state["kriegeskorte2008_92"]
    assert "local only" in state["henaff2021_v1"]


@pytest.mark.data
def test_data_that_is_here_is_said_to_be(ventral: Ventral, data_folder: Path) -> None:
    assert ventral("data", "list")[1].count(" here ") >= 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("run", "demo", "--nope"), "error: No such option: --nope; 'ventral run --help' says what there is."),
        (("rnu",), "error: No such command 'rnu' (did you mean 'run'?); 'ventral --help' says what there is."),
        (
            ("run", "demo", "--set"),
            "error: Option '--set' requires an argument; 'ventral run --help' says what there is.",
        ),
        (("sae", "train"), "error: Missing argument 'config'; 'ventral sae train --help' says what there is."),
    ],
)
def test_a_usage_error_is_one_sentence(ventral: Ventral, given: tuple[str, ...], said: str) -> None:
    code, out, error = ventral(*given)
    assert (code, out, error.strip()) == (2, "", said)


def test_nothing_asked_shows_the_help_page(ventral: Ventral) -> None:
    code, out, error = ventral("sae")
    assert code == 2
    assert "release" in out + error
    assert "error:" not in out + error


def test_the_version(ventral: Ventral) -> None:
    assert ventral("--version")[:2] == (0, f"ventral-bridge {version('ventral-bridge')}\n")
