"""Artefacts on disk, named by the hash of what they were made from.

Layout, under one root (the cache folder):

    <root>/<stage>/<digest>/            a finished artefact: its files and artefact.json
    <root>/.partial/<stage>-<digest>.N  one that is being made, or whose maker was killed
    <root>/.locks/, <root>/.claims/     who makes it, one process at a time (`bridge.claims`)

An artefact appears under its name only when it is complete, by one rename. Two runs that want the same
one never write the same file: the second waits for the first, then finds the artefact made. That holds for processes
of one machine and of many that share the folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from bridge.claims import BEAT, STALE, Claim, Record, claimed, told
from bridge.errors import StorageError

RECORD = "artefact.json"
HASHED_BYTES = 2**26
"""Files up to this size are hashed when an artefact is looked up; of larger ones (shards, which carry hashes of their
own and check them when they are read) only the size is compared."""


def cache_folder() -> Path:
    """`$VENTRAL_CACHE`, else the user's cache folder for this program. Nothing is created."""
    given = os.environ.get("VENTRAL_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("ventral-bridge"))


def digest(inputs: Any) -> str:
    """The first 20 hex digits of the sha256 of `inputs` as canonical JSON.

    Raises TypeError for values that JSON cannot express: a hash over `repr` would not be stable.
    """
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def parsed_json(data: bytes | str) -> Any:
    """What JSON holds. Raises ValueError for what is none, also where it is nested too deeply to be read."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises StorageError when the folder cannot be written.
    """
    write_together({path: data})


def write_together(contents: Mapping[Path, bytes | str]) -> None:
    """Write files that belong together: none is replaced before all are on the disk, and each at once.

    Raises StorageError when a folder cannot be written; the old files then stand as they were.
    """
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in contents}
    folder = Path()
    try:
        for path, data in contents.items():
            folder = path.parent
            folder.mkdir(parents=True, exist_ok=True)
            with open(temporary[path], "wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
        for path, written in temporary.items():
            os.replace(written, path)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        for written in temporary.values():
            with suppress(OSError):
                written.unlink(missing_ok=True)


def copy_folder(source: Path, target: Path) -> None:
    """A copy of a folder in place of an older one, which stands until the new one is whole.

    Raises StorageError where it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f".{target.name}.tmp")
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(source, new)
        shutil.rmtree(target, ignore_errors=True)
        new.replace(target)
    except OSError as error:
        raise cannot_write(target.parent, error) from error


def cannot_write(folder: Path, error: OSError) -> StorageError:
    """The one sentence for a folder that cannot be written."""
    return StorageError(
        f"Cannot write to {folder} ({error.strerror or error}); give a folder that is writable and has space, "
        "with --out for the results or VENTRAL_CACHE for the cache."
    )


class Store:
    """Content-addressed artefacts under one root folder."""

    def __init__(self, root: Path | None = None, *, beat: float = BEAT, stale: float = STALE):
        """Artefacts under `root` (default: `cache_folder`). Whoever makes one gives a sign of life every `beat` seconds
        and is taken for gone after `stale` seconds without one."""
        self.root = root or cache_folder()
        self._beat, self._stale = beat, stale

    def prepare(self) -> None:
        """Make the root folder, for this process and for workers that look for it. Raises StorageError if it cannot."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.root, error) from error

    def path(self, stage: str, inputs: Mapping[str, Any]) -> Path:
        """Where the artefact of `stage` made from `inputs` stands or will stand."""
        return self.root / stage / digest(inputs)

    def has(self, stage: str, inputs: Mapping[str, Any]) -> bool:
        """Whether that artefact is complete and its files are as they were written."""
        return intact(self.path(stage, inputs))

    def maker(self, stage: str, inputs: Mapping[str, Any]) -> Record | None:
        """What the process that makes this artefact says of itself (host, pid, its `status`); None if none does."""
        return told(self.root, f"{stage}-{digest(inputs)}")

    def obtain(
        self,
        stage: str,
        inputs: Mapping[str, Any],
        build: Callable[[Path], None],
        *,
        resumable: bool = False,
        status: Callable[[], Record] = dict,
        waiting: Callable[[Record], None] | None = None,
    ) -> Path:
        """The folder of an artefact, made now by `build(folder)` if it is not there.

        `inputs` is everything that the content depends on, as JSON values; it is kept beside the artefact.
        With `resumable`, what a killed `build` left in its folder is handed to the next one; otherwise
        `build` starts from an empty folder. An exception in `build` leaves no artefact. An artefact whose files were
        damaged or deleted is made again. Only one process makes an artefact at a time: the others wait and are told
        (`waiting`) what it says of itself (its `status`).

        Raises StorageError when the store cannot be written.
        """
        final = self.path(stage, inputs)
        name = f"{stage}-{final.name}"
        record = {"stage": stage, "inputs": inputs}
        there = intact(final)
        if not there:
            self.prepare()
        try:
            while not there:
                with claimed(
                    self.root, name, status=status, waiting=waiting, beat=self._beat, stale=self._stale
                ) as claim:
                    there = intact(final) or self._make(final, name, record, build, resumable, claim)
        except OSError as error:
            if error.errno in _CANNOT_WRITE:
                raise cannot_write(self.root, error) from error
            raise
        return final

    def _make(
        self,
        final: Path,
        name: str,
        record: Mapping[str, Any],
        build: Callable[[Path], None],
        resumable: bool,
        claim: Claim,
    ) -> bool:
        """Make an artefact and publish it. Where the claim is lost meanwhile nothing is published; that gives False."""
        # The number of the claim is in the name: an owner that was taken for gone and comes back meets other paths.
        partial = self.root / ".partial" / f"{name}.{claim.number}"
        try:
            _take_up(partial, name, resumable)
            build(partial)
            files = {**record, "files": _listed(partial)}
            write_atomically(partial / RECORD, json.dumps(files, indent=1, sort_keys=True))
            if not claim.held():
                return False
            final.parent.mkdir(parents=True, exist_ok=True)
            if final.exists():  # damaged: see `obtain`
                shutil.rmtree(final)
            os.replace(partial, final)
        except BaseException as error:
            if isinstance(error, Exception) and not claim.held():
                return False
            if not resumable:
                shutil.rmtree(partial, ignore_errors=True)
            raise
        return True


def _take_up(partial: Path, name: str, resumable: bool) -> None:
    """Make the folder to fill: what the last maker left, if that helps, else an empty one."""
    left = [path for path in partial.parent.glob(f"{name}.*") if path.suffix[1:].isdecimal()]
    left.sort(key=lambda path: int(path.suffix[1:]))
    if left and resumable:
        os.replace(left.pop(), partial)
    for path in left:
        shutil.rmtree(path)
    partial.mkdir(parents=True, exist_ok=True)


_CANNOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOTDIR,
                 errno.EEXIST)  # fmt: skip


def intact(folder: Path) -> bool:
    """Whether a folder holds a complete artefact whose files have the sizes and hashes that were recorded."""
    try:
        recorded = parsed_json((folder / RECORD).read_bytes())["files"]
        return all(_described(folder / name) == about for name, about in recorded.items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def _listed(folder: Path) -> dict[str, list[Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix(): _described(path) for path in files}


def _described(path: Path) -> list[Any]:
    """[size, sha256], the hash for files up to HASHED_BYTES only."""
    size = path.stat().st_size
    return [size, file_sha256(path) if size <= HASHED_BYTES else None]
