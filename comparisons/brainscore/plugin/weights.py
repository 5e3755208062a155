"""The weights: beside this file, or from a commit of a hub repository; held against their sha256, never unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

HERE = Path(__file__).parent


def located(about: Mapping[str, Any]) -> Path:
    """A file of weights: `path` beside this file, or in `repository` at `revision`.

    Raises RuntimeError where it cannot be had, or is not the file that was submitted.
    """
    if about.get("repository") is None:
        path, where = HERE / about["path"], about["path"]
        if not path.is_file():
            raise RuntimeError(f"{where} is missing from the plugin; export it again.")
    else:
        where = f"{about['path']} of {about['repository']} at {about['revision']}"
        path = _fetched(about, where)
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != about["sha256"]:
        raise RuntimeError(f"{where} is not the file that was submitted: sha256 {found}, expected {about['sha256']}.")
    return path


def _fetched(about: Mapping[str, Any], where: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(about["repository"], about["path"], revision=about["revision"]))
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise RuntimeError(f"{where} cannot be fetched ({type(error).__name__}: {reason}).") from error


def tensors(about: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file by name. Raises what `located` raises."""
    from safetensors.torch import load_file

    return load_file(located(about))


def state_sha256(module: nn.Module) -> str:
    """sha256 over the names, types, shapes and bytes of all tensors in a network's state."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
