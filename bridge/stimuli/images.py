"""Images from files: one rule for every pixel format, content hashes, and a check of all images before any is used.

The rule: the first frame, turned as its EXIF orientation says, as 8-bit RGB. Grey is repeated in three channels;
16-bit grey is divided by 257; palettes are looked up; transparency is laid over mid-grey (128); CMYK, YCbCr and LAB
are converted by Pillow's formulas, colour profiles are ignored. Floating-point and 32-bit images are refused: what
their values mean is not written in them.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bridge.errors import InputError
from bridge.store import digest, file_sha256

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image as PIL

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"}
)
Unreadable = Literal["stop", "skip"]


def natural(text: str) -> list[tuple[int, int | str]]:
    """A sorting key by which `image2` comes before `image10`."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text) if part]


def to_rgb(image: PIL.Image) -> NDArray[np.uint8]:
    """A Pillow image as uint8 [height, width, 3], by the rule at the head of this file.

    Raises ValueError for a format that the rule refuses, and whatever Pillow raises for a broken file.
    """
    import numpy as np
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image, dtype=np.float32) / 257 + 0.5).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are {'32-bit integers' if image.mode == 'I' else 'floating-point numbers'}")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        over = Image.new("RGBA", image.size, (128, 128, 128, 255))
        image = Image.alpha_composite(over, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def decode(data: bytes | str | Path, name: str) -> NDArray[np.uint8]:
    """An encoded image, or the image file at a path, as uint8 [height, width, 3].

    Raises InputError, naming the image as `name`, if it is missing, truncated or no image, or of a refused format.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            return to_rgb(image)
    except _broken() as error:
        raise InputError(f"The image {name} cannot be read ({reason(error)}); replace or remove it.") from error


def check(data: bytes | str | Path) -> str | None:
    """Why an image cannot be read, or None if it can. JPEG files are read whole but decoded at an eighth."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            if image.mode in ("I", "F"):
                to_rgb(image)
            image.draft(None, (1, 1))
            image.load()
    except _broken() as error:
        return reason(error)
    return None


def _broken() -> tuple[type[Exception], ...]:
    from PIL import Image

    return OSError, ValueError, SyntaxError, EOFError, IndexError, Image.DecompressionBombError


def reason(error: Exception) -> str:
    """What went wrong with an image, in a few words and without its address."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image in a known format"
    text = str(getattr(error, "strerror", None) or error)
    return re.sub(r"\s+", " ", text).strip(". ")[:120] or type(error).__name__


def content_sha256(path: Path) -> str:
    """The sha256 of a file; remembered within the process for as long as its size and modification time stay.

    Raises InputError if the file is missing, or no file.
    """
    try:
        stat = path.stat()
        return _sha256(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise InputError(f"The file {path} cannot be read ({reason(error)}); give one that exists.") from error


@lru_cache(maxsize=1 << 20)
def _sha256(path: Path, size: int, modified: int) -> str:
    return file_sha256(path)


def all_sha256(paths: Sequence[Path]) -> list[str]:
    """The sha256 of every file, in order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(content_sha256, paths))


class CheckedSource(Protocol):
    """A source that can say cheaply whether an image is readable."""

    def image(self, index: int) -> NDArray[Any]:
        """See `ImageSource`."""
        ...

    def problem(self, index: int) -> str | None:
        """Why image `index` cannot be read, or None."""
        ...


def readable(
    source: CheckedSource, ids: Sequence[str], unreadable: Unreadable, name: str
) -> tuple[list[int], list[str]]:
    """The rows that can be read, and the ids that were dropped, each with its reason: `id (reason)`.

    Raises InputError, naming and counting the unreadable images, if there are any and `unreadable` is `stop`, or if
    there is nothing else.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = list(pool.map(source.problem, range(len(ids))))
    dropped = [f"{i} ({problem})" for i, problem in zip(ids, problems, strict=True) if problem]
    if dropped and (unreadable == "stop" or len(dropped) == len(ids)):
        shown = ", ".join(dropped[:5]) + (", ..." if len(dropped) > 5 else "")
        remedy = "replace or remove them" + (", or set `unreadable: skip`" if len(dropped) < len(ids) else "")
        raise InputError(f"{len(dropped)} of {len(ids)} images of {name!r} cannot be read: {shown}; {remedy}.")
    return [row for row, problem in enumerate(problems) if not problem], dropped


@dataclass(frozen=True)
class FileSource:
    """Images in files: `paths` below `root`."""

    root: str
    paths: tuple[str, ...]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Image `index`, uint8 [height, width, 3]. Raises InputError naming the file."""
        path = os.path.join(self.root, self.paths[index])
        return decode(path, path)

    def problem(self, index: int) -> str | None:
        """Why the file cannot be read, or None."""
        return check(os.path.join(self.root, self.paths[index]))

    def fingerprint(self) -> str:
        """A hash of the files' contents, in order."""
        return digest(all_sha256([Path(self.root, path) for path in self.paths]))
