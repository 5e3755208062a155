"""A release on disk: its dictionaries by id, their pages, and apart from them those that are below its gates.

FOLDER/README.md            the page of all
FOLDER/ID/                  cfg.json, sae_weights.safetensors, quality.json, README.md
FOLDER-below-gates/ID/      those that are not published, where `ventral sae push FOLDER` does not find them
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.errors import InputError
from bridge.store import copy_folder, file_sha256, write_atomically
from comparisons.releasing.judging import shortcomings
from comparisons.releasing.passes import Wanted
from comparisons.releasing.spec import Release


@dataclass(frozen=True)
class Judged:
    """A dictionary of a release, where it lies, and which gates it does not pass."""

    wanted: Wanted
    folder: Path
    measured: Mapping[str, Any] | None
    short: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """What a script wants to know of it."""
        measured = self.measured or {}
        return {
            "id": self.wanted.id,
            "model": self.wanted.model,
            "site": self.wanted.site.name,
            "d_in": self.wanted.site.width,
            "latents": self.wanted.latents,
            "k": self.wanted.k,
            "explained_variance": None if measured.get("fvu") is None else 1 - measured["fvu"],
            "l0": measured.get("l0"),
            "dead": measured.get("dead"),
            "tokens": measured.get("tokens"),
            "published": not self.short,
            "below": list(self.short),
            "folder": str(self.folder),
        }


def below(folder: Path) -> Path:
    """Where those dictionaries lie that are below the gates."""
    return folder.with_name(f"{folder.name}-below-gates")


def found(folder: Path, one: Wanted) -> Path | None:
    """Where this very dictionary lies, whole, from an earlier release into the folder; None where it does not."""
    from saes.checkpoints import CFG, WEIGHTS, read_json

    for place in (folder / one.id, below(folder) / one.id):
        if not one.recipe or not (place / CFG).is_file():
            continue
        with suppress(InputError, OSError, AttributeError):  # damaged: it is made again
            cfg = read_json(place / CFG, "it is there")
            stated = cfg["metadata"].get("release", {}).get("recipe"), cfg.get("sha256", {}).get(WEIGHTS)
            if stated == (one.recipe, file_sha256(place / WEIGHTS)):
                return place
    return None


def put(folder: Path, one: Wanted, made: Path, release: Release, name: str) -> None:
    """Copy a dictionary from where it was made into the release, with what it was released as in its cfg.json.

    Raises StorageError where the folder cannot be written; an older one then still stands.
    """
    from saes.checkpoints import CFG, read_json

    copy_folder(made, folder / one.id)
    cfg = read_json(folder / one.id / CFG, "it was just written")
    cfg["metadata"]["release"] = {"name": name, "recipe": one.recipe}
    write_atomically(folder / one.id / CFG, json.dumps(cfg, indent=1))


def judged(folder: Path, chosen: Sequence[Wanted], release: Release) -> list[Judged]:
    """Every dictionary with what was measured of it; each is moved to where it belongs by the gates as they are now,
    and states the licence that it is published under.

    Raises StorageError where it cannot be moved, InputError for one that is missing.
    """
    from saes.checkpoints import CFG, read_json

    told = []
    for one in chosen:
        place = found(folder, one) or folder / one.id
        cfg = read_json(place / CFG, "a release has it; release it again")
        measured = cfg["metadata"].get("metrics")
        short = tuple(shortcomings(measured, release.gates))
        target = (below(folder) if short else folder) / one.id
        if target != place:
            copy_folder(place, target)
            shutil.rmtree(place, ignore_errors=True)
            with suppress(OSError):
                place.parent.rmdir()  # of a site that has no other
        if cfg["metadata"].get("licence") != release.licence:
            cfg["metadata"]["licence"] = release.licence
            write_atomically(target / CFG, json.dumps(cfg, indent=1))
        told.append(Judged(one, target, measured, short))
    return told
