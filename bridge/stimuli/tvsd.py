"""The images of THINGS that were shown in TVSD, from a user's folder of THINGS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bridge.stimuli.base import StimulusSpec

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet

DEGREES = 18.0
"""Width of the images in degrees, as Brain-Score's benchmark of these recordings has it."""


class TVSDStimuli(StimulusSpec):
    """Images of THINGS, in the order in which TVSD lists them; ids are the names of their files (`aardvark_01b`).

    THINGS is a download of its own with its own terms: name its folder by `things` or in VENTRAL_THINGS.
    """

    kind: Literal["tvsd"] = "tvsd"
    name: str = "THINGS"
    """The name under which the stimuli appear in results and figures."""
    things: Path | None = None
    """The folder of THINGS whose folders are objects (or one above it); by default that in VENTRAL_THINGS."""
    split: Literal["test", "train"] = "test"
    """`test`: 100 images, shown 30 times; `train`: 22,248 images, shown once."""
    limit: int | None = Field(None, ge=1)
    """Only so many images, evenly spaced over the list, and so over objects."""
    images: Path | None = None
    """A `things_imgs.mat`; by default the copy that Brain-Score brings."""
    unreadable: Literal["stop", "skip"] = "stop"
    """Whether images that cannot be read stop the run, or are dropped and listed."""

    def paths(self) -> tuple[str, ...]:
        """The images inside THINGS, in order."""
        import math

        from bridge.data.tvsd.images import list_file, shown

        found = shown(self.images.expanduser() if self.images else list_file(), self.split)
        if self.limit is None or self.limit >= len(found):
            return found
        return tuple(found[math.floor(k * len(found) / self.limit)] for k in range(self.limit))

    def datasets(self) -> tuple[str, ...]:
        """This one."""
        return ("tvsd",)

    def fingerprint(self) -> dict[str, Any]:
        """Which images, and the hashes of their files; where the folder lies does not matter.

        Raises ConfigError where no folder is named, InputError where an image is not in it.
        """
        from bridge.stimuli.images import all_sha256
        from bridge.store import digest

        root, paths = self._found()
        hashes = all_sha256([root / path for path in paths])
        content = {key: value for key, value in super().fingerprint().items() if key not in ("things", "images")}
        return {**content, "files": digest(list(zip(paths, hashes, strict=True)))}

    def load(self) -> StimulusSet:
        """The images, each checked once, with a column `object_name`.

        Raises ConfigError where no folder is named, InputError for missing images, and for unreadable ones if they
        are to stop the run.
        """
        import pandas as pd

        from bridge.data.tvsd.images import ids_of
        from bridge.stimuli.images import FileSource, readable
        from bridge.stimuli.stimulus_set import StimulusSet

        root, paths = self._found()
        table = pd.DataFrame(
            {"object_name": [path.rpartition("/")[0] for path in paths], "filename": list(paths)},
            index=pd.Index(ids_of(paths), name="stimulus_id", dtype=object),
        )
        source = FileSource(str(root), paths)
        rows, dropped = readable(source, ids_of(paths), self.unreadable, self.name)
        kept = FileSource(str(root), tuple(paths[row] for row in rows))
        return StimulusSet(self.name, table.iloc[rows], kept, DEGREES, tuple(dropped))

    def _found(self) -> tuple[Path, tuple[str, ...]]:
        from bridge.data.tvsd.images import things_folder

        paths = self.paths()
        return things_folder(self.things, paths[0]), paths
