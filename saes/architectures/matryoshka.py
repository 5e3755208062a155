"""Matryoshka BatchTopK (Bussmann et al. 2025): nested dictionaries, each of which must reconstruct on its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from typing_extensions import override

from bridge.errors import ConfigError
from saes.architectures.base import share_of_variance
from saes.architectures.batchtopk import BatchTopK

if TYPE_CHECKING:
    import torch

    from saes.sparse_ops import Pattern


class Matryoshka(BatchTopK):
    """The first latents of a BatchTopK dictionary are a smaller dictionary, and so on: general features come first.

    The loss is the mean over the nested dictionaries' errors (eq. 4 there, divided by their number).
    """

    kind: Literal["matryoshka"] = "matryoshka"  # type: ignore[assignment]
    levels: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)] = [0.25, 0.5, 1.0]
    """Sizes of the nested dictionaries as shares of the latents, ascending; the last is 1. (Few: streams of ResNets are
    narrow, and a first dictionary of a sixteenth of the latents kept planted directions from being found.)"""

    @override
    def check(self, d_in: int) -> None:
        super().check(d_in)
        if sorted(set(self.levels)) != self.levels or self.levels[-1] != 1:
            raise ConfigError(f"levels are {self.levels}; give ascending shares of the latents that end with 1.")

    @override
    def reconstruction(
        self, tensors: Mapping[str, torch.Tensor], target: torch.Tensor, active: torch.Tensor, pattern: Pattern
    ) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        from saes.sparse_ops import Pattern, decoding_error

        bounds = torch.tensor(
            [max(1, round(share * pattern.width)) for share in self.levels[:-1]], device=active.device
        )
        level = torch.bucketize(pattern.indices, bounds, right=True)
        counts = pattern.offsets.diff()
        tokens = torch.repeat_interleave(torch.arange(len(counts), device=active.device), counts)
        error, loss = target, target.new_zeros(())
        for number in range(len(self.levels)):
            here = (level == number).nonzero().flatten()
            ends = torch.bincount(tokens[here], minlength=len(counts)).cumsum(0)
            part = Pattern(torch.cat([ends.new_zeros(1), ends]), pattern.indices[here], pattern.width)
            error = decoding_error(error, active[here], tensors["decoder"], part)
            loss = loss + share_of_variance(error) / len(self.levels)
        return loss, error
