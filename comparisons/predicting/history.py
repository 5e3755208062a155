"""What stages took before, kept in the store: a small file a stage, `<store>/.seconds/<kind>/<digest>.json`.

Every file is written whole, by one rename, under a name that is the artefact's: processes that share a store never
disturb each other. A record that cannot be written or read is left out; nothing but predictions depend on it.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.devices import resolved
from bridge.errors import StorageError
from bridge.store import RECORD, Store, digest, write_atomically

if TYPE_CHECKING:
    from comparisons.plan import Stage

FOLDER = ".seconds"
KEPT = 300
"""Records of a kind; the oldest make room."""
LOOK = 0.2
"""Seconds between two looks at the memory that the process holds."""
FIRST_LOOK = 0.02


@dataclass(frozen=True)
class Took:
    """What a stage took, once."""

    seconds: float
    standard: float | None
    """Seconds that `comparisons.predicting.sizes` gives for it; None for kinds that it does not know."""
    read: int
    """Bytes of the artefacts that it needed."""
    disk: int
    """Bytes that it left."""
    memory: int | None
    """Bytes by which the process grew while it ran, at the height."""
    shape: str
    """Hash of its settings without names, seeds and hashes: stages of one shape do the same to other data."""
    machine: str


@dataclass
class Watched:
    """Filled when the watch ends."""

    seconds: float = 0.0
    memory: int | None = None
    _peak: int = field(default=0, repr=False)


@contextmanager
def watched() -> Iterator[Watched]:
    """The time that passes within, and by how much the process grows meanwhile (looked at a few times a second)."""
    import psutil

    process, told, stop = psutil.Process(), Watched(), threading.Event()
    before = process.memory_info().rss

    def look() -> None:
        wait = FIRST_LOOK
        while not stop.wait(wait):
            told._peak = max(told._peak, process.memory_info().rss)
            wait = min(LOOK, wait * 2)

    thread = threading.Thread(target=look, name="memory", daemon=True)
    thread.start()
    began = time.perf_counter()
    try:
        yield told
    finally:
        told.seconds = time.perf_counter() - began
        stop.set()
        thread.join()
        told.memory = max(told._peak, process.memory_info().rss, before) - before


def note(store: Store, stage: Stage, took: Watched, needs: Mapping[str, Path], device: str = "cpu") -> None:
    """Keep what a stage took. `needs` are the folders of the stages that it needs."""
    folder = store.path(stage.kind, stage.inputs)
    about = Took(
        round(took.seconds, 3),
        stage.size().seconds if stage.size is not None else None,
        sum(size_of(needs[name]) or 0 for name in stage.needs),
        size_of(folder) or 0,
        took.memory,
        shape(stage.inputs),
        machine(device if stage.on_device else "cpu"),
    )
    kind = store.root / FOLDER / stage.kind
    with suppress(OSError, StorageError):
        write_atomically(kind / f"{folder.name}.json", json.dumps(asdict(about)))
        files = sorted(kind.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for old in files[:-KEPT]:
            old.unlink(missing_ok=True)


def from_the_start(store: Store, stage: Stage) -> bool:
    """Whether a stage that is made now begins anew: what an earlier process left of it would make it look fast."""
    return next((store.root / ".partial").glob(f"{stage.kind}-{digest(stage.inputs)}.*"), None) is None


def records(store: Store, kind: str, device: str = "cpu") -> dict[str, Took]:
    """What stages of a kind took on this machine, by the digest in their artefact's name, oldest first."""
    found: list[tuple[float, str, Took]] = []
    for path in (store.root / FOLDER / kind).glob("*.json"):
        with suppress(OSError, ValueError, TypeError):
            took = Took(**json.loads(path.read_bytes()))
            if took.machine == machine(device):
                found.append((path.stat().st_mtime, path.stem, took))
    return {name: took for _, name, took in sorted(found, key=lambda one: one[:2])}


def size_of(folder: Path) -> int | None:
    """Bytes of a finished artefact, from its own record; None where there is none."""
    try:
        listed = json.loads((folder / RECORD).read_bytes())["files"]
        return sum(int(size) for size, _ in listed.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


LEFT_OUT = {"needs", "seed", "versions", "code", "model", "models", "name of model", "name", "stimuli", "stimulus_set",
            "recordings", "left_out", "dictionary", "network"}  # fmt: skip


def shape(inputs: Mapping[str, Any]) -> str:
    """The hash of a stage's settings: lists of names count by their length, names and hashes not at all.

    >>> shape({"draws": 100, "sites": ["a", "b"]}) == shape({"draws": 100, "sites": ["c", "d"], "seed": 3})
    True
    """
    return digest(_plain(inputs))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items() if key not in LEFT_OUT}
    if isinstance(value, list | tuple):
        return len(value) if all(isinstance(one, str) for one in value) else [_plain(one) for one in value]
    return value


@lru_cache
def machine(device: str) -> str:
    """This machine, as far as the speed of a stage depends on it: processors, and the GPU where one computes."""
    device = resolved(device)
    name = f"{os.cpu_count()} x {platform.machine()}"
    if device.startswith("cuda"):
        import torch

        # A plan may be of another machine's device, to which its stages then go.
        name += f", {torch.cuda.get_device_name(device) if torch.cuda.is_available() else device}"
    return name
