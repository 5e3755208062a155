"""What a format of published dictionaries states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bridge.errors import InputError
from saes.sae import SparseAutoencoder

Statistics = Literal["mean_norm", "per_dimension"]
"""How inputs were scaled in training by statistics of the data: (x - mean) / (mean norm of x - mean / sqrt d), or
(x - mean) / (deviation of each dimension)."""


@dataclass(frozen=True)
class Read:
    """A dictionary as its file has it. `scaling` is set where the inputs may have been scaled in training by
    statistics that the file does not hold."""

    sae: SparseAutoencoder
    scaling: Statistics | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    """sha256 of files that were held against it while they were read."""


@dataclass(frozen=True)
class Format:
    """A format of published dictionaries."""

    name: str
    files: Callable[[Sequence[str]], list[str]]
    """Of the names of a folder's files, those that a dictionary of this format needs; empty if it is of another."""
    read: Callable[[Path, Sequence[str]], Read]
    """The dictionary from these files of a folder. Raises InputError for what is damaged or cannot be applied."""
    beside: tuple[str, ...] = ()
    """Files that are read too if a single file was named and they stand beside it."""


def stated(table: Mapping[str, Any], name: str, where: object) -> int:
    """A positive whole number of a configuration. Raises InputError, naming `where`, if it states none."""
    value = table.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{where} states {name} = {value!r}; expected a positive whole number.")
    return value
