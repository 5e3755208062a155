"""A hash of source follows imports within the project, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import sources

TOP = """
from typing import TYPE_CHECKING
from attic import direct
if TYPE_CHECKING:
    import attic.typing_only
def f():
    from attic.lazy import x
    import attic.kinds
"""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    _forget()


def _forget() -> None:
    for cached in (sources.source_hash, sources._files, sources._imported):
        cached.cache_clear()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A floor `attic` with modules that import each other in every way."""
    monkeypatch.setattr(sources, "FLOORS", ("attic",))
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    folder = tmp_path / "attic"
    (folder / "kinds").mkdir(parents=True)
    contents = {
        "__init__": "",
        "top": TOP,
        "direct": "from attic.far import name",
        "far": "name = 1",
        "lazy": "x = 1",
        "typing_only": "",
        "unrelated": "",
        "kinds/__init__": "",
        "kinds/one": "",
    }
    for name, text in contents.items():
        (folder / f"{name}.py").write_text(text)
    _forget()
    return folder


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("top", True),
        ("direct", True),
        ("far", True),
        ("lazy", True),
        ("kinds/one", True),
        ("typing_only", False),
        ("unrelated", False),
    ],
)
def test_what_counts(project: Path, file: str, counts: bool) -> None:
    before = sources.source_hash("attic.top")
    path = project / f"{file}.py"
    path.write_text(path.read_text() + "\ny = 2")
    _forget()
    assert (sources.source_hash("attic.top") != before) is counts


def test_a_module_that_does_not_exist(project: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        sources.source_hash("attic.nowhere")


def test_the_capture_counts_all_that_makes_values() -> None:
    """The modules a captured value passes through, found by following imports from the public entry."""
    found = {"bridge.activations"}
    waiting = ["bridge.activations", "bridge.models", "bridge.stimuli"]
    while waiting:
        for path in sources._files(waiting.pop()) or ():
            new = set(sources._imported(path)) - found
            found |= new
            waiting += new
    assert {"bridge.streams", "bridge.shards", "bridge.passes", "bridge.tokens", "bridge.models.base"} <= found
