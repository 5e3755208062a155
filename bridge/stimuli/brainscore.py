"""Brain-Score's stimulus sets, in and out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bridge.errors import ConfigError, UnreachableError, did_you_mean
from bridge.stimuli.base import StimulusSpec

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet


class BrainScoreStimuli(StimulusSpec):
    """A stimulus set that `brainscore_vision.load_stimulus_set` knows; it is fetched where it is not cached."""

    kind: Literal["brainscore"] = "brainscore"
    identifier: str
    """Brain-Score's name, e.g. `hvm-public` or `FreemanZiemba2013.aperture-public`."""
    unreadable: Literal["stop", "skip"] = "stop"
    """Whether images that cannot be read stop the run, or are dropped and listed."""

    def fingerprint(self) -> dict[str, Any]:
        """The identifier and Brain-Score's version, which declares the hash of the images. Nothing is fetched."""
        from importlib.metadata import version

        return {**super().fingerprint(), "brainscore_vision": version("brainscore-vision")}

    def load(self) -> StimulusSet:
        """The stimuli, each image checked once.

        Raises ConfigError for an unknown identifier, UnreachableError when they have to be fetched and cannot be.
        """
        # Unless told otherwise, Brain-Score installs each plugin's requirements into the running environment.
        os.environ["BS_INSTALL_DEPENDENCIES"] = "no"
        from brainscore_vision import load_stimulus_set

        known = identifiers()
        if self.identifier not in known:
            raise ConfigError(
                f"Brain-Score has no stimulus set {self.identifier!r}; {did_you_mean(self.identifier, known)}."
            )
        try:
            found = load_stimulus_set(self.identifier)
        except Exception as error:
            why = " ".join(str(error).split())[:150]
            raise UnreachableError(
                f"Brain-Score's stimulus set {self.identifier!r} cannot be fetched ({type(error).__name__}: {why}); "
                "connect to the network, or name in BRAINIO_HOME a folder where it was fetched before."
            ) from error
        return from_brainscore(found, self.name, self.unreadable)


def identifiers() -> list[str]:
    """The stimulus sets that the installed Brain-Score registers, sorted; read from its source, as it does itself."""
    import re
    from importlib.util import find_spec

    spec = find_spec("brainscore_vision")
    assert spec is not None
    assert spec.origin is not None
    found: set[str] = set()
    for file in Path(spec.origin).parent.glob("data/*/__init__.py"):
        text = file.read_text(encoding="utf-8")
        found.update(re.findall(r"""stimulus_set_registry\[['"]([^'"]+)['"]\]""", text))
    return sorted(found)


def from_brainscore(
    stimulus_set: Any, name: str | None = None, unreadable: Literal["stop", "skip"] = "stop"
) -> StimulusSet:
    """A Brain-Score StimulusSet (a pandas DataFrame with `stimulus_paths`) as a StimulusSet, in its order.

    All columns become factors. `degrees` is taken from a constant column of that name. Raises InputError for
    duplicate ids and for unreadable images, as `unreadable` says.
    """
    import pandas as pd

    from bridge.stimuli.images import FileSource, readable
    from bridge.stimuli.stimulus_set import StimulusSet

    title = name or str(getattr(stimulus_set, "identifier", "brainscore"))
    original = list(stimulus_set["stimulus_id"])
    paths = tuple(str(stimulus_set.stimulus_paths[i]) for i in original)
    table = pd.DataFrame({column: stimulus_set[column].to_numpy() for column in stimulus_set.columns})
    table["stimulus_id"] = pd.Series([str(i) for i in original], dtype=object)
    table = table.set_index("stimulus_id")
    degrees = table["degrees"].iloc[0] if "degrees" in table and table["degrees"].nunique() == 1 else None
    everything = StimulusSet(title, table, FileSource("", paths), None if degrees is None else float(degrees))
    rows, dropped = readable(FileSource("", paths), everything.ids, unreadable, title)
    if not dropped:
        return everything
    kept = FileSource("", tuple(paths[row] for row in rows))
    return StimulusSet(title, table.iloc[rows], kept, everything.degrees, dropped=tuple(dropped))


def to_brainscore(stimuli: StimulusSet, folder: Path) -> Any:
    """A StimulusSet of images as Brain-Score's, with `identifier` the set's name.

    Brain-Score wants files, so the images are written to `folder` as PNG, named by their row (ids may hold slashes);
    a column `filename` says which. Factors stay columns. Raises StorageError when the folder cannot be written.
    """
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet as BrainScoreSet
    from PIL import Image

    from bridge.store import cannot_write

    table = stimuli.table.reset_index()
    table["filename"] = [f"{row:06d}.png" for row in range(len(stimuli))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for row, filename in enumerate(table["filename"]):
            Image.fromarray(stimuli.image(row)).save(folder / filename)
    except OSError as error:
        raise cannot_write(folder, error) from error
    if stimuli.degrees is not None:
        table["degrees"] = stimuli.degrees
    converted = BrainScoreSet(table)
    converted.stimulus_paths = {i: folder / f for i, f in zip(table["stimulus_id"], table["filename"], strict=True)}
    converted.identifier = stimuli.name
    return converted
