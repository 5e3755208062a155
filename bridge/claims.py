"""Who makes an artefact: one process at a time, on one machine or on many that share a folder.

Two locks, one inside the other:

    <root>/.locks/NAME          held by the system (flock) and freed by it with its process, however that ends. Some
                                network file systems hold it for every machine, some for each alone, some not at all.
    <root>/.claims/NAME/000007  a record, made by its owner with an exclusive creation, the one step that every shared
                                file system does for one process alone. The owner of the highest number holds the claim.

The owner counts up in its record every few seconds. Whoever waits looks whether the record *changes*, by its own
monotonic clock: no machine compares its clock with another's or with a file's date, so clocks may differ and be set. A
record that stood still for `stale` seconds is of a process that is gone (or paused): the waiting one creates the next
number, and of several only one can. A paused owner that comes back finds the higher number and has lost its claim; it
must look (`Claim.held`) before it publishes anything. Where the system's lock works, an owner that died on this machine
is known to be gone at once.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

BEAT = 2.0
"""Seconds between two beats of an owner."""
STALE = 60.0
"""Seconds without a beat after which an owner on another machine is taken for gone. A beat needs the interpreter, which
compiled code may hold for seconds: shorter would take work from those who still do it."""
LOOK = 0.2
"""Seconds between two looks of one who waits."""
_RECORD_BYTES = 1024

Record = Mapping[str, Any]
"""What an owner says of itself: host, pid, beat, and whatever its `status` says."""


class Claim:
    """A claim that this process holds, until `release` or until another took it over (`held` says)."""

    def __init__(self, folder: Path, number: int, status: Callable[[], Record], beat: float):
        self.number = number
        self._path, self._next = _numbered(folder, number), _numbered(folder, number + 1)
        self._status, self._beat, self._count = status, beat, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="claim", daemon=True)
        self._thread.start()

    def held(self) -> bool:
        """Whether this process still holds it."""
        return not self._next.exists() and self._path.exists()

    def release(self) -> None:
        """Let go; others need not wait for the record to grow old."""
        self._stop.set()
        self._thread.join()
        with suppress(OSError):
            _rewrite(self._path, {"released": True})

    def _work(self) -> None:
        while not self._stop.wait(self._beat):
            self._count += 1
            with suppress(OSError):  # a disk that is away for a moment; one that stays away is met by the work itself
                if self._next.exists():
                    return
                _rewrite(self._path, {**_owner(), "beat": self._count, **self._status()})


@contextmanager
def claimed(
    root: Path,
    name: str,
    *,
    status: Callable[[], Record] = dict,
    waiting: Callable[[Record], None] | None = None,
    beat: float = BEAT,
    stale: float = STALE,
) -> Iterator[Claim]:
    """Hold the claim `name` under a folder that processes share; waits while another holds it.

    `status` is asked at every beat for what others shall know (`told`); `waiting` is told now and then, while this
    process waits, what the one that holds it says. Raises OSError where the folder cannot be written.
    """
    lock_path, folder = root / ".locks" / name, root / ".claims" / name
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    wait = waiting or (lambda record: None)
    lock = _system_lock(lock_path, folder, wait)
    try:
        claim = _claim(folder, lock is not None, status, wait, beat, stale)
        try:
            yield claim
        finally:
            claim.release()
    finally:
        if lock is not None:
            lock.release()


def told(root: Path, name: str) -> Record | None:
    """What the process that holds a claim says of itself; None where none does, as far as one can see."""
    top = _highest(root / ".claims" / name)
    record = _parsed(top[1]) if top else None
    return None if record is None or record.get("released") else record


def _system_lock(path: Path, folder: Path, wait: Callable[[Record], None]) -> FileLock | None:
    """The system's lock, or None where this file system has none."""
    lock = FileLock(path, fallback_to_soft=False)
    while True:
        try:
            lock.acquire(timeout=LOOK, poll_interval=LOOK / 4)
            return lock
        except Timeout:
            top = _highest(folder)
            wait((_parsed(top[1]) if top else None) or {})
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return None


_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


def _claim(
    folder: Path,
    locked: bool,
    status: Callable[[], Record],
    wait: Callable[[Record], None],
    beat: float,
    stale: float,
) -> Claim:
    seen: tuple[int, bytes] | None = None
    since = 0.0
    while True:
        top = _highest(folder)
        if top is None or _is_free(top[1], locked) or (top == seen and time.monotonic() - since > stale):
            number = 1 if top is None else top[0] + 1
            if _create(_numbered(folder, number)):
                latest = _highest(folder)
                if latest is not None and latest[0] == number:
                    _remove_older(folder, number)
                    return Claim(folder, number, status, beat)
                _numbered(folder, number).unlink(missing_ok=True)  # a number of the past, which had been removed
            continue
        if top != seen:
            seen, since = top, time.monotonic()
        wait(_parsed(top[1]) or {})
        time.sleep(LOOK)


def _is_free(content: bytes, locked: bool) -> bool:
    """Whether nobody holds the claim: it was released, or this process has the system's lock, and the record is of a
    process of this machine, which died with it."""
    record = _parsed(content)
    if record is None:
        return False
    return bool(record.get("released")) or (locked and record.get("machine") == _machine())


def _numbered(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}"


def _highest(folder: Path) -> tuple[int, bytes] | None:
    """The highest number in a folder of claims and its record's bytes; None where there is none."""
    while True:
        try:
            numbers = [int(name) for name in os.listdir(folder) if name.isdecimal()]
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not numbers:
            return None
        try:
            return max(numbers), _numbered(folder, max(numbers)).read_bytes()
        except FileNotFoundError:
            time.sleep(0.01)  # a higher one has come meanwhile


def _create(path: Path) -> bool:
    """Create a record with this process as its owner, whole from the start where there are hard links. False if it
    exists."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    content = _encoded({**_owner(), "beat": 0})
    try:
        temporary.write_bytes(content)
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}:
            raise
        try:
            with open(path, "xb") as file:
                file.write(content)
        except FileExistsError:
            return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _remove_older(folder: Path, number: int) -> None:
    for name in os.listdir(folder):
        if name.isdecimal() and int(name) < number:
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)


def _rewrite(path: Path, record: Record) -> None:
    """Overwrite a record in its place: this needs no space on the disk, and never brings back one that was removed."""
    with open(path, "r+b") as file:
        file.write(_encoded(record))


def _encoded(record: Record) -> bytes:
    """A record at a fixed length; what does not fit is left out."""
    text = json.dumps(record).encode()
    if len(text) > _RECORD_BYTES:
        text = json.dumps({key: record[key] for key in (*_owner(), "beat") if key in record}).encode()
    return text.ljust(_RECORD_BYTES)


def _parsed(content: bytes) -> dict[str, Any] | None:
    """A record, or None for one that is being written."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _owner() -> dict[str, Any]:
    return {"host": platform.node()[:200], "pid": os.getpid(), "machine": _machine()}


@cache
def _machine() -> str:
    """What tells one running system from another: processes with the same share the system's locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{platform.node()[:200]}-{uuid.getnode():x}"
