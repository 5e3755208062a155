"""Weights and configurations from the Hugging Face hub: pinned to a commit, with errors in one sentence."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bridge.errors import ConfigError, InputError, StorageError, UnreachableError, UserError
from bridge.store import cache_folder, file_sha256, write_atomically


def versions(*packages: str) -> dict[str, str]:
    """Installed versions by package name, for fingerprints; imports none of them."""
    return {package: version(package) for package in packages}


def commit_of(repository: str, revision: str | None, *, ask: bool = False) -> str:
    """The commit that a revision of a hub repository stands for (the default branch for None).

    What the local cache remembers comes first, so that a run with cached weights needs no network and stays the same.
    With `ask`, the hub is asked even so; the cache counts only if the hub cannot be reached.
    Raises UnreachableError without a network, ConfigError for an unknown repository or revision, and, with `ask`, for
    a branch or tag that stands for another commit than when it was first used here.
    """
    if revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    reference = _cache_of(repository) / "refs" / (revision or "main")
    remembered = reference.read_text().strip() if reference.is_file() else None
    if remembered and not ask:
        return remembered
    from huggingface_hub import HfApi

    try:
        with fetching(repository):
            commit = HfApi().model_info(repository, revision=revision, timeout=20).sha
    except UnreachableError:
        if remembered:
            return remembered
        raise
    if commit is None:
        raise UnreachableError(f"The hub names no commit for {repository}; state a `revision` of 40 hex digits.")
    if remembered and commit != remembered:
        raise ConfigError(
            f"{repository} has changed: its revision {revision or 'main'!r} was {remembered} when it was first used "
            f"here and is {commit} now; state one of these two commits as `revision`."
        )
    with suppress(StorageError):
        write_atomically(reference, commit)
    return commit


def file_names(repository: str, commit: str) -> list[str]:
    """The files of a repository at a commit. A commit does not change: the hub is asked once.

    Raises UnreachableError without a network, ConfigError for an unknown repository.
    """
    kept = cache_folder() / "hub" / f"{repository.replace('/', '--')}--{commit}.json"
    with suppress(OSError, ValueError):
        return json.loads(kept.read_bytes())
    from huggingface_hub import HfApi

    with fetching(repository):
        # One request; list_repo_files asks page by page, and again and again without a network.
        siblings = HfApi().model_info(repository, revision=commit, timeout=20).siblings
        names = [entry.rfilename for entry in siblings or []]
    with suppress(StorageError):
        write_atomically(kept, json.dumps(names))
    return names


def cached_names(repository: str, commit: str) -> list[str]:
    """The files of a repository at a commit that are in the local cache."""
    folder = _cache_of(repository) / "snapshots" / commit
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def check_cached(path: Path) -> str:
    """The sha256 of a file, held against the hash that the hub gave if it lies in the local cache, which stores it
    under that hash (sha256 of large files, git's sha1 of small ones).

    Raises InputError for a damaged file. Files outside the cache, or in a cache without links, pass.
    """
    blob = path.resolve()
    sha256 = found = file_sha256(blob)
    stated = blob.name if blob.parent.name == "blobs" else ""
    if re.fullmatch(r"[0-9a-f]{40}", stated):
        content = blob.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", stated) and found != stated:
        raise InputError(f"{path} is not the file that the hub has (its hash differs); delete {blob} and load again.")
    return sha256


def _cache_of(repository: str) -> Path:
    import huggingface_hub.constants as constants

    return Path(constants.HF_HUB_CACHE) / ("models--" + repository.replace("/", "--"))


def check_reachable(repository: str) -> None:
    """One request to the hub for a repository. Raises UnreachableError without a network, ConfigError where there is no
    such repository."""
    from huggingface_hub import HfApi

    with fetching(repository):
        HfApi().model_info(repository, timeout=20)


def is_cached(repository: str) -> bool:
    """Whether the local cache holds weights of a repository, of whatever commit."""
    endings = {".safetensors", ".bin", ".pt", ".pth"}
    return any(path.suffix in endings for path in (_cache_of(repository) / "snapshots").glob("*/*"))


def to_fetch(model: str | None) -> list[tuple[str, int | None]]:
    """What a pretrained model of a repository would fetch, as `ModelSpec.to_fetch` says it: nothing where it is a
    folder or in the cache. Its bytes are not known before the hub is asked."""
    return [] if model is None or is_local(model) or is_cached(model) else [(model, None)]


def source_fingerprint(model: str | None, revision: str | None) -> dict[str, Any]:
    """What identifies the files of a hub repository (its commit) or of a local folder (sha256 of its files).

    Raises InputError for a folder that is missing or empty.
    """
    if model is None:
        return {}
    if not is_local(model):
        return {"revision": commit_of(model, revision)}
    files = sorted(path for path in Path(model).glob("*") if path.suffix in (".json", ".safetensors", ".bin", ".txt"))
    if not files:
        raise InputError(f"The model folder {model} holds no model; give a folder with config.json and weights.")
    return {"model": {path.name: file_sha256(path) for path in files}}


def is_local(model: str) -> bool:
    """Whether a model is named by a folder: one that exists, or a path that no repository could have."""
    return Path(model).is_dir() or model.startswith((".", "/", "~")) or model.count("/") > 1


def fetched_file(model: str, revision: str | None, name: str) -> Path | None:
    """A file of a local model folder or hub repository; None where it has no such file.

    Raises UnreachableError without a network.
    """
    if is_local(model):
        path = Path(model).expanduser() / name
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with fetching(model):
        try:
            return Path(hf_hub_download(model, name, revision=revision))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            return None


def check_pushable(repository: str) -> None:
    """Raise ConfigError for what is no repository's name, UnreachableError where nobody is logged in to the hub."""
    from huggingface_hub import get_token

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ConfigError(f"{repository!r} is no repository's name; give user/name.")
    if get_token() is None:
        raise UnreachableError(
            f"Nobody is logged in, so nothing can be put into {repository}; log in with `hf auth login`, or set "
            "HF_TOKEN."
        )


def check_writable(repository: str) -> None:
    """`check_pushable`, and that the hub answers and knows the token. Says nothing of rights in this repository.

    Raises UnreachableError without a network, and for a token that the hub refuses.
    """
    check_pushable(repository)
    from huggingface_hub import HfApi

    with fetching(repository, "reached"):
        HfApi().whoami()


@contextmanager
def _quiet() -> Iterator[None]:
    """What libraries say while they fetch: nothing on standard output, where JSON may stand; bars on a terminal alone;
    and of requests that fail, the error at the end."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger = logging.getLogger("huggingface_hub")
    level, bars = logger.level, not are_progress_bars_disabled() and not sys.stderr.isatty()
    logger.setLevel(logging.ERROR)
    if bars:
        disable_progress_bars()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)
        if bars:
            enable_progress_bars()


@contextmanager
def fetching(what: str, doing: str = "fetched") -> Iterator[None]:
    """Turn what libraries raise when something cannot be fetched or read into one sentence about `what`.

    Raises ConfigError for a repository or revision that does not exist, InputError for files on this machine,
    UnreachableError for the network and for what the hub refuses. Errors of other kinds pass.
    """
    try:
        with _quiet():
            yield
    except UserError:
        raise
    except Exception as error:
        chain = list(_chain(error))
        names = {base.__name__ for link in chain for base in type(link).__mro__}
        reason = (str(chain[-1]).strip() or type(chain[-1]).__name__).split("\n")[0][:200]
        if names & {"RepositoryNotFoundError", "RevisionNotFoundError"}:
            raise ConfigError(
                f"The hub has no repository or revision {what!r} that can be read ({reason}); check the spelling, or "
                "log in (`hf auth login`) if it is a private one."
            ) from error
        refused = next((link for link in chain if _status(link) in (401, 403)), None)
        if refused is not None:
            said = (getattr(refused, "server_message", None) or reason).strip().split("\n")[0]
            raise UnreachableError(
                f"The hub refuses {what} ({said}); log in (`hf auth login`) with a token that may do this."
            ) from error
        if is_local(what) and isinstance(error, OSError | ValueError):
            raise InputError(f"The model folder {what} cannot be read ({reason}); give a complete one.") from error
        network = names & {"ConnectionError", "HTTPError", "HfHubHTTPError", "URLError", "TransportError"}
        offline = names & {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}
        if network or offline or isinstance(error, OSError):
            instead = ", or give a local folder or checkpoint" if doing == "fetched" else " and try again"
            raise UnreachableError(f"{what} cannot be {doing} ({reason}); connect to the network{instead}.") from error
        raise


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
