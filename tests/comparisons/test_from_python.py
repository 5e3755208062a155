"""`from comparisons import run, read`: the command line's run in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.errors import ConfigError, InputError
from comparisons import read, run

CONFIG: dict[str, Any] = {
    "name": "small",
    "stimuli": {"kind": "battery", "name": "few", "families": ["scenes"], "limit": {"scenes": 12}, "size": 32},
    "models": [{"kind": "demo", "name": "untrained", "untrained": True}],
    "recordings": [{"kind": "simulated", "name": "brain", "simple_dimensions": 3, "complex_dimensions": 4}],
    "comparisons": [{"kind": "rsa", "sites": ["blocks.0.hook_resid_post"], "draws": 20}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the config as a file, as a user has one."""
    made = tmp_path_factory.mktemp("user")
    (made / "small.yaml").write_text(yaml.safe_dump(CONFIG))
    return made


def test_values_a_path_and_a_finished_run_are_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    found = run(CONFIG, progress=False)
    assert capfd.readouterr().err == ""
    assert read("runs/small") == found
    assert repr(found) == f"<run 'small': {len(found.results)} numbers, 0 verdicts>"
    assert run("small.yaml", folder / "again").table().equals(found.table())
    assert "stages" in capfd.readouterr().err, "progress is told"


def test_values_are_changed_by_name_only(folder: Path) -> None:
    with pytest.raises(InputError, match="change the values"):
        run(CONFIG, folder / "x", set=["seed=1"])
    with pytest.raises(ConfigError, match="seed"):
        run(folder / "small.yaml", folder / "x", set=["seed=none"])
    with pytest.raises(ConfigError, match="seed"):
        run(folder / "small.yaml", folder / "x", set="seed=none")
    with pytest.raises(InputError, match="no config"):
        run("nothing", folder / "x")
    with pytest.raises(InputError, match="no finished run"):
        read(folder / "x")
    assert not (folder / "x").exists()
