"""A sparse autoencoder at inference, in SAELens's format: from a stream's activations to latents.

    x_in    = normalise(x) - b_dec (where apply_b_dec_to_input)
    pre     = x_in W_enc + b_enc                                              [..., d_sae]
    latents = relu(top k of pre)              topk
              relu(pre)                       standard, transcoder
              relu(pre) [pre > threshold]     jumprelu (BatchTopK and Matryoshka, too: one fixed threshold)
              relu(x_in (W_enc exp(r_mag)) + b_mag) [x_in W_enc + b_gate > 0]       gated

No latent depends on the other images of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

NEEDED = {
    "topk": ("W_enc", "b_enc", "b_dec"),
    "standard": ("W_enc", "b_enc", "b_dec"),
    "jumprelu": ("W_enc", "b_enc", "b_dec", "threshold"),
    "gated": ("W_enc", "b_gate", "b_mag", "r_mag", "b_dec"),
    "transcoder": ("W_enc", "b_enc"),
    "skip_transcoder": ("W_enc", "b_enc"),
    "jumprelu_transcoder": ("W_enc", "b_enc", "threshold"),
    "jumprelu_skip_transcoder": ("W_enc", "b_enc", "threshold"),
}
"""The tensors that encoding takes, by architecture."""


def needed(config: Mapping[str, Any], *, writes: bool) -> tuple[str, ...]:
    """The tensors that a dictionary takes; `writes` says that what latents write is asked for, too."""
    decoder = ("W_dec",) if writes or config["rescale_acts_by_decoder_norm"] else ()
    return NEEDED[config["architecture"]] + decoder


class Dictionary(nn.Module):
    """Latents of a stream's activations. `config` has SAELens's fields; `tensors` its names and shapes."""

    W_enc: torch.Tensor
    W_dec: torch.Tensor
    b_enc: torch.Tensor
    b_dec: torch.Tensor
    threshold: torch.Tensor
    b_gate: torch.Tensor
    b_mag: torch.Tensor
    r_mag: torch.Tensor

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], *, writes: bool = False):
        super().__init__()
        self.architecture: str = config["architecture"]
        self.k: int | None = config["k"]
        self.rescales: bool = config["rescale_acts_by_decoder_norm"]
        self.normalisation: str = config["normalize_activations"]
        self.subtracts: bool = config["apply_b_dec_to_input"] and not self.architecture.endswith("transcoder")
        # Buffers, not parameters: Brain-Score takes the type of the first parameter for the network's.
        for name in needed(config, writes=writes):
            self.register_buffer(name, tensors[name])

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Latents of activations [..., d_in], [..., d_sae]."""
        x, _ = self._input(x)
        if self.architecture == "gated":
            magnitudes = x @ (self.W_enc * self.r_mag.exp()) + self.b_mag
            return magnitudes.relu() * (x @ self.W_enc + self.b_gate > 0)
        pre = x @ self.W_enc + self.b_enc
        if self.rescales:
            pre = pre * self.W_dec.norm(dim=-1)
        if self.architecture == "topk":
            assert self.k is not None
            values, indices = pre.topk(self.k, dim=-1, sorted=False)
            return torch.zeros_like(pre).scatter(-1, indices, values.relu())
        if self.architecture.startswith("jumprelu"):
            return pre.relu() * (pre > self.threshold)
        return pre.relu()

    def written(self, latents: torch.Tensor, x: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """What the latents `which` add to the reconstruction of activations x [..., d_in]."""
        decoder = self.W_dec / self.W_dec.norm(dim=-1, keepdim=True) if self.rescales else self.W_dec
        _, scale = self._input(x)
        return latents[..., which] @ decoder[which] * (1.0 if scale is None else scale)

    def _input(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the encoder reads, and each token's scale where tokens are normalised."""
        x, scale = x.to(self.W_enc.dtype), None
        if self.normalisation == "layer_norm":
            shifted = x - x.mean(-1, keepdim=True)
            scale = shifted.std(-1, keepdim=True)
            x = shifted / (scale + 1e-5)
        elif self.normalisation == "constant_norm_rescale":
            scale = x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny) / x.shape[-1] ** 0.5
            x = x / scale
        return (x - self.b_dec if self.subtracts else x), scale
