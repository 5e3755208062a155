"""Weights from files: safetensors, or torch files read with `weights_only=True`. Nothing is unpickled."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from bridge.errors import InputError
from bridge.store import file_sha256

if TYPE_CHECKING:
    import torch
    from torch import nn


def weights_fingerprint(path: Path | None) -> dict[str, Any]:
    """The sha256 of a checkpoint for a model's fingerprint; empty for an untrained network.

    Raises InputError when the file is missing.
    """
    if path is None:
        return {}
    return {"weights": file_sha256(_existing(path))}


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, with the prefixes that training wrappers add taken off.

    Raises InputError when the file is missing, damaged, holds pickled objects, or holds no tensors.
    """
    import torch

    path = _existing(path)
    content = read_content(path)
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise InputError(f"The checkpoint {path} holds no table of tensors; save the network's state_dict() instead.")
    for prefix in ("module.", "_orig_mod."):
        if all(name.startswith(prefix) for name in content):
            content = {name.removeprefix(prefix): value for name, value in content.items()}
    return content


def read_content(path: Path, stream: BinaryIO | None = None) -> Any:
    """What a checkpoint holds: tensors, and in a torch file also plain containers, numbers and strings around them.

    `stream` is read instead of the file at `path` where the checkpoint is only a part of it.
    Raises InputError when it is damaged or holds pickled objects.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        _refuse_compressed(path, stream)
        return torch.load(path if stream is None else stream, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"The checkpoint {path} holds pickled Python objects, which could run code on loading; save its "
            "state_dict() alone, best as .safetensors, and give that file."
        ) from error
    except Exception as error:
        raise InputError(
            f"The checkpoint {path} cannot be read ({_first_line(error)}); fetch or save it again."
        ) from error


def _refuse_compressed(path: Path, stream: BinaryIO | None) -> None:
    """Raises InputError for a torch file with compressed records: torch writes none, and they unpack to any size."""
    from zipfile import ZIP_STORED, ZipFile, is_zipfile

    source = path if stream is None else stream
    at = None if stream is None else stream.tell()
    if is_zipfile(source):
        with ZipFile(source) as archive:
            if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
                raise InputError(
                    f"The checkpoint {path} holds compressed records, which torch never writes; save it again with "
                    "torch.save, best as .safetensors."
                )
    if stream is not None and at is not None:
        stream.seek(at)


def load_weights(module: nn.Module, path: Path, name: str) -> None:
    """Load a checkpoint into `module`, completely. Raises InputError when names or shapes differ."""
    tensors = read_tensors(path)
    own = module.state_dict()
    # Old checkpoints lack BatchNorm's batch counter, which inference never reads.
    missing = [key for key in own if key not in tensors and not key.endswith("num_batches_tracked")]
    extra = [key for key in tensors if key not in own]
    shapes = [key for key in own if key in tensors and own[key].shape != tensors[key].shape]
    if missing or extra or shapes:
        first = (shapes or missing or extra)[0]
        if shapes:
            detail = (
                f"{first!r} is {list(tensors[first].shape)} in the file and {list(own[first].shape)} in the network"
            )
        else:
            detail = f"{first!r} is only in the {'network' if missing else 'file'}"
        raise InputError(
            f"The checkpoint {path} is of another architecture than {name!r}: {len(missing)} tensors missing, "
            f"{len(extra)} unknown, {len(shapes)} of another shape ({detail}); give the checkpoint of this network."
        )
    module.load_state_dict(tensors, strict=False)


def _existing(path: Path) -> Path:
    if not Path(path).is_file():
        raise InputError(
            f"There is no checkpoint at {path.absolute()}; give an existing file, or state `untrained: true`."
        )
    return Path(path)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
