"""Artefacts on disk, named by the hash of what they were made from.

Layout, under one root (the cache folder):

    <root>/<stage>/<digest>/            a finished artefact: its files and artefact.json
    <root>/.partial/<stage>-<digest>/   one that is being made, or whose maker was killed
    <root>/.locks/<stage>-<digest>      held while it is being made; the system frees it with its process

An artefact appears under its name only when it is complete, by one rename. Two runs that want the same
one never write the same file: the second waits for the lock, then finds the artefact made.
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
from filelock import FileLock

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


def cannot_write(folder: Path, error: OSError) -> StorageError:
    """The one sentence for a folder that cannot be written."""
    return StorageError(
        f"Cannot write to {folder} ({error.strerror or error}); give a folder that is writable and has space, "
        "with --out for the results or VENTRAL_CACHE for the cache."
    )


class Store:
    """Content-addressed artefacts under one root folder."""

    def __init__(self, root: Path | None = None):
        self.root = root or cache_folder()

    def path(self, stage: str, inputs: Mapping[str, Any]) -> Path:
        """Where the artefact of `stage` made from `inputs` stands or will stand."""
        return self.root / stage / digest(inputs)

    def has(self, stage: str, inputs: Mapping[str, Any]) -> bool:
        """Whether that artefact is complete and its files are as they were written."""
        return intact(self.path(stage, inputs))

    def obtain(
        self,
        stage: str,
        inputs: Mapping[str, Any],
        build: Callable[[Path], None],
        *,
        resumable: bool = False,
    ) -> Path:
        """The folder of an artefact, made now by `build(folder)` if it is not there.

        `inputs` is everything that the content depends on, as JSON values; it is kept beside the artefact.
        With `resumable`, what a killed `build` left in its folder is handed to the next one; otherwise
        `build` starts from an empty folder. An exception in `build` leaves no artefact. An artefact whose files were
        damaged or deleted is made again.

        Raises StorageError when the store cannot be written.
        """
        final = self.path(stage, inputs)
        if intact(final):
            return final
        name = f"{stage}-{final.name}"
        partial = self.root / ".partial" / name
        try:
            lock_path = self.root / ".locks" / name
            lock_path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock_path):
                if intact(final):
                    return final
                if partial.exists() and not resumable:
                    shutil.rmtree(partial)
                partial.mkdir(parents=True, exist_ok=True)
                try:
                    build(partial)
                except BaseException:
                    if not resumable:
                        shutil.rmtree(partial, ignore_errors=True)
                    raise
                record = {"stage": stage, "inputs": inputs, "files": _listed(partial)}
                write_atomically(partial / RECORD, json.dumps(record, indent=1, sort_keys=True))
                final.parent.mkdir(parents=True, exist_ok=True)
                if final.exists():  # damaged: see above
                    shutil.rmtree(final)
                os.replace(partial, final)
        except OSError as error:
            if error.errno in _CANNOT_WRITE:
                raise cannot_write(self.root, error) from error
            raise
        return final


_CANNOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST)


def intact(folder: Path) -> bool:
    """Whether a folder holds a complete artefact whose files have the sizes and hashes that were recorded."""
    try:
        recorded = json.loads((folder / RECORD).read_bytes())["files"]
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
