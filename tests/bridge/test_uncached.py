"""Files written past the page cache hold the same bytes, whatever the offsets and whatever the file system allows."""

from __future__ import annotations

import errno
import os
import threading
from itertools import pairwise

import numpy as np
import pytest

from bridge.heap import kept_heap
from bridge.uncached import BLOCK, CHUNK, UncachedFile


def pieces(seed: int) -> tuple[bytes, list[tuple[int, int]]]:
    """Some bytes, and (offset, length) of the pieces that make them up: three runs side by side, as sites lie."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 256, 2 * CHUNK + 3 * BLOCK + 17, dtype=np.uint8).tobytes()
    borders = [0, 100, 100 + BLOCK * 5 + 1, CHUNK + 7, len(whole)]
    runs = [[*range(a, b, int(rng.integers(1_000, 900_000))), b] for a, b in pairwise(borders)]
    order = [list(pairwise(run)) for run in runs]
    turn = [piece for k in range(max(map(len, order))) for run in order[1:] if k < len(run) for piece in [run[k]]]
    return whole, [(a, b - a) for a, b in [*turn, *order[0]]]  # the header comes last


def written(path, seed: int, **options) -> UncachedFile:
    whole, parts = pieces(seed)
    file = UncachedFile(path, **options)
    for offset, length in parts:
        file.write(memoryview(whole)[offset : offset + length], offset)
    file.finish()
    assert path.read_bytes() == whole
    return file


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_bytes_are_those_that_were_given(tmp_path, seed, direct):
    written(tmp_path / "file", seed, direct=direct)


def test_a_file_smaller_than_a_block(tmp_path):
    file = UncachedFile(tmp_path / "file")
    file.write(memoryview(b"later"), 5)
    file.write(memoryview(b"first"), 0)
    file.finish()
    assert (tmp_path / "file").read_bytes() == b"firstlater"


@pytest.mark.parametrize("after", [0, 1, 3])
def test_file_systems_that_refuse_direct_writes_get_ordinary_ones(tmp_path, monkeypatch, after):
    pwrite, calls = os.pwrite, []

    def refusing(file, data, offset):
        calls.append(offset)
        if len(calls) == after + 1:
            raise OSError(errno.EINVAL, "Invalid argument")
        return pwrite(file, data, offset)

    monkeypatch.setattr(os, "pwrite", refusing)
    if hasattr(os, "O_DIRECT") and UncachedFile(tmp_path / "probe").direct:
        assert not written(tmp_path / "file", 5).direct


def test_opening_may_be_refused_too(tmp_path, monkeypatch):
    real = os.open

    def refusing(path, flags, *rest):
        if flags & getattr(os, "O_DIRECT", 0):
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", refusing)
    assert not written(tmp_path / "file", 6).direct


def test_other_errors_are_not_hidden(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    file = UncachedFile(tmp_path / "file")
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        file.write(memoryview(bytes(2 * BLOCK)), 0)
    file.abort()
    with pytest.raises(FileNotFoundError):
        UncachedFile(tmp_path / "none" / "file")


def test_the_heap_is_kept_within_nested_contexts_and_threads(monkeypatch):
    calls = []

    class Libc:
        gnu_get_libc_version = None

        def mallopt(self, name, value):
            calls.append((name, value))

        def malloc_trim(self, pad):
            calls.append("trim")

    monkeypatch.setattr("ctypes.CDLL", lambda _: Libc())
    for name in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)

    def nested():
        with kept_heap() as kept:
            assert kept

    with kept_heap() as kept:
        assert kept
        assert calls == [(-4, 0), (-1, -1)]
        thread = threading.Thread(target=nested)
        thread.start()
        thread.join()
        nested()
        assert len(calls) == 2
    assert calls[-1] == "trim"
    assert (-4, 65536) in calls
    calls.clear()
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    with kept_heap() as kept:
        assert not kept
    assert not calls


def test_the_real_heap_gives_memory_back():
    resource = pytest.importorskip("resource")
    with kept_heap() as kept:
        if not kept:
            pytest.skip("no glibc, or settings of malloc in the environment")
        np.ones(8 << 20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            np.ones(8 << 20)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 16_384  # of 327,680 without it
