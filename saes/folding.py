"""Statistics of the inputs folded into a dictionary's tensors, so that it takes the stream's own activations.

A dictionary trained on u = (x - m) / s (s one number, or one a dimension) that gives s u_hat + m is, on x itself,

    W_enc' = W_enc / s      b_dec' = s b_dec + m      W_dec' = W_dec s
    b_enc' = b_enc                    if b_dec is subtracted at the input
           = b_enc - (m / s) W_enc    if not

the same latents, and the same reconstruction as s u_hat + m. (What is trained here is folded by
`saes.input_scaling.folded`, where latents get the stream's units.)
"""

from __future__ import annotations

from dataclasses import replace

import torch

from bridge.errors import InputError
from saes.input_scaling import Scaling
from saes.sae import SparseAutoencoder


def folded(sae: SparseAutoencoder, scaling: Scaling) -> SparseAutoencoder:
    """The dictionary that takes x where `sae` takes (x - mean) / scale.

    Raises InputError for transcoders and for dictionaries whose latents depend on the decoder's norm, or that
    normalise each token: for those it is not the same.
    """
    config = sae.config
    if config.transcodes or config.rescale_acts_by_decoder_norm or config.normalize_activations != "none":
        raise InputError("Statistics cannot be folded into this dictionary; scale its inputs instead.")
    dtype = sae.W_enc.dtype
    mean, scale = scaling.mean.to(dtype), scaling.scale.to(dtype)
    tensors = sae.tensors()
    if not config.apply_b_dec_to_input:
        shift = (mean / scale) @ tensors["W_enc"]
        for bias in ("b_enc", "b_gate", "b_mag"):
            if bias in tensors:
                gain = tensors["r_mag"].exp() if bias == "b_mag" else 1
                tensors[bias] = tensors[bias] - shift * gain
    tensors["W_enc"] = tensors["W_enc"] / scale[:, None]
    tensors["W_dec"] = tensors["W_dec"] * scale
    tensors["b_dec"] = tensors["b_dec"] * scale + mean
    return SparseAutoencoder(replace(config, metadata=dict(config.metadata)), tensors)


def mean_norm(x: torch.Tensor) -> Scaling:
    """Mean vector and mean |x - mean| / sqrt d of tokens [n, d], in float64.

    As saev 0.1 takes them (`saev/activations.py`, scale_mean and scale_norm)."""
    x = x.double()
    mean = x.mean(0)
    scale = (x - mean).norm(dim=1).mean() / x.shape[1] ** 0.5
    return Scaling(mean, scale.expand(x.shape[1]))


def per_dimension(x: torch.Tensor) -> Scaling:
    """Mean and unbiased deviation + 1e-6 of each dimension of tokens [n, d], in float64.

    As CLIP-Scope's training script takes them (`sache/scripts/train_sae.py`, batch_norm)."""
    x = x.double()
    return Scaling(x.mean(0), x.std(0) + 1e-6)
