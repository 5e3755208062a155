"""JumpReLU (Rajamanoharan et al. 2024b): a threshold a latent, learnt through straight-through estimators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from typing_extensions import override

from saes.architectures.base import ACTIVE, Batch, ChoosesK, Outcome, reading, share_of_variance, with_gradient
from saes.architectures.relu import WARM_UP

if TYPE_CHECKING:
    import torch

    from saes.sae import Architecture


class JumpReLU(ChoosesK):
    """latents = pre where pre > threshold, else 0; the penalty is (L0 / k - 1)^2, which aims at k latents a token."""

    kind: Literal["jumprelu"] = "jumprelu"
    sparsity: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the penalty, of activations with total variance 1."""
    bandwidth: Annotated[float, Field(gt=0)] = 0.05
    """Width of the kernel around the threshold."""
    initial_threshold: Annotated[float, Field(gt=0)] = 0.05
    """Threshold of every latent at the start."""

    @override
    def extra(self, d_in: int, d_out: int) -> dict[str, torch.Tensor]:
        import torch

        return {"log_threshold": torch.full((self.width(d_in),), self.initial_threshold).log()}

    @override
    def forward(self, tensors: Mapping[str, torch.Tensor], batch: Batch) -> Outcome:
        from saes.jump import jump

        read = reading(tensors, batch)
        pre = with_gradient(read) @ tensors["encoder"].t() + tensors["b_enc"]
        latents, gate = jump(pre, tensors["log_threshold"].exp(), self.bandwidth)
        error = read.target - latents @ tensors["decoder"]
        l0 = gate.sum() / len(error)
        share = share_of_variance(error)
        warm = min(1.0, batch.progress / WARM_UP)
        loss = share + self.sparsity * warm * (l0 / self.k_for(read.x.shape[1]) - 1).square()
        fired = (latents.detach() > ACTIVE).any(0)
        return self.outcome(tensors, batch, read, loss, share, error, fired, float(l0.detach()))

    @override
    def inference(self, *, transcodes: bool) -> Architecture:
        return "jumprelu_transcoder" if transcodes else "jumprelu"

    @override
    def inference_tensors(
        self, tensors: Mapping[str, torch.Tensor], threshold: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        return super().inference_tensors(tensors, threshold) | {"threshold": tensors["log_threshold"].exp()}
