"""Which images of THINGS were shown: `things_imgs.mat`, and the files in a user's folder of THINGS.

A copy of `things_imgs.mat` comes with Brain-Score's wheel, so it need not be fetched.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from bridge.errors import ConfigError, InputError

Split = Literal["test", "train"]
ENVIRONMENT = "VENTRAL_THINGS"
INSIDE = ("", "object_images", "images", "THINGS/Images")
"""Where the folders of objects lie inside a folder of THINGS, in the order in which they are looked for."""


def list_file(folder: Path | None = None) -> Path:
    """`things_imgs.mat`: that of a folder of TVSD (of either monkey; they are the same), else Brain-Score's copy."""
    if folder is not None:
        for monkey in ("monkeyF", "monkeyN"):
            path = folder.expanduser() / monkey / "_logs" / "things_imgs.mat"
            if path.is_file():
                return path
    spec = find_spec("brainscore_vision")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / "papale2025" / "data_packaging" / "things_imgs.mat"


def shown(path: Path, split: Split) -> tuple[str, ...]:
    """The images of a split in the order of the responses, as paths inside THINGS: `aardvark/aardvark_01b.jpg`.

    Raises InputError for a file that is none.
    """
    return _shown(path, split, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=8)
def _shown(path: Path, split: Split, _modified: int) -> tuple[str, ...]:
    import h5py

    try:
        with h5py.File(path) as file:
            # The group of references holds tens of thousands of entries: each is followed, the group never listed.
            found = file[f"{split}_imgs/things_path"][:].ravel()
            return tuple(file[one][:].tobytes().decode("utf-16-le").replace("\\", "/") for one in found)
    except (OSError, KeyError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())[:150]
        raise InputError(f"{path} is no list of the images of TVSD ({why}); give things_imgs.mat.") from error


def ids_of(paths: tuple[str, ...]) -> tuple[str, ...]:
    """The stimulus ids: names of files without their ending, which are unique in THINGS and Brain-Score's ids too."""
    return tuple(Path(path).stem for path in paths)


def things_folder(given: Path | None, first: str) -> Path:
    """The folder that holds the folders of objects, found by the image `first`.

    Raises ConfigError where none is named, InputError where the image is not in it.
    """
    named = given or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if named is None:
        raise ConfigError(
            "TVSD shows images of THINGS, which are a download of their own with terms of their own "
            f"(things-initiative.org); name their folder by `things`, or in {ENVIRONMENT}."
        )
    for inside in INSIDE:
        if (found := named.expanduser() / inside / first).is_file():
            return Path(str(found)[: -len(first) - 1])
    raise InputError(
        f"The folder {named} does not hold the image {first} of THINGS; name the folder whose folders are objects, "
        f"such as aardvark, by `things` or in {ENVIRONMENT}."
    )
