"""A submission's weights: written beside it, left where the hub has them, or put onto the hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import InputError
from bridge.hub import check_pushable, fetched_file, fetching
from bridge.store import file_sha256

if TYPE_CHECKING:
    import torch

    from comparisons.brainscore.preparing import Ingredients
    from saes.sae import SparseAutoencoder


def network_entry(ready: Ingredients, folder: Path) -> dict[str, Any]:
    """`state_sha256`, and `weights` where the library has none of these: a file in `folder`."""
    from bridge.activations import weights_sha256

    entry: dict[str, Any] = {"state_sha256": weights_sha256(ready.backbone), "weights": None}
    if ready.made.pretrained is None:
        entry["weights"] = _written(folder / "network.safetensors", ready.backbone.module.state_dict())
    return entry


def dictionary_entries(ready: Ingredients, folder: Path) -> dict[str, dict[str, Any]]:
    """By SITE/NAME each dictionary's configuration and weights; those that the hub does not have go to `folder`."""
    from comparisons.brainscore.plugin.dictionary import needed
    from comparisons.brainscore.preparing import config_of

    writes = "ablated" in ready.parts.spec.features
    entries = {}
    for site in ready.sites:
        sae, name = ready.saes[site], ready.parts.names[site]
        config = config_of(sae)
        tensors = {key: sae.tensors()[key] for key in needed(config, writes=writes)}
        weights = on_hub(sae, tensors) or _written(folder / f"{name.replace('/', '.')}.safetensors", tensors)
        entries[name] = {"config": config, "weights": weights}
    return entries


def _written(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    from safetensors.torch import save_file

    from comparisons.brainscore.exporting import sha256_entry

    # Tensors that share memory (tied weights) cannot be written as they are.
    save_file({name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}, path)
    return sha256_entry(path)


def on_hub(sae: SparseAutoencoder, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
    """Where the hub has a dictionary that was loaded from it; None where the file there is not these very tensors.

    Raises UnreachableError where it has to be fetched again and cannot be.
    """
    import torch
    from safetensors.torch import load_file

    metadata = sae.config.metadata
    commit, source = metadata.get("revision"), str(metadata.get("source") or "")
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:/(.+))?", source)
    if not found or not re.fullmatch(r"[0-9a-f]{40}", str(commit)):
        return None
    repository, place = found.groups()
    path = f"{place}/sae_weights.safetensors" if place else "sae_weights.safetensors"
    file = fetched_file(repository, str(commit), path)
    if file is None:
        return None
    there = load_file(file)
    if any(name not in there or not torch.equal(there[name], value) for name, value in tensors.items()):
        return None
    return {"path": path, "sha256": file_sha256(file), "repository": repository, "revision": commit}


def push(repository: str, files: Mapping[str, Path]) -> str:
    """Put files into a repository of the hub, made if needed, in one commit; the commit.

    Raises ConfigError for a name that cannot be, UnreachableError without a network, a token or the rights, InputError
    where the hub then gives another file than was put there.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    check_pushable(repository)
    api = HfApi()
    with fetching(repository, "reached"):
        api.create_repo(repository, exist_ok=True)
        operations = [CommitOperationAdd(name, path) for name, path in files.items()]
        made = api.create_commit(repository, operations, commit_message=f"Weights of {', '.join(files)}"[:200])
    commit = str(made.oid)
    for name, path in files.items():
        there = fetched_file(repository, commit, name)
        if there is None or file_sha256(there) != file_sha256(path):
            raise InputError(f"{repository} at {commit} gives another {name} than was put there; push again.")
    return commit
