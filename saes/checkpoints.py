"""Dictionaries on disk: SAELens's format (6.x), a folder with `cfg.json` and `sae_weights.safetensors`.

cfg.json holds SAELens's own fields (architecture, d_in, d_sae, dtype, apply_b_dec_to_input, normalize_activations, and
an architecture's own: k, d_out, ...), `metadata` (provenance; SAELens keeps keys that it does not know), and two
entries that SAELens leaves unread and drops when it saves again: `format` (this file's version) and `sha256` (of the
weights). A crosscoder is stored as the plain architecture over its concatenated sites: `metadata["sites"]` and
`metadata["widths"]` say which columns are whose.

`SAE.load_from_disk` and `SAE.from_pretrained` load what `save` writes; `read_folder` reads what SAELens's
`save_inference_model` and `save_model` write, and configs from before 6.0 as SAELens's `handle_config_defaulting` does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import reduce
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bridge.errors import InputError
from bridge.store import file_sha256, parsed_json, write_together
from saes.sae import SAEConfig, SparseAutoencoder

CFG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
FORMAT = 1
"""Version of what is ours in cfg.json. A reader refuses newer ones."""
DTYPES = {str(kind).removeprefix("torch."): kind for kind in (torch.float32, torch.float64, torch.float16)} | {
    "bfloat16": torch.bfloat16
}
TRAINED_AS_BATCH_TOP_K = ("batchtopk", "matryoshka_batchtopk")


# ---------------------------------------------------------------------------------------------------------- saving


def save(sae: SparseAutoencoder, folder: Path | str) -> Path:
    """Write a dictionary into a folder (made if needed; other files in it are left alone) and give the folder back.

    Neither file is replaced before both are on the disk. All tensors are written in one type: the widest that occurs.
    Raises InputError for a dictionary that SAELens's format cannot hold, StorageError for a folder that cannot be
    written; what stood there before then still stands.
    """
    from safetensors.torch import save as serialised

    folder = Path(folder)
    tensors = sae.tensors()
    dtype = reduce(torch.promote_types, (value.dtype for value in tensors.values()))
    weights = serialised({name: value.to("cpu", dtype).contiguous() for name, value in tensors.items()})
    cfg = as_cfg(sae.config, dtype) | {"format": FORMAT, "sha256": {WEIGHTS: _sha256(weights)}}
    write_together({folder / WEIGHTS: weights, folder / CFG: _as_json(cfg)})
    return folder


def as_cfg(config: SAEConfig, dtype: torch.dtype) -> dict[str, Any]:
    """SAELens's cfg.json for a configuration. Raises InputError for one that it cannot state."""
    if not config.transcodes and config.width_out != config.d_in:
        raise InputError(
            f"A {config.architecture} dictionary that reads {config.d_in} and writes {config.d_out} values cannot be "
            "saved; make it a transcoder."
        )
    if (name := str(dtype).removeprefix("torch.")) not in DTYPES:
        raise InputError(f"Tensors of type {name} cannot be saved; convert the dictionary to {', '.join(DTYPES)}.")
    metadata = {**config.metadata, "sae_lens_version": version("sae-lens")}
    cfg = {
        "architecture": config.architecture,
        "d_in": config.d_in,
        "d_sae": config.d_sae,
        "dtype": name,
        "device": "cpu",
        "apply_b_dec_to_input": config.apply_b_dec_to_input and not config.transcodes,
        "normalize_activations": config.normalize_activations,
        "reshape_activations": metadata.pop("reshape_activations", "none"),
        "metadata": metadata,
    }
    if config.transcodes:
        cfg["d_out"] = config.width_out
    if config.architecture == "topk":
        cfg |= {"k": config.k, "rescale_acts_by_decoder_norm": config.rescale_acts_by_decoder_norm}
    return cfg


def _as_json(cfg: Mapping[str, Any]) -> str:
    try:
        return json.dumps(cfg, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The dictionary's metadata cannot be written as JSON ({error}); keep numbers (None for NaN), text, lists "
            "and tables in it."
        ) from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --------------------------------------------------------------------------------------------------------- reading


def read_folder(folder: Path | str, device: str = "cpu") -> SparseAutoencoder:
    """The dictionary in a folder, in the type that its cfg.json states.

    Raises InputError if a file is missing, damaged, or not the one that was saved, if configuration and tensors are
    not of one dictionary, and for an architecture that cannot be applied here.
    """
    folder = Path(folder)
    cfg = read_json(folder / CFG, "a dictionary's folder holds cfg.json and sae_weights.safetensors")
    if not isinstance(cfg.get("format", FORMAT), int) or cfg.get("format", FORMAT) > FORMAT:
        raise InputError(
            f"{folder / CFG} is of format {cfg['format']}; this version reads up to {FORMAT}: update ventral-bridge."
        )
    return of_sae_lens(cfg, read_weights(folder / WEIGHTS, _recorded(cfg)), folder).to(device)


def recorded_hashes(folder: Path) -> dict[str, str]:
    """The sha256 of files that a folder's cfg.json states, by name; `read_folder` holds the files against them."""
    return _recorded(read_json(folder / CFG, "a dictionary's folder holds it"))


def _recorded(cfg: Mapping[str, Any]) -> dict[str, str]:
    found = cfg.get("sha256")
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def read_json(path: Path, wanted: str) -> dict[str, Any]:
    """A table from a JSON file. Raises InputError, with what was `wanted`, if it is missing or no such thing."""
    try:
        content = parsed_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {wanted}.") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}): truncated or damaged; fetch or save it again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no table of settings; {wanted}.")
    return content


def read_weights(path: Path, recorded: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, held against its recorded sha256 where there is one.

    Raises InputError if it is missing, damaged or another one.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        pickles = sorted(other.name for other in path.parent.glob("*") if other.suffix in (".pt", ".pth", ".pkl"))
        beside = f" (pickled files such as {pickles[0]} are not read)" if pickles else ""
        raise InputError(f"{path} is missing{beside}; fetch or save the dictionary again.")
    if (stated := recorded.get(path.name)) is not None and (found := file_sha256(path)) != stated:
        raise InputError(
            f"{path} is not the file that was saved (sha256 {found[:12]}..., expected {stated[:12]}...): "
            "truncated or changed; fetch or save it again."
        )
    try:
        return load_file(path)
    except Exception as error:  # SafetensorError is no subclass of anything narrower
        reason = str(error).split("\n")[0][:200]
        raise InputError(f"{path} is no complete safetensors file ({reason}); fetch or save it again.") from error


def of_sae_lens(cfg: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], where: Path | str) -> SparseAutoencoder:
    """The dictionary of a SAELens configuration and state dict, training architectures among them.

    A BatchTopK or Matryoshka dictionary saved by `save_model` becomes a jumprelu one, as `save_inference_model` would
    have made it. Raises InputError, naming `where`.
    """
    try:
        cfg = _current(dict(cfg))
        tensors = {name: value.to(_dtype(cfg)) for name, value in tensors.items()}
        cfg, tensors = _inference(cfg, tensors)
        return SparseAutoencoder(_config(cfg), tensors)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        raise InputError(
            f"{where}: configuration and tensors are not of one dictionary ({reason}); fetch or save it again."
        ) from error


def _current(cfg: dict[str, Any]) -> dict[str, Any]:
    """A configuration in 6.x form."""
    from packaging.version import InvalidVersion, Version

    activation = cfg.get("activation_fn_str", cfg.get("activation_fn"))
    if activation not in (None, "relu", "topk"):
        # SAELens 6 has no other, and would read it as ReLU.
        raise InputError(f"The dictionary's activation function is {activation!r}; relu and topk can be applied.")
    metadata = cfg.get("metadata") if isinstance(cfg.get("metadata"), dict) else {}
    assert isinstance(metadata, dict)
    try:
        written_by = Version(str(cfg.get("sae_lens_version") or metadata.get("sae_lens_version") or 0))
    except InvalidVersion:
        written_by = Version("0")
    if written_by >= Version("6.0.0-rc.0"):
        return cfg
    from sae_lens.loading.pretrained_sae_loaders import handle_config_defaulting

    try:
        new = handle_config_defaulting(cfg)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"The configuration is neither SAELens's of today nor one from before 6.0 ({error!r}); "
            "save the dictionary again with SAELens."
        ) from error
    return {**new, "metadata": {**metadata, **new["metadata"]}}


def _dtype(cfg: Mapping[str, Any]) -> torch.dtype:
    name = str(cfg.get("dtype", "float32")).removeprefix("torch.")
    if name not in DTYPES:
        raise InputError(f"The configuration states the type {name!r}; {', '.join(DTYPES)} are known.")
    return DTYPES[name]


def _inference(
    cfg: Mapping[str, Any], tensors: dict[str, torch.Tensor]
) -> tuple[Mapping[str, Any], dict[str, torch.Tensor]]:
    """Configuration and tensors as they are applied; see `of_sae_lens`."""
    scale = tensors.pop("scaling_factor", None)
    if scale is not None and not torch.allclose(scale, torch.ones_like(scale)):
        # SAELens cannot load these either: its classes lost the parameter in 6.0.
        raise InputError("The dictionary holds a finetuned scaling_factor, which neither SAELens 6 nor this applies.")
    architecture = cfg.get("architecture")
    if architecture == "jumprelu" and "log_threshold" in tensors:
        tensors["threshold"] = tensors.pop("log_threshold").exp()
    if architecture not in TRAINED_AS_BATCH_TOP_K or "topk_threshold" not in tensors:
        return cfg, tensors
    threshold = tensors.pop("topk_threshold")
    if cfg.get("rescale_acts_by_decoder_norm"):
        norms = tensors["W_dec"].norm(dim=-1).clamp(min=1e-8)
        tensors["W_enc"] = tensors["W_enc"] * norms
        tensors["b_enc"] = tensors["b_enc"] * norms
        tensors["W_dec"] = tensors["W_dec"] / norms[:, None]
    tensors["threshold"] = torch.ones_like(tensors["b_enc"]) * threshold
    metadata = {"trained_as": architecture, **cfg.get("metadata", {})}
    return {**cfg, "architecture": "jumprelu", "metadata": metadata}, tensors


def _config(cfg: Mapping[str, Any]) -> SAEConfig:
    for name in ("d_in", "d_sae"):
        if not isinstance(cfg.get(name), int) or cfg[name] < 1:
            raise InputError(f"The configuration states {name} = {cfg.get(name)!r}; expected a positive whole number.")
    for name, kind in (("d_out", int), ("k", int), ("architecture", str), ("normalize_activations", str),
                       ("metadata", dict)):  # fmt: skip
        if not isinstance(cfg.get(name), kind | None):
            raise InputError(f"The configuration states {name} = {cfg[name]!r}, which is no {kind.__name__}.")
    metadata = dict(cfg.get("metadata") or {})
    if (reshape := cfg.get("reshape_activations", "none")) != "none":
        metadata["reshape_activations"] = reshape  # hook_z: heads are concatenated before they come here
    architecture = cfg.get("architecture", "standard")
    return SAEConfig(
        architecture=architecture,
        d_in=cfg["d_in"],
        d_sae=cfg["d_sae"],
        d_out=cfg.get("d_out") if str(architecture).endswith("transcoder") else None,
        k=cfg.get("k") if architecture == "topk" else None,
        rescale_acts_by_decoder_norm=architecture == "topk" and bool(cfg.get("rescale_acts_by_decoder_norm", False)),
        apply_b_dec_to_input=bool(cfg.get("apply_b_dec_to_input", True)),
        normalize_activations=cfg.get("normalize_activations", "none"),
        metadata=metadata,
    )
