"""What a store holds, to compare runs by."""

from __future__ import annotations

import hashlib
from pathlib import Path


def files(root: Path) -> dict[str, str]:
    """All files of a store's finished artefacts, by name: their sha256."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.relative_to(root).parts[0].startswith(".")
    }
