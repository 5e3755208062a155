"""Dictionaries from a folder, from the hub, or from SAELens's registry: `saes.load`.

What is loaded is pinned and checked: a repository's commit is resolved and recorded, files are held against the hub's
hashes, nothing is unpickled, model and site are compared with what the dictionary names, and the share of variance
that it explains is measured where activations are given. Normalisation is lost so often on the way that no other check
replaces the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import ConfigError, InputError, UnreachableError, did_you_mean
from bridge.hub import cached_names, check_cached, commit_of, fetched_file, file_names, is_local
from bridge.store import file_sha256
from saes.converters import Read, all_formats, dictionaries_in, recognised
from saes.identity import check_activations, check_model, check_site
from saes.sae import SparseAutoencoder
from saes.scrutiny import MIN_EXPLAINED, Given, scrutinised

if TYPE_CHECKING:
    from bridge.models.base import Backbone


def load(
    source: str | Path,
    id: str | None = None,
    revision: str | None = None,
    *,
    model: Backbone | None = None,
    site: str | None = None,
    activations: Given | None = None,
    min_explained: float = MIN_EXPLAINED,
    force: bool = False,
    device: str = "cpu",
) -> SparseAutoencoder:
    """A dictionary, ready to be applied.

    `source` is a folder (or a file of a converted format), a repository `user/name` of the hub, or a release of
    SAELens's registry; `id` a folder or file in it, needed where it holds several dictionaries. `revision` is a commit,
    branch or tag. Whatever is not a commit is asked for again each time, and a branch that stands for another commit
    than when it was first used here is refused: state one of the two.

    `model` and `site` are what the dictionary is to be applied to. `activations` of that site are tokens [n, d_in], for
    transcoders a pair (input, target), tensors by site, or captured `Activations`; on them the explained variance
    1 - FVU is measured (sums over all tokens in float64, about the mean vector) and, with L0, put into
    `config.metadata["measured"]`. Below `min_explained` the dictionary is refused, and so is one whose inputs were
    scaled by statistics that its file does not hold, unless activations are given to take them from.
    `force` turns refusals for model, site, scaling and explained variance off.

    Raises ConfigError for what does not exist or belongs to another model or site, InputError for damaged files and
    for what was refused, UnreachableError without a network unless the files are cached.
    """
    path = Path(source).expanduser()
    if path.exists() or isinstance(source, Path) or is_local(str(source)):
        read = _from_folder(path, id)
    elif "/" in str(source):
        read = _from_repository(str(source), id, revision)
    else:
        from saes.registry import from_registry

        read = Read(from_registry(str(source), id, revision))
    metadata = read.sae.config.metadata
    if not force:
        check_model(metadata, model)
        check_site(read.sae, model, site)
        check_activations(metadata, activations)
    if site is not None and not metadata.get("hook_name") and not metadata.get("sites"):
        metadata["hook_name"] = site
    name = str(source) if id is None else f"{source} {id}"
    return scrutinised(read, activations, name, min_explained, force).to(device)


def _from_folder(path: Path, id: str | None) -> Read:
    if path.is_file():
        path, id = path.parent, path.name if id is None else id
    if not path.is_dir():
        raise InputError(f"There is no folder {path}; give a dictionary's folder, or a repository user/name.")
    names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    format, files = _chosen(names, id, path)
    read = format.read(path / Path(files[0]).parent, [Path(name).name for name in files])
    metadata = read.sae.config.metadata
    metadata.setdefault("source", path.resolve().name if id is None else f"{path.resolve().name}/{id}")
    metadata["files"] = {
        own: read.hashes.get(own) or file_sha256(path / name) for name in files for own in [Path(name).name]
    }
    return read


def _from_repository(repository: str, id: str | None, revision: str | None) -> Read:
    commit = commit_of(repository, revision, ask=True)
    try:
        names = file_names(repository, commit)
    except UnreachableError:
        # Another program may have put them into the hub's cache.
        names = cached_names(repository, commit)
        if not (found := recognised(names, id)) or not set(found[1]) <= set(names):
            raise
    format, files = _chosen(names, id, f"{repository} at {commit}")
    paths: dict[str, Path] = {}
    hashes: dict[str, str] = {}
    for name in files:
        fetched = fetched_file(repository, commit, name)
        if fetched is None:
            raise InputError(f"{repository} at {commit} has no {name}, which a {format.name} dictionary needs.")
        paths[name], hashes[Path(name).name] = fetched, check_cached(fetched)
    read = format.read(paths[files[0]].parent, [Path(name).name for name in files])
    place = str(Path(files[0]).parent) if id is None else id
    read.sae.config.metadata.update(
        source=repository if place == "." else f"{repository}/{place}", revision=commit, files=hashes
    )
    return read


def _chosen(names: Sequence[str], id: str | None, where: object) -> tuple[Any, list[str]]:
    """The format and files of a dictionary. Raises ConfigError with the ids that there are."""
    ids = dictionaries_in(names)
    if id is None and "." not in ids and len(ids) == 1:
        id = ids[0]
    if found := recognised(names, None if id == "." else id):
        return found
    if not ids:
        raise ConfigError(
            f"{where} holds no dictionary of a known format ({', '.join(all_formats())}); "
            f"its files: {', '.join(sorted(names)[:8]) or 'none'}."
        )
    given = "no `id` is stated" if id is None else f"it has no dictionary {id!r}"
    raise ConfigError(f"{where} holds {len(ids)} dictionaries and {given}; {did_you_mean(id or '', ids)}.")
