"""Getting one public file: its address and sha256 are declared, and what does not match them is never kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from bridge.errors import InputError, StorageError, UnreachableError
from bridge.store import cache_folder, cannot_write, digest, file_sha256, write_atomically

TIMEOUT_S = 30
CHECK_S = 10
CHUNK_BYTES = 1 << 16
_verified: set[str] = set()


def data_cache() -> Path:
    """Where fetched files are kept: `data/` in the cache folder."""
    return cache_folder() / "data"


def fetch_file(address: str, sha256: str | None, target: Path) -> None:
    """Download `address` to `target`, which appears complete and verified (where its sha256 is declared) or not at all.

    A fetch that is killed leaves its part under `<folder of target>/.partial/`, where the next fetch of the same
    file clears it away. Two processes that want one file wait for each other.

    Raises UnreachableError when the server cannot be reached, refuses or breaks off, InputError when the bytes are
    not those declared, StorageError when the cache cannot be written.
    """
    import pooch
    import requests
    from filelock import FileLock

    partial = target.parent / ".partial" / target.name
    lock = target.parent / ".locks" / target.name
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if target.is_file() and (sha256 is None or is_verified(target, sha256)):
                return
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            received = partial / target.name
            try:
                with _progress(target.name) as bar:
                    download = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK_BYTES, timeout=TIMEOUT_S)
                    download(address, str(received), None)
                got = file_sha256(received)
                if sha256 is not None and got != sha256:
                    raise InputError(
                        f"The file fetched from {address} is not the one declared (expected sha256 {sha256}, got "
                        f"{got}, {received.stat().st_size} bytes) and nothing was kept; try again, and check "
                        "whether a proxy alters downloads."
                    )
                os.replace(received, target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        _mark(target, got)
    except requests.RequestException as error:  # is an OSError too, so it comes first
        raise UnreachableError(
            f"Cannot fetch {address} ({_reason(error)}); connect to the network and run this again, or put the file "
            f"at {target} by hand, or set VENTRAL_DATA to a folder that holds {_within_cache(target)}."
        ) from error
    except OSError as error:
        raise cannot_write(target.parent, error) from error


def _within_cache(path: Path) -> Path:
    """As it is looked up in VENTRAL_DATA."""
    return path.relative_to(data_cache()) if path.is_relative_to(data_cache()) else Path(path.parent.name, path.name)


def check_address(address: str, what: str, instead: str) -> None:
    """Raise UnreachableError, in one sentence about `what`, unless a server answers at `address`. Fetches nothing.

    `instead` says what else the user can do.
    """
    import requests

    try:
        answer = requests.head(address, timeout=CHECK_S, allow_redirects=True)
        if answer.status_code >= 500 or answer.status_code == 404:
            raise requests.HTTPError(response=answer)
    except requests.RequestException as error:
        raise UnreachableError(
            f"{what} would have to be fetched, and {address} cannot be reached ({_reason(error)}); connect to the "
            f"network, {instead}."
        ) from error


def is_verified(path: Path, sha256: str) -> bool:
    """Whether a file's bytes have this sha256.

    They are read once: the answer is remembered for the process, and for later ones by a mark in the cache that holds
    for the path, size and modification time. A mark is only a convenience, so a cache that cannot be written is fine.
    """
    mark = _mark_name(path, sha256)
    if mark in _verified:
        return True
    if (data_cache() / ".verified" / mark).is_file():
        _verified.add(mark)
        return True
    if file_sha256(path) != sha256:
        return False
    _mark(path, sha256)
    return True


SAMPLED_BYTES = 2**32
_SAMPLES, _SAMPLE_BYTES = 64, 2**20


def identity(path: Path) -> str:
    """What a file holds, for provenance where no hash is declared: `sha256:...` of its bytes.

    For files above 4 GiB, which would take minutes, `sampled-sha256:...`: size and 64 blocks of 1 MiB, evenly spaced.
    Found once, then remembered in the cache for the path, size and modification time.
    """
    size = path.stat().st_size
    kept = data_cache() / ".recorded" / _mark_name(path, "identity")
    try:
        return kept.read_text().splitlines()[0]
    except (OSError, IndexError):
        found = f"sha256:{file_sha256(path)}" if size <= SAMPLED_BYTES else f"sampled-sha256:{_sampled(path, size)}"
    with suppress(StorageError):
        write_atomically(kept, f"{found}\n{path.resolve()}\n")
    return found


def _sampled(path: Path, size: int) -> str:
    hashed = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for k in range(_SAMPLES):
            file.seek(k * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
            hashed.update(file.read(_SAMPLE_BYTES))
    return hashed.hexdigest()


def _mark(path: Path, sha256: str) -> None:
    mark = _mark_name(path, sha256)
    _verified.add(mark)
    try:
        write_atomically(data_cache() / ".verified" / mark, f"{path.resolve()}\n")
    except StorageError:
        return


def _mark_name(path: Path, sha256: str) -> str:
    stat = path.stat()
    return digest([str(path.resolve()), stat.st_size, stat.st_mtime_ns, sha256])


def _reason(error: Exception) -> str:
    """What went wrong in a few words: a status, or the innermost cause without object addresses."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off before the file was complete"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return type(error).__name__


class _Plain:
    """One line at the start, for logs that are not terminals."""

    def __init__(self, name: str):
        self.name = name
        self.total = 0
        self.said = False

    def update(self, amount: int) -> None:
        if not self.said:
            size = f" ({self.total / 1e6:.1f} MB)" if self.total else ""
            print(f"Fetching {self.name}{size}", file=sys.stderr, flush=True)
            self.said = True

    def reset(self) -> None:
        return

    def close(self) -> None:
        return


class _Bar(AbstractContextManager["_Bar"]):
    """rich's bar behind the four things that pooch asks of a progress bar."""

    def __init__(self, name: str):
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns: tuple[Any, ...] = (
            TextColumn("Fetching {task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        self.progress = Progress(*columns, console=Console(stderr=True))
        self.task = self.progress.add_task(name, total=None)
        self._total = 0

    def __enter__(self) -> _Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, value: int) -> None:
        self._total = value
        self.progress.update(self.task, total=value or None)

    def update(self, amount: int) -> None:
        self.progress.update(self.task, advance=amount)

    def reset(self) -> None:
        self.progress.update(self.task, completed=0)

    def close(self) -> None:
        return


def _progress(name: str) -> AbstractContextManager[Any]:
    return _Bar(name) if sys.stderr.isatty() else nullcontext(_Plain(name))
