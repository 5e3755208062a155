"""Gated (Rajamanoharan et al. 2024a): one path decides which latents are active, another how strongly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from typing_extensions import override

from bridge.errors import ConfigError
from saes.architectures.base import ACTIVE, ArchitectureSpec, Batch, Outcome, reading, share_of_variance, with_gradient
from saes.architectures.relu import WARM_UP

if TYPE_CHECKING:
    import torch

    from saes.sae import Architecture


class Gated(ArchitectureSpec):
    """Eq. 6 there, with the weights of the two paths tied by exp(r_mag); `b_enc` is the gate's bias.

    The loss (eq. 8): the squared error, an L1 penalty on the gates, and the error of a reconstruction from the gates
    through a decoder that this term does not move.
    """

    kind: Literal["gated"] = "gated"
    l1: Annotated[float, Field(ge=0)] = 0.3
    """Weight of the sum of a token's gates, of activations with total variance 1."""

    @override
    def extra(self, d_in: int, d_out: int) -> dict[str, torch.Tensor]:
        import torch

        return {"r_mag": torch.zeros(self.width(d_in)), "b_mag": torch.zeros(self.width(d_in))}

    @override
    def forward(self, tensors: Mapping[str, torch.Tensor], batch: Batch) -> Outcome:
        read = reading(tensors, batch)
        product = with_gradient(read) @ tensors["encoder"].t()
        gates = product + tensors["b_enc"]
        latents = (product * tensors["r_mag"].exp() + tensors["b_mag"]).relu() * (gates > 0)
        error = read.target - latents @ tensors["decoder"]
        gates = gates.relu()
        aside = read.target.detach() - gates @ tensors["decoder"].detach()
        penalty, share = gates.sum() / len(error), share_of_variance(error)
        loss = share + self.l1 * min(1.0, batch.progress / WARM_UP) * penalty + share_of_variance(aside)
        fired = (latents.detach() > ACTIVE).any(0)
        l0 = int((latents.detach() > 0).sum()) / max(len(error), 1)
        return Outcome(loss, error.detach(), share.detach(), fired, l0, parts={"l1": float(penalty.detach())})

    @override
    def inference(self, *, transcodes: bool) -> Architecture:
        if transcodes:
            raise ConfigError("A gated transcoder cannot be stored; train a `batchtopk`, `jumprelu` or `relu` one.")
        return "gated"

    @override
    def inference_tensors(
        self, tensors: Mapping[str, torch.Tensor], threshold: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        named = super().inference_tensors(tensors, threshold)
        named["b_gate"] = named.pop("b_enc")
        return named | {"b_mag": tensors["b_mag"], "r_mag": tensors["r_mag"]}
