"""Activations on disk, version 1: the format, its writer, and its checked reader.

A folder of activations holds

    manifest.json           written last: a folder without it is unfinished
    00000.safetensors       the first shard: some consecutive stimuli, all sites
    00001.safetensors       ...

**A shard** is a safetensors file (8 bytes little-endian header length, a JSON header, the data). It has one tensor a
site, named by the site, of shape [stimuli of the shard, tokens, d] and type F32, F16 or BF16, in C order: a site's
values in a shard are one run of bytes, which can be memory-mapped. The tensors lie in the order of the manifest's
`sites`. The data begin at a multiple of 64 bytes (the header is filled up with blanks). Its `__metadata__` holds

    plan                the digest of everything in the manifest that is settled before the first image is read
    first, count        rows of the stimuli in the shard: first, first + 1, ..., first + count - 1
    sha256:SITE         sha256 of that tensor's bytes

so a shard can be judged without the manifest: this is how an interrupted capture goes on. All shards hold the same
number of stimuli except the last. A shard is written to `.NAME.tmp`, synchronised, then renamed: under its own name it
is whole.

**The manifest** is JSON: `format` ("activations"), `version` (1), `ids` (the stimulus ids in row order: the only key by
which activations are aligned with anything), `sites` (for each name its `Site` record plus `stored`, the tokens a
stimulus), `dtype`, `tokens` (which tokens were kept), `seed` (of the sampled ones), `lengths` (of texts of which all
tokens were kept: how many of each are no padding), `compute`, `model`, `weights` (sha256 over names, types, shapes and
bytes of the network's tensors), `preprocessing`, `stimuli` (name and content hash), `shards` (for each `file`, `first`,
`count` and `sha256` by site), and `sha256` of the manifest itself (of its canonical JSON without that field). It holds
no times and no machine names: the same capture gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bridge.errors import InputError
from bridge.store import cannot_write, parsed_json, write_atomically
from bridge.uncached import CHUNK, UncachedFile

FORMAT, VERSION = "activations", 1
MANIFEST = "manifest.json"
ALIGNMENT = 64
LARGE = 2**25
"""Shards of this many bytes are written past the page cache; smaller ones stay in it, to be read again soon."""

Dtype = Literal["float32", "float16", "bfloat16"]
DTYPES: dict[str, tuple[str, np.dtype[Any]]] = {
    # Name: type in safetensors, numpy type of the same width (bfloat16 has none of its own).
    "float32": ("F32", np.dtype("<f4")),
    "float16": ("F16", np.dtype("<f2")),
    "bfloat16": ("BF16", np.dtype("<u2")),
}


def to_float32(values: np.ndarray, dtype: str) -> np.ndarray:
    """Stored values as float32, exactly. bfloat16 comes as uint16: its bits are the upper half of a float32's."""
    if dtype == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


# ------------------------------------------------------------------------------------------------------- writing


def _header(
    metadata: Mapping[str, str], dtype: str, shapes: Mapping[str, tuple[int, int, int]]
) -> tuple[bytes, dict[str, int]]:
    """The first bytes of a shard, and where each tensor begins, counted from the start of the file."""
    content: dict[str, Any] = {"__metadata__": dict(metadata)}
    begin, starts = 0, {}
    for name, shape in shapes.items():
        end = begin + int(np.prod(shape)) * DTYPES[dtype][1].itemsize
        content[name] = {"dtype": DTYPES[dtype][0], "shape": list(shape), "data_offsets": [begin, end]}
        starts[name], begin = begin, end
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text, {name: 8 + len(text) + start for name, start in starts.items()}


class ShardWriter:
    """One shard being written: `write` rows of every site in order, then `finish`; or `abort`.

    Nothing stands under the shard's name before `finish`. Raises StorageError when the disk is full or read-only.
    """

    def __init__(
        self, path: Path, plan: str, first: int, dtype: str, shapes: Mapping[str, tuple[int, int, int]]
    ) -> None:
        self.path = path
        self.first = first
        self.count = next(iter(shapes.values()))[0]
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._dtype, self._shapes = dtype, dict(shapes)
        self._plain = {"plan": plan, "first": str(first), "count": str(self.count)}
        # The checksums come last; their place in the header is kept by zeros of the same length.
        blank = self._plain | {f"sha256:{name}": "0" * 64 for name in shapes}
        _, self._next = _header(blank, dtype, shapes)
        self._hashes = {name: hashlib.sha256() for name in shapes}
        size = sum(int(np.prod(shape)) for shape in shapes.values()) * DTYPES[dtype][1].itemsize
        try:
            self._file = UncachedFile(self._temporary, direct=size >= LARGE)
        except OSError as error:
            raise cannot_write(path.parent, error) from error

    def write(self, site: str, values: np.ndarray) -> None:
        """Append rows of a site: C-contiguous [n, tokens, d] of the stored type."""
        data = values.reshape(-1).view(np.uint8).data
        for start in range(0, len(data), CHUNK):
            part = data[start : start + CHUNK]
            self._hashes[site].update(part)
            self._put(part, self._next[site])
            self._next[site] += len(part)

    def finish(self) -> dict[str, str]:
        """Complete the shard under its name; its checksums by site."""
        sums = {name: value.hexdigest() for name, value in self._hashes.items()}
        metadata = self._plain | {f"sha256:{name}": value for name, value in sums.items()}
        header, _ = _header(metadata, self._dtype, self._shapes)
        self._put(memoryview(header), 0)
        try:
            self._file.finish()
            os.replace(self._temporary, self.path)
        except OSError as error:
            raise cannot_write(self.path.parent, error) from error
        return sums

    def abort(self) -> None:
        """Leave nothing of this shard."""
        self._file.abort()
        self._temporary.unlink(missing_ok=True)

    def _put(self, data: memoryview, offset: int) -> None:
        try:
            self._file.write(data, offset)
        except OSError as error:
            raise cannot_write(self.path.parent, error) from error


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the manifest with its own checksum. Raises StorageError."""
    sealed = {**content, "sha256": manifest_sha256(content)}
    write_atomically(folder / MANIFEST, json.dumps(sealed, indent=1))


def manifest_sha256(content: Mapping[str, Any]) -> str:
    """The checksum that a manifest carries: of its canonical JSON without the field `sha256`."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# ------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Shard:
    """A shard as it lies on disk: where each site's bytes are, and what they should hash to."""

    path: Path
    plan: str
    first: int
    count: int
    dtype: str
    shapes: dict[str, tuple[int, int, int]]
    starts: dict[str, int]
    sha256: dict[str, str]
    checked: set[str] = field(default_factory=set, compare=False)

    @staticmethod
    def open(path: Path) -> Shard:
        """Read a shard's header. Raises InputError, naming the file, if it is missing, truncated or no shard."""
        try:
            size = path.stat().st_size
            with open(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header: dict[str, Any] = parsed_json(file.read(min(length, size)))
            metadata = header.pop("__metadata__")
            kinds = {name: entry["dtype"] for name, entry in header.items()}
            dtype = next(name for name, (kind, _) in DTYPES.items() if set(kinds.values()) == {kind})
            shapes = {name: _shape(entry["shape"]) for name, entry in header.items()}
            starts, end = {}, 8 + length
            for name, entry in header.items():  # one after the other, as they are written
                if entry["data_offsets"] != [end - 8 - length, end - 8 - length + _bytes(shapes[name], dtype)]:
                    raise ValueError(name)
                starts[name], end = end, end + _bytes(shapes[name], dtype)
            first, count = int(metadata["first"]), int(metadata["count"])
            if {shape[0] for shape in shapes.values()} != {count}:
                raise ValueError("count")
            sums = {name: metadata[f"sha256:{name}"] for name in header}
            plan = metadata["plan"]
        except FileNotFoundError as error:
            raise InputError(f"The shard {path} is missing; {_AGAIN}.") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            raise InputError(f"The shard {path} is damaged (its header cannot be read); {_AGAIN}.") from error
        if size != end:
            raise InputError(f"The shard {path} has {size} bytes and should have {end}; {_AGAIN}.")
        return Shard(path, plan, first, count, dtype, shapes, starts, sums)

    def check(self, site: str, expected: str | None = None) -> None:
        """Compare a site's bytes with their checksum, once a process. Raises InputError naming the file."""
        if site in self.checked:
            return
        left = int(np.prod(self.shapes[site])) * DTYPES[self.dtype][1].itemsize
        found = hashlib.sha256()
        buffer = memoryview(bytearray(1 << 20))
        with open(self.path, "rb") as file:
            file.seek(self.starts[site])
            while left and (got := file.readinto(buffer[: min(left, len(buffer))])):
                found.update(buffer[:got])
                left -= got
        if found.hexdigest() != (expected or self.sha256[site]):
            raise InputError(f"The shard {self.path} is damaged (wrong checksum of {site}); {_AGAIN}.")
        self.checked.add(site)

    def values(self, site: str) -> np.ndarray:
        """A site's stored values, memory-mapped, [count, tokens, d] (bfloat16 as uint16). Not checked."""
        return np.memmap(
            self.path, mode="r", dtype=DTYPES[self.dtype][1], offset=self.starts[site], shape=self.shapes[site]
        )


def _shape(given: Any) -> tuple[int, int, int]:
    """[stimuli, tokens, d] of a header. Raises ValueError for anything else."""
    if not (isinstance(given, list) and len(given) == 3 and all(type(n) is int and 0 < n < 2**40 for n in given)):
        raise ValueError("shape")
    return given[0], given[1], given[2]


def _bytes(shape: tuple[int, int, int], dtype: str) -> int:
    return shape[0] * shape[1] * shape[2] * DTYPES[dtype][1].itemsize


_AGAIN = "delete the folder that holds it and capture again"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished folder. Raises InputError if it is missing, damaged, or of another version."""
    path = folder / MANIFEST
    try:
        content = parsed_json(path.read_bytes())
        told = content["sha256"]
        kind = (content["format"], content["version"])
    except FileNotFoundError as error:
        raise InputError(
            f"There are no finished activations in {folder} (no {MANIFEST}); capture them, or let the capture finish."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no manifest of activations, or is damaged; {_AGAIN}.") from error
    if kind != (FORMAT, VERSION):
        raise InputError(f"{path} is of format {kind[0]} version {kind[1]}; this version reads {FORMAT} {VERSION}.")
    if told != manifest_sha256(content):
        raise InputError(f"{path} is damaged (wrong checksum); {_AGAIN}.")
    try:
        _check_manifest(content)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged (its {error} cannot be); {_AGAIN}.") from error
    return content


def _check_manifest(content: Mapping[str, Any]) -> None:
    """Raises ValueError with what does not fit, or what reading it raises: a checksum says nothing of who wrote it."""
    ids, lengths, sites = content["ids"], content["lengths"], content["sites"]
    if not (ids and isinstance(ids, list) and all(isinstance(one, str) for one in ids) and len(set(ids)) == len(ids)):
        raise ValueError("ids")
    if content["dtype"] not in DTYPES:
        raise ValueError("dtype")
    if lengths is not None and not (len(lengths) == len(ids) and all(type(n) is int and n >= 0 for n in lengths)):
        raise ValueError("lengths")
    if not sites or not all(
        type(one[key]) is int and one[key] > 0 for one in sites.values() for key in ("stored", "width")
    ):
        raise ValueError("sites")
    first, per_shard = 0, content["shards"][0]["count"]
    for number, shard in enumerate(content["shards"]):
        if shard["file"] != f"{number:05d}.safetensors" or shard["first"] != first or type(shard["count"]) is not int:
            raise ValueError("shards")
        if (
            shard["count"] != min(per_shard, len(ids) - first)
            or shard["count"] < 1
            or set(shard["sha256"]) != set(sites)
        ):
            raise ValueError("shards")
        first += shard["count"]
    if first != len(ids):
        raise ValueError("shards")
