"""Images inside zip files, read where they are: nothing is extracted to disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bridge.errors import InputError
from bridge.stimuli.base import StimulusSpec
from bridge.store import digest

if TYPE_CHECKING:
    from zipfile import ZipFile

    import numpy as np
    from numpy.typing import NDArray

    from bridge.stimuli.stimulus_set import StimulusSet

LARGEST = 64 * 2**20
"""No member larger than this, in bytes, is unpacked: what claims or turns out to be larger is taken for a bomb."""


class Zips(StimulusSpec):
    """The images of one or several zip files, each zip's in the order of its sorted names.

    Ids are `<zip's stem>/<image's stem>`. Folders, hidden files and `__MACOSX` are left out.
    """

    kind: Literal["zip"] = "zip"
    paths: tuple[Path, ...] = Field(min_length=1)
    """The zip files, in order."""
    degrees: float | None = Field(None, gt=0)
    """Width of the images in degrees of visual angle, if known."""
    unreadable: Literal["stop", "skip"] = "stop"
    """Whether images that cannot be read stop the run, or are dropped and listed."""

    def fingerprint(self) -> dict[str, Any]:
        """Stems and hashes of the zip files. Raises InputError for a missing one."""
        from bridge.stimuli.images import all_sha256

        paths = [path.expanduser() for path in self.paths]
        return {
            "kind": self.kind,
            "zips": [list(pair) for pair in zip([path.stem for path in paths], all_sha256(paths), strict=True)],
            "degrees": self.degrees,
            "unreadable": self.unreadable,
        }

    def load(self) -> StimulusSet:
        """The images, each checked once.

        Raises InputError for a missing, broken or empty zip file, a member that is too large, duplicate ids, and
        unreadable images if they are to stop the run.
        """
        import pandas as pd

        from bridge.stimuli.images import readable
        from bridge.stimuli.stimulus_set import StimulusSet

        members = [(str(path), name) for path in self.paths for name in image_names(path.expanduser())]
        stems = [(Path(path).stem, PurePosixPath(name).stem) for path, name in members]
        table = pd.DataFrame(
            {
                "stimulus_id": [f"{a}/{b}" for a, b in stems],
                "zip": [a for a, _ in stems],
                "filename": [n for _, n in members],
            }
        ).set_index("stimulus_id")
        source = ZipSource(tuple((str(Path(path).expanduser()), name) for path, name in members))
        everything = StimulusSet(self.name, table, source, self.degrees)
        rows, dropped = readable(source, everything.ids, self.unreadable, self.name)
        if not dropped:
            return everything
        kept = ZipSource(tuple(source.members[row] for row in rows))
        return StimulusSet(self.name, table.iloc[rows], kept, self.degrees, dropped=tuple(dropped))


@lru_cache(maxsize=32)
def _opened(path: str, process: int) -> ZipFile:
    """An open archive, one a process: a forked worker must not share its parent's place in the file."""
    from zipfile import ZipFile

    return ZipFile(path)


def _archive(path: str) -> ZipFile:
    from zipfile import BadZipFile

    try:
        return _opened(path, os.getpid())
    except (OSError, BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise InputError(f"The zip file {path} cannot be read ({why}); give a complete zip file.") from error


def image_names(path: Path) -> list[str]:
    """The names of the images in a zip file, sorted.

    Raises InputError if the file cannot be read, holds no images, or an image is encrypted or too large.
    """
    from bridge.stimuli.images import SUFFIXES

    names = []
    for info in _archive(str(path)).infolist():
        parts = PurePosixPath(info.filename).parts
        if info.is_dir() or "__MACOSX" in parts or any(part.startswith(".") for part in parts):
            continue
        if PurePosixPath(info.filename).suffix.lower() not in SUFFIXES:
            continue
        if info.file_size > LARGEST:
            raise InputError(
                f"The image {info.filename} in {path} unpacks to {info.file_size / 2**20:.0f} MiB, and at most "
                f"{LARGEST // 2**20} MiB are unpacked; make it smaller or remove it."
            )
        if info.flag_bits & 1:
            raise InputError(f"The image {info.filename} in {path} is encrypted; give a zip file without a password.")
        names.append(info.filename)
    if not names:
        raise InputError(f"The zip file {path} holds no images; give one that does.")
    return sorted(names)


@dataclass(frozen=True)
class ZipSource:
    """Images in zip files: `members` are (zip file, name in it) by row."""

    members: tuple[tuple[str, str], ...]

    def _data(self, index: int) -> bytes:
        from zipfile import BadZipFile
        from zlib import error as ZlibError

        path, name = self.members[index]
        try:
            with _archive(path).open(name) as file:
                data = file.read(LARGEST + 1)
        except (KeyError, BadZipFile, ZlibError, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
            raise OSError(str(error)) from error
        if len(data) > LARGEST:
            raise OSError(f"it unpacks to more than {LARGEST // 2**20} MiB")
        return data

    def image(self, index: int) -> NDArray[np.uint8]:
        """Image `index`, uint8 [height, width, 3]. Raises InputError naming the zip file and the image."""
        from bridge.stimuli.images import decode, reason

        path, name = self.members[index]
        try:
            data = self._data(index)
        except OSError as error:
            raise InputError(f"The image {name} in {path} cannot be read ({reason(error)}); replace it.") from error
        return decode(data, f"{name} in {path}")

    def problem(self, index: int) -> str | None:
        """Why the image cannot be read, or None."""
        from bridge.stimuli.images import check, reason

        try:
            return check(self._data(index))
        except OSError as error:
            return reason(error)

    def fingerprint(self) -> str:
        """A hash of the zip files' contents and of the names in them, in order."""
        from bridge.stimuli.images import all_sha256

        paths = sorted({path for path, _ in self.members})
        hashes = dict(zip(paths, all_sha256([Path(path) for path in paths]), strict=True))
        return digest([[hashes[path], name] for path, name in self.members])
