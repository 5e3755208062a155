"""A plugin's zip: the same bytes for the same files."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time that every file bears: that of making it would change the bytes."""


def packed(folder: Path) -> bytes:
    """The zip of a plugin's directory: NAME/models/NAME/..., one visible entry at the top as Brain-Score looks for it.

    Deterministic: files are sorted, times and permissions are fixed. Caches and hidden files stay out.
    """
    from comparisons.brainscore.rules import files_of

    name = folder.resolve().name
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in files_of(folder):
            entry = zipfile.ZipInfo(f"{name}/models/{name}/{path.relative_to(folder).as_posix()}", EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, path.read_bytes(), compresslevel=6)
    return out.getvalue()


def pack(folder: Path, out: Path | None = None, *, unchecked: bool = False) -> tuple[Path, int, str | None]:
    """Write a plugin's zip; its path, size in bytes, and where its files passed a check (`clean`, `here`, None).

    Raises InputError for a folder that is no plugin, for one that breaks a rule, and unless `unchecked` for one whose
    very files did not pass a check.
    """
    from bridge.errors import InputError
    from bridge.store import write_atomically
    from comparisons.brainscore.checking import has_passed
    from comparisons.brainscore.rules import examined

    wrong = [f"{one.name}: {one.problem}" for one in examined(folder) if one.problem is not None]
    if wrong:
        raise InputError(f"{folder} is not packed: {'; '.join(wrong)}. Mend it and run `ventral brain-score check`.")
    where = has_passed(folder)
    if where is None and not unchecked:
        raise InputError(
            f"{folder} is not packed: these very files have not passed `ventral brain-score check`; run it, or say "
            "--unchecked."
        )
    data = packed(folder)
    path = out or folder.resolve().with_suffix(".zip")
    write_atomically(path, data)
    return path, len(data), where
