"""Artefacts: complete or absent, made once, resumable."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from bridge.errors import StorageError
from bridge.store import Store, digest, write_atomically


def test_a_digest_depends_on_content_and_not_on_order() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
    with pytest.raises(TypeError):
        digest({"a": object()})
    with pytest.raises(ValueError, match="JSON"):
        digest({"a": float("nan")})


def test_an_artefact_is_made_once(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []

    def build(folder: Path) -> None:
        calls.append(folder)
        (folder / "x").write_text("1")

    first, second = (store.obtain("kind", {"a": 1}, build) for _ in range(2))
    assert first == second == store.path("kind", {"a": 1})
    assert (first / "x").read_text() == "1"
    assert len(calls) == 1
    assert store.has("kind", {"a": 1})
    assert not store.has("kind", {"a": 2})


@pytest.mark.parametrize("resumable", [False, True])
def test_an_exception_leaves_no_artefact_and_resumable_work(tmp_path: Path, resumable: bool) -> None:
    store, seen = Store(tmp_path), []

    def build(folder: Path) -> None:
        seen.append(sorted(path.name for path in folder.iterdir()))
        (folder / "part").write_text("1")
        if len(seen) == 1:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        store.obtain("kind", {}, build, resumable=resumable)
    assert not store.has("kind", {})
    store.obtain("kind", {}, build, resumable=resumable)
    assert seen == [[], ["part"] if resumable else []]


def _count(root: Path, log: Path) -> None:
    import time

    def build(folder: Path) -> None:
        with open(log, "a") as file:
            file.write("made\n")
        time.sleep(0.2)

    Store(root).obtain("kind", {}, build)


def test_two_processes_make_one_artefact(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_count, args=(tmp_path / "s", tmp_path / "log")) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write"):
        Store(tmp_path / "file").obtain("kind", {}, lambda folder: None)
    with pytest.raises(StorageError, match="Cannot write"):
        write_atomically(tmp_path / "file" / "x", "1")


def test_a_write_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_atomically(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
