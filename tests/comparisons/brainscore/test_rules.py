"""Rules that need no run, and the zip: what breaks one is named, and not packed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from submissions import LATE, problems

from bridge.errors import InputError
from comparisons.brainscore import identifiers, packing, rules
from comparisons.brainscore.exporting import registration
from comparisons.brainscore.verifying import imported

Ventral = Callable[..., tuple[int, str, str]]


def edited(plugin: Path, name: str, change: Callable[[str], str]) -> dict[str, str]:
    path = plugin / name
    path.write_text(change(path.read_text()))
    return problems(plugin)


LINE = registration({"net-latents": "sae"}).splitlines()[-1]
BROKEN: dict[str, tuple[str, Callable[[str], str], str, str]] = {
    "slash": ("__init__.py", lambda s: s.replace("'net-latents'", "'net/latents'"), "identifiers", "no slash"),
    "taken": ("__init__.py", lambda s: s.replace("'net-latents'", "'alexnet'"), "identifiers", "taken already"),
    "loop": ("__init__.py", lambda s: s.replace(LINE, "for n in 'ab':\n    model_registry[n] = None"), "identifiers",
             "computed"),
    "greedy": ("__init__.py", lambda s: s.replace(LINE, LINE + "  # [x]"), "identifiers", "does not find"),
    "comment": ("__init__.py", lambda s: s + "# model_registry['old'] was here\n", "identifiers", "nothing registers"),
    "two lines": ("__init__.py", lambda s: s + LINE + "\n", "identifiers", "registered twice"),
    "none": ("__init__.py", lambda s: s.replace(LINE, ""), "identifiers", "registers no model"),
    "region": ("region_layer_map/net-latents.json", lambda s: s.replace('"V2"', '"V3"'), "region map",
               "no layer for V2"),
    "layer": ("region_layer_map/net-latents.json", lambda s: s.replace(LATE, "blocks.8.hook_resid_post"), "region map",
              "none of its layers"),
    "requirement": ("requirements.txt", lambda s: s + "sae_lens>=6\n", "environment", "sae-lens"),
    "import": ("model.py", lambda s: s + "\nimport saes.sae\n", "code", "model.py imports saes"),
    "unpickled": ("weights.py", lambda s: s + "\ntorch.load('x')\n", "code", "without weights_only=True"),
    "no function": ("model.py", lambda s: s.replace("def get_layers", "def layers"), "model.py", "no get_layers"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_named_and_nothing_is_packed(case: str, plugin: Path) -> None:
    name, change, rule, said = BROKEN[case]
    found = edited(plugin, name, change)
    assert said in found[rule], found
    with pytest.raises(InputError, match="is not packed"):
        packing.pack(plugin, unchecked=True)
    assert not plugin.with_suffix(".zip").exists()


def test_files_that_do_not_belong(plugin: Path) -> None:
    (plugin / "more").mkdir()
    (plugin / "more" / "test_more.py").write_text("")
    (plugin / "weights" / "old.pt").write_bytes(b"")
    (plugin / "test.py").unlink()
    found = problems(plugin)
    assert "move it up" in found["test files"]
    assert "there is no test.py" in found["test files"]
    assert "old.pt may be a pickle" in found["code"]


def test_weights_that_changed_or_are_gone(plugin: Path) -> None:
    path = plugin / "weights" / "network.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert "is not the file that was exported" in problems(plugin)["weights"]
    with imported(plugin) as model, pytest.raises(RuntimeError, match="is not the file that was submitted"):
        model.get_module("net-latents")
    path.unlink()
    assert "is missing" in problems(plugin)["weights"]


def test_a_zip_that_is_too_large(plugin: Path) -> None:
    (plugin / "weights" / "more.safetensors").write_bytes(np.random.default_rng(0).bytes(rules.ZIP_BYTES + 1))
    assert "the website takes 50 MB" in problems(plugin)["size"]


def test_a_zip(plugin: Path, ventral: Ventral, tmp_path: Path) -> None:
    code, _, error = ventral("brain-score", "zip", plugin)
    assert code == 3
    assert "have not passed" in error
    (plugin / "__pycache__").mkdir()
    (plugin / "__pycache__" / "model.pyc").write_bytes(b"")
    (plugin / ".hidden").write_text("")
    code, out, _ = ventral("brain-score", "zip", plugin, "--unchecked", "--out", tmp_path / "a.zip")
    assert code == 0
    assert "a.zip" in out
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"net_latents"}, "one entry at the top"
    assert "net_latents/models/net_latents/__init__.py" in names
    assert not any("__pycache__" in name or "/." in name for name in names)
    code, _, error = ventral("brain-score", "zip", tmp_path)
    assert code == 3
    assert "is no plugin" in error


def test_brain_score_s_own_search_finds_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """`searched` is `get_plugin_ids`."""
    import sys
    import tempfile
    from types import ModuleType

    monkeypatch.setitem(sys.modules, "pytest_check", ModuleType("pytest_check"))  # imported there, and not used

    from brainscore_core.plugin_management.parse_plugin_changes import get_plugin_ids

    texts = [
        registration({"a": "raw", "b-c": "sae"}),
        'model_registry["x"] = lambda: f(["y"])\n',
        "# model_registry['z']\nmodel_registry[name] = 1\n",
    ]
    with tempfile.TemporaryDirectory() as root:
        for number, text in enumerate(texts):
            folder = Path(root) / "models" / f"m{number}"
            folder.mkdir(parents=True)
            (folder / "__init__.py").write_text(text)
            assert get_plugin_ids("models", [f"m{number}"], root) == identifiers.searched(text)
