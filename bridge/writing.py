"""Writing captured activations: the folder that is being filled, and the thread that fills it."""

from __future__ import annotations

import json
import queue
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import InputError, StorageError
from bridge.passes import Buffers
from bridge.readers import Activations
from bridge.shards import MANIFEST, Shard, ShardWriter, write_manifest
from bridge.store import cannot_write, digest
from bridge.streams import Site

if TYPE_CHECKING:
    import torch


class Output:
    """A folder of shards: which of them are there, and the manifest in the end."""

    def __init__(self, folder: Path, plan: dict[str, Any], per_shard: int):
        self.folder, self.plan = folder, plan
        self.digest = digest(plan)
        self.total = len(plan["ids"])
        self.ranges = [range(first, min(first + per_shard, self.total)) for first in range(0, self.total, per_shard)]
        self.per_shard = per_shard
        self.shapes = {name: (record["stored"], record["width"]) for name, record in plan["sites"].items()}
        self.sums: dict[int, dict[str, str]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".*.tmp"):
                left.unlink()
            present = (folder / MANIFEST).exists()
        except OSError as error:
            raise cannot_write(folder, error) from error
        self.finished = False
        if present:
            manifest = Activations(folder).manifest
            self.finished = {key: manifest[key] for key in plan} == json.loads(json.dumps(plan))
            if not self.finished:
                raise self._another()
        else:
            self._take_up()

    def _another(self) -> StorageError:
        return StorageError(f"{self.folder} holds the activations of another capture; give an empty folder.")

    def _take_up(self) -> None:
        """Keep the whole shards of an interrupted capture; those that are damaged are made again."""
        for path in sorted(self.folder.glob("[0-9]*.safetensors")):
            try:
                shard = Shard.open(path)
                number = int(path.stem)
                if shard.plan != self.digest or self.ranges[number] != range(shard.first, shard.first + shard.count):
                    raise self._another()
                for name in self.shapes:
                    shard.check(name)
            except InputError as error:
                warnings.warn(f"{error} It is captured again.")
                continue
            except IndexError as error:
                raise self._another() from error
            self.sums[number] = {name: shard.sha256[name] for name in self.shapes}

    def path(self, number: int) -> Path:
        """Where a shard stands or will stand."""
        return self.folder / f"{number:05d}.safetensors"

    def has(self, first: int, stop: int) -> bool:
        """Whether all shards with rows of [first, stop) are there."""
        return all(number in self.sums for number in range(first // self.per_shard, (stop - 1) // self.per_shard + 1))

    def writer(self, number: int) -> ShardWriter:
        """A writer for a shard that is not there. Raises StorageError."""
        rows = self.ranges[number]
        shapes = {name: (len(rows), *shape) for name, shape in self.shapes.items()}
        return ShardWriter(self.path(number), self.digest, rows.start, self.plan["dtype"], shapes)

    def complete(self) -> None:
        """Write the manifest, once all shards are there. Raises StorageError."""
        shards = [
            {"file": self.path(number).name, "first": rows.start, "count": len(rows), "sha256": self.sums[number]}
            for number, rows in enumerate(self.ranges)
        ]
        write_manifest(self.folder, {**self.plan, "shards": shards})


class Writing:
    """The thread that writes: `free` buffers out, `put` them back filled. Leaving the context finishes or aborts."""

    def __init__(
        self,
        output: Output,
        sites: Mapping[str, Site],
        stored: Mapping[str, int],
        dtype: str,
        batch_size: int,
        device: str,
    ):
        self.output, self.dtype = output, dtype
        self._make = lambda: _empty_buffers(sites, stored, dtype, min(batch_size, output.total), device)
        self._free: queue.Queue[Buffers] = queue.Queue()
        self._filled: queue.Queue[tuple[range, Buffers] | None] = queue.Queue()
        self._made = 0
        self._error: BaseException | None = None
        self._writer: ShardWriter | None = None
        self._thread = threading.Thread(target=self._work, name="write", daemon=True)

    def free(self) -> Buffers:
        """Buffers to fill; waits for the disk when both sets are in use. Raises what the writing thread met."""
        if self._error is not None:
            raise self._error
        if self._made < 2 and self._free.empty():
            self._made += 1
            return self._make()
        buffers = self._free.get()
        if self._error is not None:
            raise self._error
        return buffers

    def put(self, rows: range, buffers: Buffers) -> None:
        """Hand over buffers that hold the activations of `rows`; rows come in ascending order."""
        self._filled.put((rows, buffers))

    def __enter__(self) -> Writing:
        self._thread.start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        # Also after an error: what was computed before it is written, as far as it fills shards.
        self._filled.put(None)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while (item := self._filled.get()) is not None:
                rows, buffers = item
                if self._error is None:
                    try:
                        if buffers.ready is not None:
                            buffers.ready.synchronize()
                        self._write(rows, buffers)
                    except BaseException as error:
                        self._error = error
                self._free.put(buffers)
        finally:
            if self._writer is not None:
                self._writer.abort()

    def _write(self, rows: range, buffers: Buffers) -> None:
        """Distribute a batch over the shards that its rows belong to."""
        arrays = {name: _bytes_of(value) for name, value in buffers.values.items()}
        at = rows.start
        while at < rows.stop:
            number = at // self.output.per_shard
            shard = self.output.ranges[number]
            stop = min(rows.stop, shard.stop)
            if number not in self.output.sums:
                if self._writer is None:
                    self._writer = self.output.writer(number)
                for name, array in arrays.items():
                    part = array[at - rows.start : stop - rows.start]
                    _refuse_overflow(name, part, self.dtype)
                    self._writer.write(name, part)
                if stop == shard.stop:
                    self.output.sums[number] = self._writer.finish()
                    self._writer = None
            at = stop


def _empty_buffers(
    sites: Mapping[str, Site], stored: Mapping[str, int], dtype: str, batch: int, device: str
) -> Buffers:
    import torch

    kind = getattr(torch, dtype)
    return Buffers(
        {
            name: torch.empty(batch, stored[name], site.width, dtype=kind, pin_memory=device.startswith("cuda"))
            for name, site in sites.items()
        }
    )


def _bytes_of(value: torch.Tensor) -> np.ndarray:
    """A host tensor as numpy; bfloat16 by its bits."""
    import torch

    return value.view(torch.int16).numpy() if value.dtype is torch.bfloat16 else value.numpy()


def _refuse_overflow(name: str, values: np.ndarray, dtype: str) -> None:
    """float16 ends at 65,504: a stream beyond it must not become infinite silently."""
    if dtype == "float16" and ((values.view(np.uint16) & 0x7FFF) == 0x7C00).any():
        raise InputError(f"{name} holds values beyond float16's 65,504; store it as bfloat16 or float32.")
