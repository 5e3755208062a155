"""Images in a folder, with or without a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bridge.errors import InputError
from bridge.stimuli.base import StimulusSpec
from bridge.store import digest

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet


class Folder(StimulusSpec):
    """All images below a folder, in natural order, or those that a table names, in its order.

    Without a table, ids are the paths relative to the folder without their extension: `faces/monkey 2`. Hidden files
    and files that are not images by their extension are left out.
    """

    kind: Literal["folder"] = "folder"
    path: Path
    """The folder."""
    table: Path | None = None
    """A csv, tsv or parquet file with columns `stimulus_id` and `filename` (relative to the folder) and any others,
    which become factors. A relative path is looked for in the folder first."""
    degrees: float | None = Field(None, gt=0)
    """Width of the images in degrees of visual angle, if known."""
    unreadable: Literal["stop", "skip"] = "stop"
    """Whether images that cannot be read stop the run, or are dropped and listed."""

    def fingerprint(self) -> dict[str, Any]:
        """Names and hashes of the images, and of the table; where the folder lies does not matter.

        Raises InputError for a missing or empty folder.
        """
        from bridge.stimuli.images import all_sha256, content_sha256
        from bridge.stimuli.tables import read_column

        root, table = self.path.expanduser(), self._table_path()
        if table is None:
            names = _image_names(root)
        else:
            _existing(root)
            names = [name for name in read_column(table, "filename") if (root / name).is_file()]
        hashes = all_sha256([root / name for name in names])
        return {
            "kind": self.kind,
            "files": digest(list(zip(names, hashes, strict=True))),
            "table": None if table is None else content_sha256(table),
            "degrees": self.degrees,
            "unreadable": self.unreadable,
        }

    def load(self) -> StimulusSet:
        """The images, each checked once.

        Raises InputError for a missing or empty folder, a malformed table, duplicate ids, and unreadable images if
        they are to stop the run.
        """
        import pandas as pd

        from bridge.stimuli.images import FileSource, readable
        from bridge.stimuli.stimulus_set import StimulusSet
        from bridge.stimuli.tables import read_table

        root, path = self.path.expanduser(), self._table_path()
        if path is None:
            names = _image_names(root)
            table = pd.DataFrame({"stimulus_id": [name.rpartition(".")[0] for name in names], "filename": names})
        else:
            _existing(root)
            table = read_table(path, ["stimulus_id", "filename"])
            if not len(table):
                raise InputError(f"The table {path} has no rows; list at least one image.")
        table = table.set_index("stimulus_id")
        source = FileSource(str(root), tuple(table["filename"]))
        everything = StimulusSet(self.name, table, source, self.degrees)
        rows, dropped = readable(source, everything.ids, self.unreadable, self.name)
        if not dropped:
            return everything
        kept = FileSource(str(root), tuple(source.paths[row] for row in rows))
        return StimulusSet(self.name, table.iloc[rows], kept, self.degrees, dropped=tuple(dropped))

    def _table_path(self) -> Path | None:
        if self.table is None:
            return None
        inside = self.path.expanduser() / self.table
        return inside if inside.is_file() else self.table.expanduser()


def _existing(root: Path) -> None:
    if not root.is_dir():
        raise InputError(f"There is no folder {root}; give one that holds the images.")


def _image_names(root: Path) -> list[str]:
    """The images below a folder, relative to it, in natural order. Raises InputError if there are none."""
    from bridge.stimuli.images import SUFFIXES, natural

    _existing(root)
    found = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    names = sorted((p.as_posix() for p in found if not any(part.startswith(".") for part in p.parts)), key=natural)
    if not names:
        endings = ", ".join(sorted(SUFFIXES))
        raise InputError(f"The folder {root} holds no images; put some there, ending in one of {endings}.")
    return names
