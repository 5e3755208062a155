"""Stimuli from Hugging Face `datasets`: a local folder or file, or the hub at a pinned revision."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from bridge.errors import ConfigError, InputError, UnreachableError, did_you_mean
from bridge.stimuli.base import StimulusSpec
from bridge.store import Store, digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bridge.stimuli.stimulus_set import StimulusSet


class HuggingFace(StimulusSpec):
    """Rows of a `datasets` data set: an image column, a text column, or both.

    Columns of plain values (numbers, strings, class labels by name) become factors.
    """

    kind: Literal["hf-dataset"] = "hf-dataset"
    path: str
    """A parquet, csv or json file, a folder (of images, of such files, or by `save_to_disk`), or a name on the hub."""
    split: str = "train"
    """The split, without slicing; take the first rows by `limit`."""
    subset: str | None = None
    """The hub's name for a configuration of the data set."""
    revision: str | None = None
    """The commit of the hub's repository, 40 hexadecimal digits; required for the hub."""
    image: str | None = None
    """The column of images."""
    text: str | None = None
    """The column of texts."""
    id: str | None = None
    """The column of ids. Without it, ids are the split and the row: `train-000012`."""
    streaming: bool = False
    """Fetch only the rows asked for; needs a `limit`. The images are kept, still encoded, in the cache."""
    limit: int | None = Field(None, ge=1)
    """At most so many rows, from the first."""
    degrees: float | None = Field(None, gt=0)
    """Width of the images in degrees of visual angle, if known."""
    unreadable: Literal["stop", "skip"] = "stop"
    """Whether images that cannot be read stop the run, or are dropped and listed."""

    @model_validator(mode="after")
    def _complete(self) -> HuggingFace:
        if self.image is None and self.text is None:
            raise ValueError("stimuli of kind 'hf-dataset' need `image` or `text`; name the column to use")
        if self.streaming and self.limit is None:
            raise ValueError("`streaming` without `limit` would fetch the whole data set; state a limit")
        return self

    @property
    def local(self) -> Path | None:
        """The local file or folder, or None for a name on the hub.

        Raises InputError for a path that does not exist, ConfigError for the hub without a pinned commit.
        """
        path = Path(self.path).expanduser()
        if path.exists():
            return path
        if self.path.startswith(("/", ".", "~")) or self.path.count("/") > 1 or path.suffix:
            raise InputError(f"There is no file or folder {path}; give one that exists, or a name on the hub.")
        if not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            given = "no revision" if self.revision is None else f"the revision {self.revision!r}"
            raise ConfigError(
                f"The hub's data set {self.path!r} has {given}, which does not pin its content; set `revision` to a "
                "commit (40 hexadecimal digits, from the data set's history on the hub)."
            )
        return None

    def fingerprint(self) -> dict[str, Any]:
        """The rows asked for, and the hashes of the local files or the pinned commit. Nothing is fetched."""
        content = super().fingerprint()
        if (path := self.local) is None:
            return content
        from bridge.stimuli.images import all_sha256

        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        names = [file.relative_to(path).as_posix() for file in files]
        del content["path"], content["revision"]
        return {**content, "files": digest(list(zip(names, all_sha256(files), strict=True)))}

    def here(self) -> bool:
        """Whether the path is one of this machine; what the hub's client may have kept is not looked at."""
        return self.local is not None

    def load(self) -> StimulusSet:
        """The rows, each image checked once.

        Raises ConfigError for an unknown split or column or an unpinned revision, InputError for broken files,
        UnreachableError when the hub is needed and cannot be reached.
        """
        import pandas as pd

        from bridge.stimuli.images import readable
        from bridge.stimuli.stimulus_set import StimulusSet

        key = digest(self.fingerprint())
        rows = self._rows()
        columns = list(rows.column_names or [])
        for column in (self.image, self.text, self.id):
            if column is not None and column not in columns:
                raise ConfigError(
                    f"The data set {self.path} has no column {column!r}; {did_you_mean(column, columns)}."
                )
        source: _RowSource | PackedSource | None = None
        if self.image is None:
            table = pd.DataFrame(self._factors(rows, columns))
        elif self.streaming:
            folder = Store().obtain(
                "stimuli-stream", self.fingerprint(), lambda folder: self._pack(rows, columns, folder)
            )
            source = PackedSource(str(folder), key)
            table = pd.DataFrame(json.loads((folder / "rows.json").read_text()))
        else:
            from datasets import Image

            images = rows.select_columns([self.image]).cast_column(self.image, Image(decode=False))
            source = _RowSource(images, self.image, key)
            table = pd.DataFrame(self._factors(rows.remove_columns([self.image]), columns))
        if not len(table):
            raise InputError(f"The split {self.split!r} of {self.path} has no rows; choose another.")
        if self.text is not None:
            table = table.rename(columns={self.text: "text"})
        width = 6
        ids = table[self.id].astype(str) if self.id else [f"{self.split}-{row:0{width}d}" for row in range(len(table))]
        table.index = pd.Index(ids, dtype=object, name="stimulus_id")
        everything = StimulusSet(self.name, table, source, self.degrees)
        if source is None:
            return everything
        kept, dropped = readable(source, everything.ids, self.unreadable, self.name)
        if not dropped:
            return everything
        part = everything.select(kept)
        return StimulusSet(self.name, part.table, part.source, self.degrees, dropped=tuple(dropped))

    def _rows(self) -> Any:
        """The rows as a `datasets` object: map-style, or iterable when streaming."""
        import datasets

        path = self.local
        try:
            if path is not None and path.is_dir() and _saved_to_disk(path):
                rows = datasets.load_from_disk(str(path))
                if isinstance(rows, datasets.DatasetDict):
                    if self.split not in rows:
                        raise ConfigError(f"{path} has no split {self.split!r}; {did_you_mean(self.split, rows)}.")
                    rows = rows[self.split]
                rows = rows.to_iterable_dataset() if self.streaming else rows
            elif path is not None and path.is_file():
                builder = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json"}.get(path.suffix)
                if builder is None:
                    raise InputError(
                        f"The file {path} is no parquet, csv or json file; give one of these, or a folder."
                    )
                rows = datasets.load_dataset(
                    builder, data_files={self.split: str(path)}, split=self.split, streaming=self.streaming
                )
            else:
                rows = datasets.load_dataset(
                    str(path or self.path),
                    self.subset,
                    split=self.split,
                    revision=None if path else self.revision,
                    streaming=self.streaming,
                )
        except (ConfigError, InputError):
            raise
        except Exception as error:
            raise self._translated(error) from error
        if self.limit is None:
            return rows
        return rows.take(self.limit) if self.streaming else rows.select(range(min(self.limit, len(rows))))

    def _translated(self, error: Exception) -> Exception:
        """A failure of `datasets` in one sentence; what is not understood is passed on as InputError with its text."""
        text = " ".join(str(error).split())[:200]
        if isinstance(error, ValueError) and "split" in text.lower():
            return ConfigError(f"The data set {self.path} has no split {self.split!r} ({text}); choose one of its own.")
        network = (
            "ConnectionError",
            "OfflineModeIsEnabled",
            "LocalEntryNotFoundError",
            "ConnectTimeout",
            "ReadTimeout",
        )
        if self.local is None and any(type(e).__name__ in network for e in (error, error.__cause__, error.__context__)):
            return UnreachableError(
                f"The data set {self.path!r} cannot be fetched from the hub ({text}); connect to the network, or "
                "download it and give its folder as `path`."
            )
        return InputError(f"The data set {self.path} cannot be read ({type(error).__name__}: {text}); check its files.")

    def _factors(self, rows: Any, columns: list[str]) -> dict[str, list[Any]]:
        """The columns of plain values, class labels by name."""
        from datasets import ClassLabel, Value

        features = rows.features or {}
        plain = [c for c in columns if isinstance(features.get(c), Value | ClassLabel)]
        values: dict[str, list[Any]] = {column: list(rows[column]) for column in plain}
        for column in plain:
            if isinstance(features[column], ClassLabel):
                names = features[column].names
                values[column] = [None if v is None or v < 0 else names[v] for v in values[column]]
        return values

    def _pack(self, rows: Any, columns: list[str], folder: Path) -> None:
        """Write the encoded images of a stream one after the other, with their ends and the plain columns."""
        from datasets import ClassLabel, Image

        assert self.image is not None
        features = rows.features or {}
        labels = {c: f.names for c, f in features.items() if isinstance(f, ClassLabel)}
        ends, factors = [0], []
        try:
            with open(folder / "images.bin", "wb") as file:
                for row in rows.cast_column(self.image, Image(decode=False)):
                    data = _encoded(row.pop(self.image))
                    file.write(data)
                    ends.append(ends[-1] + len(data))
                    plain = {c: v for c, v in row.items() if v is None or isinstance(v, str | int | float | bool)}
                    factors.append({c: labels[c][v] if c in labels and v is not None else v for c, v in plain.items()})
        except OSError as error:
            if error.errno is not None and type(error) is OSError:
                raise
            raise self._translated(error) from error
        (folder / "rows.json").write_text(json.dumps(factors))
        (folder / "ends.json").write_text(json.dumps(ends))


def _saved_to_disk(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _encoded(value: dict[str, Any] | None) -> bytes:
    """The bytes of an undecoded image; nothing for a missing one, which the check of all images then names."""
    if value is None:
        return b""
    if value.get("bytes") is not None:
        return bytes(value["bytes"])
    try:
        return Path(value["path"]).read_bytes()
    except (OSError, TypeError):
        return b""


@dataclass(frozen=True)
class _RowSource:
    """Images in a map-style data set; pickled, it is a reference to memory-mapped files."""

    rows: Any
    column: str
    key: str

    def image(self, index: int) -> NDArray[np.uint8]:
        """Image `index`, uint8 [height, width, 3]."""
        from bridge.stimuli.images import decode

        return decode(_encoded(self.rows[index][self.column]), f"in row {index}")

    def problem(self, index: int) -> str | None:
        """Why the image cannot be read, or None."""
        from bridge.stimuli.images import check

        return check(_encoded(self.rows[index][self.column]))

    def fingerprint(self) -> str:
        """The fingerprint of the spec that it was loaded by."""
        return self.key


@dataclass(frozen=True)
class PackedSource:
    """Encoded images, one after the other in one file of a folder."""

    folder: str
    key: str

    def _data(self, index: int) -> bytes:
        start, end = _ends(self.folder)[index : index + 2]
        with open(Path(self.folder, "images.bin"), "rb") as file:
            file.seek(start)
            return file.read(end - start)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Image `index`, uint8 [height, width, 3]."""
        from bridge.stimuli.images import decode

        return decode(self._data(index), f"in row {index}")

    def problem(self, index: int) -> str | None:
        """Why the image cannot be read, or None."""
        from bridge.stimuli.images import check

        return check(self._data(index))

    def fingerprint(self) -> str:
        """The fingerprint of the spec that it was loaded by."""
        return self.key


@lru_cache(maxsize=8)
def _ends(folder: str) -> list[int]:
    ends: list[int] = json.loads(Path(folder, "ends.json").read_text())
    return ends
