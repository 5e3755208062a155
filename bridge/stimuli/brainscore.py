"""Brain-Score's stimulus sets, in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from bridge.brainscore import check_reachable, check_registered, load_registered, not_kept, registered
from bridge.stimuli.base import StimulusSpec
from bridge.stimuli.stimulus_set import joined

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet


class BrainScoreStimuli(StimulusSpec):
    """Stimulus sets that `brainscore_vision.load_stimulus_set` knows; they are fetched where they are not cached.

    Several are shown one after the other, so that one run can compare with recordings of different images.
    """

    kind: Literal["brainscore"] = "brainscore"
    identifier: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """Brain-Score's name, e.g. `hvm-public` or `FreemanZiemba2013.aperture-public`; or a list of names."""
    unreadable: Literal["stop", "skip"] = "stop"
    """Whether images that cannot be read stop the run, or are dropped and listed."""

    @property
    def identifiers(self) -> tuple[str, ...]:
        """The sets, in order."""
        return (self.identifier,) if isinstance(self.identifier, str) else self.identifier

    def fingerprint(self) -> dict[str, Any]:
        """The identifiers and Brain-Score's version, which declares the hash of the images. Nothing is fetched."""
        from importlib.metadata import version

        return {**super().fingerprint(), "brainscore_vision": version("brainscore-vision")}

    def here(self) -> bool:
        """Whether Brain-Score's client has fetched all of them before."""
        return not not_kept(self.identifiers)

    def check_reachable(self) -> None:
        """Raise UnreachableError unless the images are here or Brain-Score's storage answers."""
        for name in self.identifiers:
            check_registered("stimulus_set", name)
        check_reachable(list(self.identifiers))

    def load(self) -> StimulusSet:
        """The stimuli, each image checked once.

        Raises ConfigError for an unknown identifier, UnreachableError when they have to be fetched and cannot be,
        InputError for an id that stands in two of the sets.
        """
        for name in self.identifiers:
            check_registered("stimulus_set", name)
        found = [load_registered("stimulus_set", name) for name in self.identifiers]
        if len(found) == 1:
            return from_brainscore(found[0], self.name, self.unreadable)
        named = zip(found, self.identifiers, strict=True)
        return joined(self.name, [from_brainscore(one, name, self.unreadable) for one, name in named])


def identifiers() -> list[str]:
    """The stimulus sets that the installed Brain-Score registers, sorted."""
    return list(registered("stimulus_set"))


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
