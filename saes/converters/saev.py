"""saev's dictionaries (Stevens et al. 2025, github.com/OSU-NLP-Group/saev, `saev/nn/modeling.py`): osunlp/SAE_*.

`sae.pt` is one line of JSON, then the bytes of `torch.save(state_dict)`. Tensors W_enc [d, d_sae], b_enc,
W_dec [d_sae, d], b_dec, and `activation.threshold` [] for BatchTopK. The line is

    no schema   the training config's fields: d_vit, exp_factor, ...       relu, x - b_dec at the input
    schema 1    {"cls": "Relu" | "TopK" | "BatchTopK", "cfg": {d_vit, exp_factor, top_k}}, or cfg as in schema 2
    schema 2-5  {"cfg": {d_vit | d_model, exp_factor | d_sae, "activation": {"cls", "params": {top_k}}}}

Dictionaries with a schema do not subtract b_dec. Those without were trained on inputs (x - mean) / scale, scale the
mean norm of x - mean over sqrt d, by default (`scale_mean`, `scale_norm` of saev 0.1); the statistics are not stored,
and whether a release used them cannot be told from the file. Until when schema 1 did so is not recorded either: both
are measured against the activations, see `saes.hub.load`. saev's top-k keeps negative values among the k largest,
which SAELens's ReLU sets to 0: no difference while at least k pre-activations are positive. BatchTopK keeps
x > threshold at inference, as jumprelu does; files from before the threshold was stored are applied as top-k.

The header names neither model nor site.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bridge.errors import InputError
from bridge.models.checkpoints import read_content
from saes.converters.format import Format, Read, stated
from saes.sae import SAEConfig, SparseAutoencoder

NEWEST = 5
LINE = 2**16
"""A header is not longer than this."""


def files(names: Sequence[str]) -> list[str]:
    """sae.pt."""
    return ["sae.pt"] if "sae.pt" in names else []


def read(folder: Path, names: Sequence[str]) -> Read:
    """The dictionary in SAELens's terms."""
    path = folder / names[0]
    try:
        with open(path, "rb") as file:
            line, content = file.readline(LINE), file.read()
        header = json.loads(line)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); fetch it again.") from error
    except ValueError as error:
        raise InputError(f"{path} does not begin with saev's line of JSON; fetch it again.") from error
    schema = header.get("schema") if isinstance(header, dict) else -1
    if schema not in (None, *range(1, NEWEST + 1)):
        raise InputError(f"{path} is of saev's schema {schema!r}; those up to {NEWEST} are known.")
    tensors = read_content(path, io.BytesIO(content))
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise InputError(f"{path} holds no table of tensors behind its header; fetch it again.")
    cfg = header if schema is None else header.get("cfg", {})
    activation, k = _activation(header, cfg, path)
    d_in = stated(cfg, "d_model" if "d_model" in cfg else "d_vit", path)
    d_sae = stated(cfg, "d_sae", path) if "d_sae" in cfg else d_in * stated(cfg, "exp_factor", path)
    tensors, architecture = dict(tensors), {"Relu": "standard", "TopK": "topk", "BatchTopK": "topk"}[activation]
    threshold = tensors.pop("activation.threshold", None)
    if activation == "BatchTopK" and threshold is not None:
        architecture = "jumprelu"
        tensors["threshold"] = torch.ones_like(tensors["b_enc"]) * threshold.clamp(min=0)
    metadata = {"trained_as": {"Relu": "standard"}.get(activation, activation.lower()), "saev_schema": schema}
    metadata |= {name: header[name] for name in ("lib", "commit") if name in header}
    config = SAEConfig(
        architecture=architecture,  # type: ignore[arg-type]
        d_in=d_in,
        d_sae=d_sae,
        k=k if architecture == "topk" else None,
        apply_b_dec_to_input=schema is None,
        metadata=metadata,
    )
    return Read(SparseAutoencoder(config, tensors), "mean_norm" if schema in (None, 1) else None)


def _activation(header: Mapping[str, Any], cfg: Mapping[str, Any], path: Path) -> tuple[str, int | None]:
    """The activation's class and its k."""
    if header.get("schema") is None:
        return "Relu", None
    if header["schema"] == 1 and header.get("cls") in ("Relu", "TopK", "BatchTopK"):
        name, settings = header["cls"], cfg
    else:
        given = cfg.get("activation") or {"cls": "Relu", "params": {}}
        name, settings = given.get("cls"), given.get("params") or {}
    if name not in ("Relu", "TopK", "BatchTopK"):
        raise InputError(f"{path} states the activation {name!r}; Relu, TopK and BatchTopK are converted.")
    return name, None if name == "Relu" else stated({"top_k": 32, **settings}, "top_k", path)


FORMAT = Format("saev", files, read)
