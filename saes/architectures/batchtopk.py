"""BatchTopK (Bussmann et al. 2024): the k n largest activations of a batch of n tokens are kept.

At inference a fixed threshold takes the batch's place. It is calibrated after training (`saes.training`), so that k
latents a token are active on average; the moving average that SAELens keeps lags behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from saes.architectures.base import Batch, ChoosesK, Outcome, fired_at, reading, share_of_variance

if TYPE_CHECKING:
    import torch

    from saes.sae import Architecture
    from saes.sparse_ops import Pattern


class BatchTopK(ChoosesK):
    """k latents a token on average over a batch: tokens that need more get more."""

    kind: Literal["batchtopk"] = "batchtopk"

    @override
    def forward(self, tensors: Mapping[str, torch.Tensor], batch: Batch) -> Outcome:
        import torch

        from saes.sparse_ops import batch_top_k, pre_activations

        encoder, bias = tensors["encoder"], tensors["b_enc"]
        read = reading(tensors, batch)
        with torch.no_grad():
            pattern, values, least = batch_top_k(read.x, encoder, bias, self.k_for(encoder.shape[1]), batch.precision)
        active = pre_activations(values, read.x, encoder, bias, pattern, centre=read.centre).relu()
        loss, error = self.reconstruction(tensors, read.target, active, pattern)
        fired = fired_at(pattern.indices, active, len(encoder))
        l0 = len(values) / max(len(error), 1)
        share = loss if self.kind == "batchtopk" else share_of_variance(error.detach())
        return self.outcome(tensors, batch, read, loss, share, error, fired, l0, least)

    def reconstruction(
        self, tensors: Mapping[str, torch.Tensor], target: torch.Tensor, active: torch.Tensor, pattern: Pattern
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(loss, error of the whole dictionary [n, d_out])."""
        from saes.sparse_ops import decoding_error

        error = decoding_error(target, active, tensors["decoder"], pattern)
        return share_of_variance(error), error

    @override
    def inference(self, *, transcodes: bool) -> Architecture:
        return "jumprelu_transcoder" if transcodes else "jumprelu"

    @override
    def inference_tensors(
        self, tensors: Mapping[str, torch.Tensor], threshold: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        assert threshold is not None
        level = threshold.to(tensors["b_enc"]).expand_as(tensors["b_enc"])
        return super().inference_tensors(tensors, threshold) | {"threshold": level.clone()}
