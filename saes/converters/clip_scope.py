"""CLIP-Scope's dictionaries (Ewington-Pitsos and Goyal 2024): lewington/CLIP-ViT-L-scope.

`N_resid/TOKENS.pt` (N the block of laion/CLIP-ViT-L-14-laion2B-s32B-b82K, whose output is read; TOKENS how many it
was trained on) holds d_in 1,024, n_features 65,536, k 32 and `model_state_dict`: pre_b [d_in], enc [d_in, n_features],
dec [n_features, d_in] (package `clipscope`, sae.py):

    latents = the k largest of enc (x - pre_b); x_hat = dec latents + pre_b

Training normalised each batch (`batch_norm` of the training script: (x - mean) / (deviation + 1e-6), a dimension at a
time) and the statistics are not stored; the published package applies none. Both are measured against the activations,
see `saes.hub.load`. Their top-k keeps negative values among the k largest, which SAELens's ReLU sets to 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from bridge.errors import InputError
from bridge.models.checkpoints import read_content
from saes.converters.format import Format, Read, stated
from saes.sae import SAEConfig, SparseAutoencoder

MODEL = "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"
TENSORS = {"W_enc": "enc", "W_dec": "dec", "b_dec": "pre_b"}


def files(names: Sequence[str]) -> list[str]:
    """Of the checkpoints TOKENS.pt, the one of the most tokens."""
    counted = {int(match[1]): name for name in names if (match := re.fullmatch(r"(\d+)\.pt", name))}
    return [counted[max(counted)]] if counted else []


def read(folder: Path, names: Sequence[str]) -> Read:
    """The dictionary in SAELens's terms."""
    path = folder / names[0]
    content = read_content(path)
    state = content.get("model_state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(state.get(name), torch.Tensor) for name in TENSORS.values()):
        raise InputError(
            f"{path} is not one of CLIP-Scope's checkpoints: they hold model_state_dict with enc, dec, pre_b."
        )
    d_sae = stated(content, "n_features", path)
    tensors = {ours: state[theirs] for ours, theirs in TENSORS.items()}
    block = re.fullmatch(r"(\d+)_resid", folder.name)
    config = SAEConfig(
        architecture="topk",
        d_in=stated(content, "d_in", path),
        d_sae=d_sae,
        k=stated(content, "k", path),
        metadata={
            "model_name": MODEL,
            "hook_name": f"blocks.{block[1]}.hook_resid_post" if block else None,
            "trained_as": "topk",
            "tokens_seen": int(path.stem) if path.stem.isdigit() else None,
        },
    )
    return Read(SparseAutoencoder(config, {**tensors, "b_enc": torch.zeros(d_sae)}), "per_dimension")


FORMAT = Format("CLIP-Scope", files, read)
