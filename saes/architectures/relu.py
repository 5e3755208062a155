"""ReLU with an L1 penalty (Bricken et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from typing_extensions import override

from saes.architectures.base import ACTIVE, ArchitectureSpec, Batch, Outcome, reading, share_of_variance, with_gradient

if TYPE_CHECKING:
    import torch

    from saes.sae import Architecture

WARM_UP = 0.05
"""Share of the training over which penalties rise to their full weight."""


class ReLU(ArchitectureSpec):
    """latents = relu(W_enc (x - b_dec) + b_enc); their sum is a penalty (decoder rows have norm 1)."""

    kind: Literal["relu"] = "relu"
    l1: Annotated[float, Field(ge=0)] = 0.2
    """Weight of the sum of a token's latents against its squared error, of activations with total variance 1."""

    @override
    def forward(self, tensors: Mapping[str, torch.Tensor], batch: Batch) -> Outcome:
        read = reading(tensors, batch)
        latents = (with_gradient(read) @ tensors["encoder"].t() + tensors["b_enc"]).relu()
        error = read.target - latents @ tensors["decoder"]
        penalty = latents.sum() / len(error)
        share = share_of_variance(error)
        loss = share + self.l1 * min(1.0, batch.progress / WARM_UP) * penalty
        fired = (latents.detach() > ACTIVE).any(0)
        l0 = int((latents.detach() > 0).sum()) / max(len(error), 1)
        return Outcome(loss, error.detach(), share.detach(), fired, l0, parts={"l1": float(penalty.detach())})

    @override
    def inference(self, *, transcodes: bool) -> Architecture:
        return "transcoder" if transcodes else "standard"
