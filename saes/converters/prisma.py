"""Prisma's vision dictionaries (Joseph et al. 2025, github.com/soniajoseph/ViT-Prisma, `vit_prisma/sae/sae.py`).

A repository holds `config.json` (a `VisionModelSAERunnerConfig`) and the weights: `n_images_N.pt`, a state dict, or
`weights.pt`. Tensors W_enc [d_in, d_sae], b_enc, W_dec [d_sae, d_in], b_dec, and for gated ones b_gate, r_mag, b_mag
(a gated state dict holds an unused b_enc too). The formulas are SAELens's:

    latents = relu(W_enc (norm(x) - b_dec) + b_enc), of topk dictionaries the k largest; x_hat = unnorm(W_dec z + b_dec)

with norm by `normalize_activations`: null, layer_norm (unbiased deviation, + 1e-5) or constant_norm_rescale. Their
code of October 2024 applied layer_norm on the way out only; which published weights were trained with that version
cannot be told from the files, so measure the explained variance. Weights whose file also holds the pickled config
object are refused: save their "state_dict" alone as weights.safetensors beside config.json.
`cls_token_only` and `use_patches_only` say which tokens a dictionary is for: metadata `tokens`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.errors import InputError
from bridge.models.checkpoints import read_tensors
from saes.checkpoints import read_json
from saes.converters.format import Format, Read, stated
from saes.sae import SAEConfig, SparseAutoencoder

CONFIG = "config.json"
KEPT = ("dataset_name", "seed", "l1_coefficient", "lr", "total_training_images", "context_size")
"""Settings that are taken over into the metadata."""


def files(names: Sequence[str]) -> list[str]:
    """config.json with weights.safetensors or weights.pt, else the n_images_N.pt of the most images."""
    counted = {int(match[1]): name for name in names if (match := re.fullmatch(r"n_images_(\d+)\.pt", name))}
    weights = [name for name in ("weights.safetensors", "weights.pt") if name in names]
    weights += [counted[max(counted)]] if counted else []
    return [CONFIG, weights[0]] if weights and (CONFIG in names or len(names) == 1) else []


def read(folder: Path, names: Sequence[str]) -> Read:
    """The dictionary in SAELens's terms."""
    config = read_json(folder / CONFIG, "Prisma's dictionaries have it beside their weights")
    path = folder / next(name for name in names if name != CONFIG)
    tensors = read_tensors(path)
    activation, architecture = config.get("activation_fn_str", "relu"), config.get("architecture", "standard")
    if config.get("is_transcoder"):
        raise InputError(f"{folder / CONFIG} is of a Prisma transcoder; those are not converted.")
    if activation not in ("relu", "topk") or architecture not in ("standard", "gated"):
        raise InputError(
            f"{folder / CONFIG} states a {architecture} dictionary with {activation}; standard and gated ones with "
            "relu, and standard ones with topk, are converted."
        )
    kind: Any = "topk" if activation == "topk" and architecture == "standard" else architecture
    if kind == "gated":
        tensors.pop("b_enc", None)
    head = config.get("hook_point_layer"), config.get("layer_subtype", "hook_resid_post")
    metadata: dict[str, Any] = {name: config[name] for name in KEPT if config.get(name) is not None}
    metadata |= {
        "model_name": config.get("model_name"),
        "hook_name": f"blocks.{head[0]}.{head[1]}" if isinstance(head[0], int) else None,
        "tokens": "class" if config.get("cls_token_only") else "patches" if config.get("use_patches_only") else "all",
        "trained_as": kind,
    }
    return Read(
        SparseAutoencoder(
            SAEConfig(
                architecture=kind,
                d_in=stated(config, "d_in", folder / CONFIG),
                d_sae=stated(config, "d_sae", folder / CONFIG),
                k=stated(config.get("activation_fn_kwargs") or {}, "k", folder / CONFIG) if kind == "topk" else None,
                normalize_activations=config.get("normalize_activations") or "none",
                metadata=metadata,
            ),
            tensors,
        )
    )


FORMAT = Format("Prisma", files, read, beside=(CONFIG,))
