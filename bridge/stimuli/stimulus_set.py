"""An ordered table of stimuli: ids, factors, and images that are made or read only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from bridge.errors import InputError
from bridge.store import digest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class ImageSource(Protocol):
    """Where images come from. Sources are pickled to worker processes: keep them light and lazy."""

    def image(self, index: int) -> np.ndarray:
        """Image `index` as uint8 [height, width, 3], RGB. Raises InputError naming the image if unreadable."""
        ...

    def fingerprint(self) -> str:
        """A string that changes when any image would (content hashes of files; generator, parameters, version)."""
        ...


@dataclass(frozen=True)
class StimulusSet:
    """Stimuli in a fixed order.

    `table` is indexed by `stimulus_id` (unique strings), one row a stimulus, one column a factor; a language
    stimulus has a column `text`. `source` gives the images by row, and is None for a set of texts.
    `degrees` is the width of the image in degrees of visual angle, if known. `dropped` lists the stimuli that were
    left out because they could not be read, each as `id (reason)`.

    Ids are the only key by which anything is ever aligned: two things are never compared by position.
    Raises InputError for duplicate ids.
    """

    name: str
    table: pd.DataFrame
    source: ImageSource | None
    degrees: float | None = None
    dropped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.table.index.name != "stimulus_id":
            raise InputError(f"The table of stimulus set {self.name!r} has no index 'stimulus_id'; add one.")
        if not self.table.index.is_unique:
            twice = sorted(set(self.table.index[self.table.index.duplicated()]))
            raise InputError(
                f"Stimulus set {self.name!r} holds duplicate ids ({', '.join(map(repr, twice[:3]))}"
                f"{', ...' if len(twice) > 3 else ''}; {len(twice)} in all); give every stimulus an id of its own."
            )

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ids(self) -> tuple[str, ...]:
        """The stimulus ids, in order."""
        return tuple(self.table.index)

    @cached_property
    def content_hash(self) -> str:
        """A hash of ids, texts and images: what any computation on the set depends on."""
        texts = list(self.table["text"]) if "text" in self.table else None
        return digest([self.ids, texts, self.source.fingerprint() if self.source else None])

    def image(self, index: int) -> np.ndarray:
        """Image `index`, uint8 [height, width, 3]."""
        if self.source is None:
            what = "texts, not images" if "text" in self.table else "no images: what was shown is not public"
            raise InputError(f"Stimulus set {self.name!r} holds {what}.")
        return self.source.image(index)

    def select(self, rows: Sequence[int] | np.ndarray, name: str | None = None) -> StimulusSet:
        """The stimuli of `rows`, in that order; images stay lazy."""
        rows = [int(row) for row in rows]
        source = None if self.source is None else _Selected(self.source, rows)
        return StimulusSet(name or self.name, self.table.iloc[rows], source, self.degrees, self.dropped)

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """The rows at which `ids` stand, int [len(ids)]. Raises InputError if any is missing."""
        import pandas as pd

        rows = self.table.index.get_indexer(pd.Index(list(ids), dtype=object))
        if (rows < 0).any():
            missing = [i for i, row in zip(ids, rows, strict=True) if row < 0]
            raise InputError(
                f"{len(missing)} of {len(ids)} ids are not in stimulus set {self.name!r} (the first: {missing[0]!r}; "
                f"the set's first: {self.ids[0] if self.ids else 'none'!r}); give both sides the same ids."
            )
        return rows


def joined(name: str, sets: Sequence[StimulusSet]) -> StimulusSet:
    """Stimulus sets of images one after the other, with a column `stimulus_set` that says which each is of.

    `degrees` stay where all sets agree, and in a column of that name where a set states them. Raises InputError for an
    id that stands in two of them, or for a set without images.
    """
    import pandas as pd

    tables, sources = [], []
    for one in sets:
        if one.source is None:
            raise InputError(f"Stimulus set {one.name!r} holds no images, so it cannot be shown with others.")
        table = one.table.assign(stimulus_set=one.name)
        if one.degrees is not None and "degrees" not in table:
            table["degrees"] = one.degrees
        tables.append(table)
        sources.append((one.source, len(one)))
    degrees = {one.degrees for one in sets}
    return StimulusSet(
        name,
        pd.concat(tables),
        _Joined(tuple(sources)),
        next(iter(degrees)) if len(degrees) == 1 else None,
        tuple(why for one in sets for why in one.dropped),
    )


@dataclass(frozen=True)
class _Joined:
    """The images of several sources, one after the other: (source, how many)."""

    sources: tuple[tuple[ImageSource, int], ...]

    def image(self, index: int) -> np.ndarray:
        for source, n in self.sources:
            if index < n:
                return source.image(index)
            index -= n
        raise IndexError(index)

    def fingerprint(self) -> str:
        return digest([[source.fingerprint(), n] for source, n in self.sources])


@dataclass(frozen=True)
class _Selected:
    """Some rows of another source."""

    source: ImageSource
    rows: list[int]

    def image(self, index: int) -> np.ndarray:
        return self.source.image(self.rows[index])

    def fingerprint(self) -> str:
        return digest([self.source.fingerprint(), self.rows])


@dataclass(frozen=True)
class ArraySource:
    """Images held in memory: uint8 [n, height, width, 3]."""

    images: np.ndarray

    def image(self, index: int) -> np.ndarray:
        """Image `index`, uint8 [height, width, 3]."""
        return self.images[index]

    def fingerprint(self) -> str:
        """The hash of all pixels."""
        import hashlib

        import numpy as np

        return hashlib.sha256(np.ascontiguousarray(self.images).tobytes()).hexdigest() + str(self.images.shape)
