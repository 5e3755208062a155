"""Configs that make no sense: one sentence and an exit code each, no traceback, nothing written beside the cache."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import MODEST, damaged, mutated, tried

from bridge.errors import UserError
from bridge.store import Store
from comparisons.config import load, parse, shipped
from comparisons.plan import make_plan


def contents() -> dict[str, dict[str, Any]]:
    return {name: yaml.safe_load(path.read_text()) for name, path in shipped().items()}


def test_values_changed_at_random() -> None:
    """Every shipped config, 300 ways each: it is read, or refused with a sentence a problem."""
    draws = random.Random(0)
    refused = [
        tried(lambda: parse(mutated(content, draws)), code=2)  # noqa: B023
        for content in contents().values()
        for _ in range(300)
    ]
    assert refused.count(None) > 100
    assert len(refused) - refused.count(None) > 1000


def test_text_changed_at_random(tmp_path: Path) -> None:
    draws = random.Random(1)
    path = tmp_path / "changed.yaml"
    refused = []
    for source in shipped().values():
        for _ in range(8):
            path.write_bytes(damaged(source.read_bytes(), draws))
            refused.append(tried(lambda: load(str(path))))
    assert len(refused) - refused.count(None) > 30


def test_yaml_is_data_alone(tmp_path: Path) -> None:
    """Tags that make Python objects are refused, and references that unfold without end are not followed."""
    path = tmp_path / "evil.yaml"
    for text in (
        f"name: !!python/object/apply:os.system ['touch {tmp_path}/made']",
        f"name: !!python/object/new:subprocess.Popen [['touch', '{tmp_path}/made']]",
        "a: &a [x, x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(24)),
        "name: &name [*name]",
        "[" * 5000,
        "? [a, b]\n: 1",
    ):
        path.write_text(text)
        with pytest.raises(UserError):
            load(str(path))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("rounds", "seed"), [pytest.param(60, 2, id="short"), pytest.param(1500, 3, id="long", marks=pytest.mark.slow)]
)
def test_plans_of_changed_configs(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int, seed: int
) -> None:
    """What can be read is planned, or refused; planning writes nothing but maps of sites into the cache."""
    draws = random.Random(seed)
    place = tmp_path / "deep" / "inside"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    store = Store(tmp_path / "store")
    tiny["saes"] = [{"kind": "train", "name": "topk", "sites": ["blocks.8.*resid_post"], "tokens": 16}]
    tiny["recordings"].append({"kind": "simulated", "name": "brain", "subjects": 2})
    planned = 0
    for _ in range(rounds):
        changed = mutated(tiny, draws, MODEST)
        with contextlib.suppress(UserError):
            make_plan(parse(changed), store)
            planned += 1
    assert planned > rounds / 50
    written = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path.is_file()}
    assert written <= {"store"}


def test_the_command_line_says_one_thing(
    tiny: dict[str, Any], tmp_path: Path, ventral: Callable[..., tuple[int, str, str]]
) -> None:
    draws = random.Random(4)
    path, out = tmp_path / "changed.yaml", tmp_path / "out"
    codes = set()
    for _ in range(25):
        path.write_text(yaml.safe_dump(mutated(tiny, draws, MODEST), allow_unicode=False))
        code, _, error = ventral("run", path, "--dry-run", "--out", out)
        codes.add(code)
        assert code in {0, 2, 3, 4, 5}
        assert "Traceback" not in error
        assert (code == 0) != any(line.startswith("error: ") for line in error.splitlines())
        assert not out.exists()
    assert codes >= {0, 2}
