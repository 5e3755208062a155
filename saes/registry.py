"""SAELens's registry of published dictionaries (language models): a release by its name, pinned to a commit.

SAELens itself converts: its registry says repository, folder, converter, overrides and norm scaling, and its classes
build the dictionary. Its loaders take no revision, so their downloads are given the commit for as long as they run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bridge.errors import ConfigError, InputError, UserError, did_you_mean
from bridge.hub import check_cached, commit_of, fetching
from saes.checkpoints import of_sae_lens
from saes.sae import SparseAutoencoder

_pinning = threading.Lock()


def from_registry(release: str, id: str | None, revision: str | None) -> SparseAutoencoder:
    """A dictionary of a release, float32, with repository, commit and the stated explained variance in its metadata.

    Raises ConfigError for an unknown release or id, InputError for a dictionary that cannot be applied here,
    UnreachableError without a network unless the files are cached.
    """
    from sae_lens import SAE
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    known = get_pretrained_saes_directory()
    if release not in known:
        raise ConfigError(
            f"{release!r} is no folder, no repository (user/name) and no release of SAELens's registry; "
            f"{did_you_mean(release, known, shown=5)}."
        )
    entry = known[release]
    if id not in entry.saes_map:
        raise ConfigError(f"The release {release} has no dictionary {id!r}; {did_you_mean(id or '', entry.saes_map)}.")
    commit = commit_of(entry.repo_id, revision, ask=True)
    where = f"{release} {id}"
    try:
        with _pinned(commit), fetching(entry.repo_id):
            sae, _, _ = SAE.from_pretrained_with_cfg_and_sparsity(release, id, device="cpu")
    except UserError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
        raise InputError(f"{where} ({entry.repo_id} at {commit}): SAELens cannot load it ({reason}).") from error
    ours = of_sae_lens(sae.cfg.to_dict(), sae.state_dict(), where)
    ours.config.metadata.update(source=f"{entry.repo_id}/{entry.saes_map[id]}", revision=commit)
    stated = entry.expected_var_explained.get(id, 1.0)
    if stated != 1.0:  # what the registry answers where nothing is stated
        ours.config.metadata["explained_variance_stated"] = stated
    return ours


@contextmanager
def _pinned(commit: str) -> Iterator[None]:
    """What SAELens's loaders download meanwhile is of this commit, and held against the hub's hashes."""
    import sae_lens.loading.pretrained_sae_loaders as loaders

    def download(*given: Any, **named: Any) -> str:
        path = plain(*given, **{**named, "revision": commit})
        check_cached(Path(path))
        return path

    with _pinning:
        plain, address = loaders.hf_hub_download, loaders.hf_hub_url
        loaders.hf_hub_download, loaders.hf_hub_url = download, partial(address, revision=commit)
        try:
            yield
        finally:
            loaders.hf_hub_download, loaders.hf_hub_url = plain, address
