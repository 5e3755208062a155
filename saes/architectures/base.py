"""What every trained dictionary shares: its settings, its tensors, and the contract of a forward pass.

While it is trained a dictionary is a table of tensors, a row a latent (`saes.sae` has SAELens's names and shapes):

    encoder [s, d_in], decoder [s, d_out] (unit rows), b_enc [s], b_dec [d_out], and what an architecture adds
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from bridge.errors import ConfigError
from bridge.spec import Spec

if TYPE_CHECKING:
    import torch

    from saes.sae import Architecture
    from saes.sparse_ops import Precision

ACTIVE = 1e-3
"""An activation above this (of inputs with total variance 1) counts as firing (Gao et al. 2024, A.2)."""


@dataclass
class Batch:
    """One step's data and circumstances. x [n, d_in] and y [n, d_out] are scaled; y is x unless it transcodes."""

    x: torch.Tensor
    y: torch.Tensor
    dead: torch.Tensor | None = None
    """Latents that are dead now, int64; None where none are."""
    progress: float = 1.0
    """Share of the training that is done, 0 to 1: penalties warm up by it."""
    precision: Precision = "fp32"
    transcodes: bool = False
    in_place: bool = False
    """Whether y may be overwritten (x too, where it is y)."""


@dataclass
class Outcome:
    """What a forward pass gives: the loss to differentiate, and what is watched (detached)."""

    loss: torch.Tensor
    error: torch.Tensor
    """y - y_hat, [n, d_out]; overwritten when the loss is differentiated."""
    share: torch.Tensor
    """Squared error a token."""
    fired: torch.Tensor
    """Which latents were active at any token, bool [s]."""
    l0: float
    """Active latents a token."""
    threshold: float | None = None
    """Batch top-k: the smallest activation that was chosen."""
    parts: dict[str, float] = field(default_factory=dict)


class ArchitectureSpec(Spec):
    """Settings of a dictionary; an architecture adds its own, a literal `kind`, and `forward`."""

    latents: Annotated[int, Field(ge=1)] | None = None
    """Number of latents; `expansion` times the width of the stream where left out."""
    expansion: Annotated[int, Field(ge=1)] = 8
    """Latents a dimension of the stream."""

    def width(self, d_in: int) -> int:
        """Number of latents for a stream of this width."""
        return self.latents or self.expansion * d_in

    def check(self, d_in: int) -> None:
        """Raises ConfigError for settings that do not fit a stream of this width."""

    def extra(self, d_in: int, d_out: int) -> dict[str, torch.Tensor]:
        """Initial values of the tensors that this architecture adds."""
        return {}

    def forward(self, tensors: Mapping[str, torch.Tensor], batch: Batch) -> Outcome:
        """One pass. Gradients flow to `tensors`."""
        raise NotImplementedError

    def inference(self, *, transcodes: bool) -> Architecture:
        """What the trained dictionary is to `saes.sae` and SAELens. Raises ConfigError where it can be neither."""
        raise NotImplementedError

    def inference_tensors(
        self, tensors: Mapping[str, torch.Tensor], threshold: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """The tensors under SAELens's names and in its shapes, still of scaled activations. `threshold` is the one
        that batch top-k was calibrated to."""
        return {
            "W_enc": tensors["encoder"].t().contiguous(),
            "W_dec": tensors["decoder"],
            "b_enc": tensors["b_enc"],
            "b_dec": tensors["b_dec"],
        } | ({"W_skip": tensors["skip"]} if "skip" in tensors else {})


class ChoosesK(ArchitectureSpec):
    """Architectures that keep k latents a token."""

    k: Annotated[int, Field(ge=1)] | None = None
    """Latents a token; where left out 32, or a quarter of the stream's width if that is less."""
    aux_coefficient: Annotated[float, Field(ge=0)] = 1 / 32
    """Weight of the auxiliary loss, by which dead latents learn what the others leave over."""
    k_aux: Annotated[int, Field(ge=1)] | None = None
    """Dead latents that reconstruct it; where left out the power of two at or below half the stream's width, 512 at
    most (Gao et al. 2024, A.2)."""

    def k_for(self, d_in: int) -> int:
        """Latents a token, for a stream of this width."""
        return self.k or max(1, min(32, d_in // 4))

    def k_aux_for(self, d_out: int) -> int:
        """Dead latents that reconstruct the error."""
        return self.k_aux or min(512, 2 ** max(0, (d_out // 2).bit_length() - 1))

    def check(self, d_in: int) -> None:
        """Raises ConfigError if k is more than there are latents."""
        k, s = self.k_for(d_in), self.width(d_in)
        if k > s:
            raise ConfigError(f"k is {k} and the dictionary has {s} latents; give a smaller k, or more latents.")

    def outcome(
        self,
        tensors: Mapping[str, torch.Tensor],
        batch: Batch,
        read: Read,
        loss: torch.Tensor,
        share: torch.Tensor,
        error: torch.Tensor,
        fired: torch.Tensor,
        l0: float,
        threshold: float | None = None,
    ) -> Outcome:
        """The outcome of a pass, with the auxiliary loss where latents are dead; `share` is its squared error."""
        parts = {}
        if batch.dead is not None and len(batch.dead) and self.aux_coefficient:
            from saes.auxk import aux_loss

            k_aux = self.k_aux_for(error.shape[1])
            aux = aux_loss(tensors, read.x, read.centre, error, batch.dead, k_aux, batch.precision)
            loss = loss + self.aux_coefficient * aux
            parts["aux"] = float(aux.detach())
        return Outcome(loss, error.detach(), share.detach(), fired, l0, threshold, parts)


def fired_at(indices: torch.Tensor, active: torch.Tensor, width: int) -> torch.Tensor:
    """Which latents are active anywhere, bool [width], from the entries of sparse codes."""
    largest = active.new_zeros(width).scatter_reduce_(0, indices, active.detach(), "amax")
    return largest > ACTIVE


class Read(NamedTuple):
    """What a pass begins with."""

    x: torch.Tensor
    """What the encoder reads, without a gradient, [n, d_in]."""
    centre: torch.Tensor | None
    """The vector that was subtracted from the activations for it, if any: it gets a gradient through the encoder."""
    target: torch.Tensor
    """What the latents have to write: y - b_dec, [n, d_out], less a skip transcoder's linear part."""


def reading(tensors: Mapping[str, torch.Tensor], batch: Batch) -> Read:
    """What the encoder reads and what the latents have to write."""
    from saes.sparse_ops import less

    bias = tensors["b_dec"]
    skipping = batch.x if "skip" in tensors else None
    target = less(batch.y, bias) if batch.in_place and skipping is not batch.y else batch.y - bias
    if "skip" in tensors:
        target = target - batch.x @ tensors["skip"].t()
    return Read(batch.x, None, target) if batch.transcodes else Read(target.detach(), bias, target)


def with_gradient(read: Read) -> torch.Tensor:
    """What the encoder reads, for dense passes: differentiable in the vector that was subtracted."""
    return read.x if read.centre is None else read.target


def share_of_variance(error: torch.Tensor) -> torch.Tensor:
    """Squared error a token, as a share of the scaled activations' variance (which is 1).

    Its gradient takes the place of the error, which has served by then: a batch is not held twice.
    """
    from saes.sparse_ops import mean_square

    return mean_square(error)
