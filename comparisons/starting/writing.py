"""The files of a new study."""

from __future__ import annotations

import os
from pathlib import Path

from bridge.errors import InputError, StorageError
from bridge.store import write_together

FILES = Path(__file__).parent / "files"


def start(folder: Path) -> list[str]:
    """Write a new study into `folder`; the names of the files written.

    Raises InputError where one of them is there already: nothing is overwritten, and then nothing is written.
    """
    sources = {str(path.relative_to(FILES)): path for path in sorted(FILES.rglob("*")) if path.is_file()}
    sources = {name: path for name, path in sources.items() if "__pycache__" not in name}
    # os.path.exists: false also for a name that no file can have, which making the folder then says.
    if there := [name for name in sources if os.path.exists(folder / name)]:
        raise InputError(
            f"{folder} holds {there[0]} already, and a study is not written over another; name a new folder, or look "
            "at this one with --check."
        )
    for name in sources:
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{folder} cannot be made ({error.strerror}); name a folder that you can write."
            ) from error
    write_together({folder / name: path.read_bytes() for name, path in sources.items()})
    return list(sources)
