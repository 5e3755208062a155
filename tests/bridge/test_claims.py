"""One process at a time makes an artefact; one that died, stood still or came back harms nobody."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bridge import claims
from bridge.claims import claimed, told
from bridge.store import Store

FORK = multiprocessing.get_context("fork")


def _hold(root: Path, machine: str, locks: bool, ready: Any) -> None:
    """Hold a claim for ever, as a process of some machine."""
    _elsewhere(machine, locks)
    with claimed(root, "x", status=lambda: {"text": "at work"}, beat=0.05, stale=0.5):
        ready.set()
        time.sleep(600)


def _elsewhere(machine: str, locks: bool) -> None:
    """Be a process of another machine; without `locks`, on a file system whose locks the machines do not share."""
    claims._machine = lambda: machine  # type: ignore[assignment]
    if not locks:
        claims._system_lock = lambda *_: None  # type: ignore[assignment]


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    """Start a process that holds the claim `x`: (machine, whether it has the system's locks) -> the process."""
    started = []

    def start(machine: str, locks: bool = False) -> Any:
        ready = FORK.Event()
        process = FORK.Process(target=_hold, args=(tmp_path, machine, locks, ready))
        process.start()
        started.append(process)
        assert ready.wait(20)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def test_a_claim_is_seen_and_released(tmp_path: Path) -> None:
    assert told(tmp_path, "x") is None
    with claimed(tmp_path, "x", status=lambda: {"share": 0.5}, beat=0.01):
        time.sleep(0.1)
        record = told(tmp_path, "x")
        assert record is not None
        assert (record["pid"], record["share"]) == (os.getpid(), 0.5)
    assert told(tmp_path, "x") is None
    with claimed(tmp_path, "x"):
        pass
    assert [path.name for path in (tmp_path / ".claims" / "x").iterdir()] == ["000002"]


def test_a_process_that_died_on_this_machine_is_not_waited_for(tmp_path: Path, holder: Any) -> None:
    process = holder(claims._machine(), locks=True)
    process.kill()
    began = time.monotonic()
    with claimed(tmp_path, "x", stale=600):
        assert time.monotonic() - began < 5


def test_a_process_that_died_elsewhere_is_waited_for_until_its_record_is_stale(tmp_path: Path, holder: Any) -> None:
    process = holder("another machine")
    process.kill()
    said: list[Any] = []
    began = time.monotonic()
    with claimed(tmp_path, "x", stale=1.0, waiting=said.append) as claim:
        assert 1.0 <= time.monotonic() - began < 5
        assert claim.number == 2
    assert said[0]["machine"] == "another machine"


def test_a_living_process_elsewhere_keeps_its_claim_whatever_the_clocks_say(tmp_path: Path, holder: Any) -> None:
    """Its records carry dates of the past and of the future, as from machines whose clocks are wrong."""
    living = holder("another machine")
    record = tmp_path / ".claims" / "x" / "000001"
    got = threading.Event()

    def contend() -> None:
        with claimed(tmp_path, "x", stale=1.0):
            got.set()

    thread = threading.Thread(target=contend, daemon=True)
    thread.start()
    for days in (-4000, 4000, -1, 1):
        os.utime(record, (time.time() + days * 86400,) * 2)
        assert not got.wait(0.6)
    living.kill()
    thread.join(30)
    assert got.is_set()


def test_of_several_only_one_takes_a_stale_claim_over(
    tmp_path: Path, holder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder("another machine").kill()
    monkeypatch.setattr(claims, "_system_lock", lambda *_: None)
    inside, most = [0], [0]
    guard = threading.Lock()

    def contend() -> None:
        with claimed(tmp_path, "x", stale=0.5, beat=0.05):
            with guard:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.05)
            with guard:
                inside[0] -= 1

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert most == [1]


def _make(root: Path, machine: str, ready: Any, go_on: Any, told: Any) -> None:
    """Make an artefact in two parts, with time between them."""
    _elsewhere(machine, locks=False)

    def build(folder: Path) -> None:
        made = (folder / "first").exists()
        (folder / "first").write_text("1")
        ready.set()
        go_on.wait(30)
        (folder / "second").write_text("2")
        (folder / "by").write_text(machine + (" going on" if made else ""))

    told.put(
        (machine, (Store(root, beat=0.05, stale=0.5).obtain("kind", {}, build, resumable=True) / "by").read_text())
    )


def test_a_paused_owner_that_comes_back_publishes_nothing(tmp_path: Path) -> None:
    told = FORK.Queue()
    ready, go_on = (FORK.Event(), FORK.Event()), (FORK.Event(), FORK.Event())
    paused = FORK.Process(target=_make, args=(tmp_path, "one", ready[0], go_on[0], told))
    other = FORK.Process(target=_make, args=(tmp_path, "two", ready[1], go_on[1], told))
    paused.start()
    try:
        assert ready[0].wait(20)
        os.kill(paused.pid or 0, signal.SIGSTOP)
        other.start()
        assert ready[1].wait(20)  # it has taken the claim over, with the part that was made
        os.kill(paused.pid or 0, signal.SIGCONT)
        go_on[0].set()
        time.sleep(0.5)
        assert not Store(tmp_path).has("kind", {})
        go_on[1].set()
        assert sorted(told.get(timeout=20) for _ in range(2)) == [("one", "two going on"), ("two", "two going on")]
        assert Store(tmp_path).has("kind", {})
    finally:
        for process in (one for one in (paused, other) if one.pid is not None):
            process.kill()
            process.join()
