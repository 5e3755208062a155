"""A public data set: which files it has, where they come from, and how they are read."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.data.fetching import check_address, data_cache, fetch_file, is_verified
from bridge.errors import ConfigError, InputError, UnreachableError, did_you_mean

if TYPE_CHECKING:
    from bridge.recordings.recordings import Recordings, RegionRDMs
    from bridge.stimuli.stimulus_set import StimulusSet

Reader = Callable[..., Any]


@dataclass(frozen=True)
class DataFile:
    """One file of a data set: `key` is its short name, `path` its place inside a data folder.

    `address` is None for a file that is not public in this form and can only be found locally. `sha256` is None where
    nobody has declared it: what was read is then recorded by the hash of the file that was found (`identity`).
    A file `by_hand` is too large to be fetched without being asked: the user lays it down.
    """

    key: str
    path: str
    sha256: str | None
    address: str | None
    by_hand: bool = False


@dataclass(frozen=True)
class GitHubFolder:
    """A folder of a public repository at one commit, as the source of a data set's files."""

    repository: str
    commit: str
    folder: str

    def file(self, key: str, path: str, sha256: str, upstream: str | None = None) -> DataFile:
        """The file at `upstream` in the folder (default: the name that ends `path`)."""
        name = upstream or path.rsplit("/", 1)[-1]
        base = f"https://raw.githubusercontent.com/{self.repository}/{self.commit}"
        return DataFile(key, path, sha256, "/".join(part for part in (base, self.folder, name) if part))


@dataclass(frozen=True)
class Dataset:
    """A public data set.

    `read_stimuli`, `read_recordings` and `read_references` take the data set and keyword options; a data set without
    stimuli, recordings or reference RDMs leaves them out. `local_only` says, in a sentence, why a data set cannot be
    fetched, where that is so; `images` is False where what was shown is not public. `kind` is the kind of stimuli and
    recordings in a config that reads the data set, where it has one of its own.
    """

    name: str
    title: str
    files: tuple[DataFile, ...]
    licence: str
    citation: str
    description: str
    local_only: str = ""
    images: bool = True
    kind: str = "dataset"
    read_stimuli: Reader | None = None
    read_recordings: Reader | None = None
    read_references: Reader | None = None

    def entry(self, key: str) -> DataFile:
        """The declaration of one file. Raises ConfigError for an unknown key."""
        for entry in self.files:
            if entry.key == key:
                return entry
        keys = [entry.key for entry in self.files]
        raise ConfigError(f"Data set {self.name!r} has no file {key!r}; {did_you_mean(key, keys)}.")

    def found(self, key: str) -> Path | None:
        """Where a file lies now, unverified and without fetching: in `$VENTRAL_DATA`, else in the cache, else None."""
        entry = self.entry(key)
        places = [folder for folder in (_given_folder(), data_cache()) if folder is not None]
        return next((folder / entry.path for folder in places if (folder / entry.path).is_file()), None)

    def available(self) -> bool:
        """Whether every file lies locally, so that nothing would have to be fetched (files laid by hand apart)."""
        return all(self.found(entry.key) is not None for entry in self.files if not entry.by_hand)

    def file(self, key: str) -> Path:
        """A verified local copy of one file, fetched first where none is found.

        Raises ConfigError for an unknown key or where VENTRAL_DATA is not a folder, InputError for wrong bytes,
        UnreachableError when it has to be fetched and cannot be, StorageError when the cache cannot be written.
        """
        entry = self.entry(key)
        given = _given_folder()
        if given is not None and not given.is_dir():
            raise ConfigError(
                f"VENTRAL_DATA names {given}, which is not a folder; name an existing folder of data sets, or unset it "
                "to use the cache."
            )
        if given is not None and (path := given / entry.path).is_file():
            if entry.sha256 is not None and not is_verified(path, entry.sha256):
                from bridge.store import file_sha256

                raise InputError(
                    f"The file {path} is not the one that data set {self.name!r} declares (expected sha256 "
                    f"{entry.sha256}, got {file_sha256(path)}); replace it, or remove it so that it is fetched."
                )
            return path
        path = data_cache() / entry.path
        if path.is_file() and (entry.sha256 is None or is_verified(path, entry.sha256)):
            return path
        if entry.address is None or entry.by_hand:
            why = self.local_only if entry.address is None else f"it is too large; its address is {entry.address}."
            raise UnreachableError(
                f"The file {entry.path} of data set {self.name!r} cannot be fetched: {why} Put it at "
                f"{path}, or set VENTRAL_DATA to a folder that holds {entry.path}."
            )
        fetch_file(entry.address, entry.sha256, path)
        return path

    def fetch(self) -> list[Path]:
        """Verified local copies of all files but those that are laid by hand. Raises what `file` raises."""
        return [self.file(entry.key) for entry in self.files if not entry.by_hand]

    def check_reachable(self) -> None:
        """Raise UnreachableError where no file of the data set is here and its source does not answer.

        Some files being here, the others may never be asked for. Fetches nothing.
        """
        if not self.files or any(self.found(entry.key) is not None for entry in self.files):
            return
        first = self.files[0]
        if first.address is None:
            self.file(first.key)
            return
        place = f"or set VENTRAL_DATA to a folder that holds {first.path}"
        check_address(first.address, f"Data set {self.name!r}", place)

    def fingerprint(self) -> dict[str, Any]:
        """Name and declared sha256 of every file: what anything read from the data set depends on. Reads nothing."""
        return {"name": self.name, "sha256": {entry.key: entry.sha256 for entry in self.files}}

    def stimuli(self, **options: Any) -> StimulusSet:
        """The stimuli; images are read when asked for.

        Raises InputError where the data set has none, ConfigError for an option that it does not have.
        """
        return self._read("stimuli", self.read_stimuli, options)

    def recordings(self, **options: Any) -> list[Recordings | RegionRDMs]:
        """The recordings, or the RDMs where no more is public, keyed by the ids of `stimuli()`.

        Raises InputError where the data set has none, ConfigError for an option that it does not have.
        """
        return self._read("recordings", self.read_recordings, options)

    def references(self, **options: Any) -> list[RegionRDMs]:
        """RDMs of models and judgements that the data set brings for its stimuli, to stand beside a comparison.

        Raises InputError where the data set has none, ConfigError for an option that it does not have.
        """
        return self._read("references", self.read_references, options)

    def options(self, what: str) -> tuple[str, ...]:
        """The names of the options of `stimuli`, `recordings` or `references`."""
        reader = getattr(self, f"read_{what}")
        return tuple(inspect.signature(reader).parameters)[1:] if reader else ()

    def _read(self, what: str, reader: Reader | None, options: dict[str, Any]) -> Any:
        if reader is None:
            raise InputError(f"Data set {self.name!r} has no {what}; choose another (`ventral data list` shows which).")
        known = self.options(what)
        for option in options:
            if option not in known:
                raise ConfigError(
                    f"The {what} of data set {self.name!r} have no option {option!r}; {did_you_mean(option, known)}."
                )
        return reader(self, **options)


def _given_folder() -> Path | None:
    given = os.environ.get("VENTRAL_DATA")
    return Path(given).expanduser() if given else None
