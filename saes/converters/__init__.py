"""Formats in which published dictionaries lie: SAELens's own, and those that are converted to it.

A format's file defines `FORMAT = Format(...)`; it is found because it stands in this folder. It says which files of a
folder it needs, and reads them. Nothing is unpickled: torch files are read with `weights_only=True`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache

from saes.converters.format import Format, Read

__all__ = ["Format", "Read", "all_formats", "dictionaries_in", "recognised"]


@cache
def all_formats() -> dict[str, Format]:
    """Every format that a module of this folder defines, by name, sorted."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        declared = getattr(importlib.import_module(f"{__name__}.{info.name}"), "FORMAT", None)
        if isinstance(declared, Format):
            found[declared.name] = declared
    return dict(sorted(found.items()))


def recognised(names: Sequence[str], id: str | None) -> tuple[Format, list[str]] | None:
    """The format of the dictionary `id` (a folder, a file, or None for the top) among a repository's files, and the
    files that it needs, as paths in the repository; None if there is no dictionary."""
    place = (id or "").strip("/")
    if place in names:
        folder, here = _split(place)
        candidates = [here]
    else:
        folder, start = place, f"{place}/" if place else ""
        candidates = [name.removeprefix(start) for name in names if name.startswith(start)]
    for format in all_formats().values():
        if needed := format.files([name for name in candidates if "/" not in name]):
            beside = [name for name in format.beside if f"{folder}/{name}".lstrip("/") in names]
            return format, [f"{folder}/{name}".lstrip("/") for name in dict.fromkeys([*needed, *beside])]
    return None


def dictionaries_in(names: Sequence[str]) -> list[str]:
    """The ids of a repository's dictionaries: the folders (`.` for the top) that a format recognises."""
    folders = sorted({_split(name)[0] for name in names})
    return [folder or "." for folder in folders if recognised(names, folder)]


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name
