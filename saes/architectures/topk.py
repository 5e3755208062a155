"""TopK (Gao et al. 2024): each token keeps its k largest pre-activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from bridge.errors import ConfigError
from saes.architectures.base import Batch, ChoosesK, Outcome, fired_at, reading, share_of_variance

if TYPE_CHECKING:
    import torch

    from saes.sae import Architecture


class TopK(ChoosesK):
    """k latents at every token: latents = relu(top k of W_enc (x - b_dec) + b_enc)."""

    kind: Literal["topk"] = "topk"

    @override
    def forward(self, tensors: Mapping[str, torch.Tensor], batch: Batch) -> Outcome:
        import torch

        from saes.sparse_ops import Pattern, decoding_error, encode_top_k, pre_activations

        encoder, bias = tensors["encoder"], tensors["b_enc"]
        s, d_in = encoder.shape
        k = self.k_for(d_in)
        read = reading(tensors, batch)
        with torch.no_grad():
            chosen, values = encode_top_k(read.x, encoder, bias, k, precision=batch.precision)
        offsets = torch.arange(0, chosen.numel() + 1, k, device=bias.device)
        pattern = Pattern(offsets, chosen.reshape(-1), s)
        # ReLU after the choice: a chosen latent below 0 is inactive and gets no gradient.
        active = pre_activations(values.reshape(-1), read.x, encoder, bias, pattern, centre=read.centre).relu()
        error = decoding_error(read.target, active, tensors["decoder"], pattern)
        share = share_of_variance(error)
        l0 = int((active.detach() > 0).sum()) / max(len(error), 1)
        return self.outcome(tensors, batch, read, share, share, error, fired_at(pattern.indices, active, s), l0)

    @override
    def inference(self, *, transcodes: bool) -> Architecture:
        if transcodes:
            raise ConfigError(
                "SAELens has no top-k transcoder, so one could not be loaded elsewhere; train a `batchtopk` one, "
                "which is stored as a jumprelu transcoder."
            )
        return "topk"
