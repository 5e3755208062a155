"""Writing large files past the system's page cache."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

import numpy as np

BLOCK = 4096
"""Direct writes begin and end at multiples of this (a multiple of every common disk's sector)."""
CHUNK = 4 << 20
"""Bytes that are copied, hashed and written at a time: they stay in the processor's cache meanwhile."""


class UncachedFile:
    """A new file, written at any offsets, each byte once, and not kept in the page cache where that is possible.

    A capture writes faster than the disk reads, once, and more than memory holds: filling the page cache with it costs
    more processor time than the hashing does, and pushes out what others need. Where the system or the file system
    has no direct writes (macOS, some network and memory file systems), writes are ordinary ones.

    Data that do not fill a block are kept until the rest of the block comes, or the end. Raises OSError.
    """

    def __init__(self, path: Path, *, direct: bool = True):
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
        self.direct = direct and hasattr(os, "O_DIRECT")
        try:
            self._file = os.open(path, flags | (os.O_DIRECT if self.direct else 0), 0o644)
        except OSError as error:
            if not self.direct or error.errno not in _REFUSED:
                raise
            self.direct = False
            self._file = os.open(path, flags, 0o644)
        # Aligned to a page. Used also once direct writes are given up: blocks that are kept must still be completed.
        self._stage = np.frombuffer(mmap.mmap(-1, CHUNK), np.uint8) if self.direct else None
        self._parts: dict[int, tuple[bytearray, int]] = {}
        self._size = 0

    def write(self, data: memoryview, offset: int) -> None:
        """Put bytes at an offset."""
        self._size = max(self._size, offset + len(data))
        if self._stage is None:
            self._put(data, offset)
            return
        while data:
            within = offset % BLOCK
            if within or len(data) < BLOCK:
                count = min(len(data), BLOCK - within)
                self._keep(self._stage, data[:count], offset - within, within)
            else:
                count = min(len(data) // BLOCK * BLOCK, CHUNK)
                self._put_aligned(self._stage, data[:count], offset)
            data, offset = data[count:], offset + count

    def _keep(self, stage: np.ndarray, data: memoryview, block: int, within: int) -> None:
        held, filled = self._parts.pop(block, (bytearray(BLOCK), 0))
        held[within : within + len(data)] = data
        filled += len(data)
        if filled < BLOCK:
            self._parts[block] = held, filled
        else:
            self._put_aligned(stage, memoryview(held), block)

    def _put_aligned(self, stage: np.ndarray, data: memoryview, offset: int) -> None:
        np.copyto(stage[: len(data)], np.frombuffer(data, np.uint8))  # lets other threads run, unlike memoryview's
        self._put(stage[: len(data)].data, offset)

    def _put(self, data: memoryview, offset: int) -> None:
        while data:
            try:
                written = os.pwrite(self._file, data, offset)
            except OSError as error:
                if not self.direct or error.errno not in _REFUSED:
                    raise
                self._give_up_direct()
                continue
            data, offset = data[written:], offset + written
            if self.direct and written % BLOCK:
                # A write cut short by a full disk, most likely: the next one says so, or goes the ordinary way.
                self._give_up_direct()

    def _give_up_direct(self) -> None:
        """Ordinary writes from here on: this file system opens files for direct writes but does not write so."""
        import fcntl

        fcntl.fcntl(self._file, fcntl.F_SETFL, fcntl.fcntl(self._file, fcntl.F_GETFL) & ~os.O_DIRECT)
        self.direct = False

    def finish(self) -> None:
        """Write what was kept, synchronise, close."""
        for block, (held, _) in sorted(self._parts.items()):
            if self._stage is not None:
                self._put_aligned(self._stage, memoryview(held), block)
        os.ftruncate(self._file, self._size)
        os.fsync(self._file)
        os.close(self._file)

    def abort(self) -> None:
        """Close without writing what was kept."""
        os.close(self._file)


_REFUSED = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP})
