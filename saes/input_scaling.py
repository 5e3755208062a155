"""What activations are divided by before a dictionary is trained on them, and how that is folded into its tensors.

A dictionary is trained on (x - mean) / scale, whose total variance about the mean vector is 1, so that losses are
shares of variance and one learning rate fits every site. What is saved acts on the stream itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bridge.errors import InputError


@dataclass(frozen=True)
class Scaling:
    """(x - mean) / scale, both [d]."""

    mean: torch.Tensor
    scale: torch.Tensor

    def apply(self, x: torch.Tensor, *, in_place: bool = False) -> torch.Tensor:
        """Scaled activations, [n, d]; `in_place` overwrites the given ones."""
        return (x.sub_(self.mean) if in_place else x - self.mean).div_(self.scale)

    @staticmethod
    def none(width: int) -> Scaling:
        """Activations as they are."""
        return Scaling(torch.zeros(width), torch.ones(width))

    @staticmethod
    def fitted(sample: torch.Tensor, parts: Sequence[int] | None = None, what: str = "the activations") -> Scaling:
        """The mean vector, and one scale for all dimensions: the root of the total variance (`parts`: widths of
        concatenated sites, each of which gets its own scale and, together, the total variance 1).

        sample [n, d]. Raises InputError where it holds values that are not finite, or does not vary.
        """
        if not torch.isfinite(sample).all():
            raise InputError(f"NaN or infinite values stand among {what}; mend or leave out what they come from.")
        widths = list(parts) if parts else [sample.shape[1]]
        mean = sample.double().mean(0)
        variances = (sample.double() - mean).square().mean(0)
        scales = []
        for part in variances.split(widths):
            total = part.sum()
            if not total > 0:
                raise InputError(f"There is nothing to learn: {what} do not vary ({len(sample)} tokens looked at).")
            scales.append((total * len(widths)).sqrt().expand(len(part)))
        return Scaling(mean.to(sample.dtype), torch.cat(scales).to(sample.dtype))


def folded(tensors: dict[str, torch.Tensor], reads: Scaling, writes: Scaling, *, transcodes: bool) -> dict:
    """The tensors of a dictionary of scaled activations as those of one of the activations themselves.

    Where one scale serves all dimensions, decoder directions keep their norms and latents get the stream's units;
    else (crosscoders) latents keep theirs. Exact: top-k, ReLU and thresholds commute with one positive factor.
    Computed in float64: a mean that is large beside the deviations is rounded once. For dictionaries of others, whose
    latents keep their units and whose b_dec may not be subtracted at the input, see `saes.folding`.
    """
    out = {name: value.detach().double() for name, value in tensors.items()}
    reads, writes = (Scaling(part.mean.double(), part.scale.double()) for part in (reads, writes))
    one = bool((writes.scale == writes.scale[0]).all())
    unit = writes.scale[0] if one else torch.ones((), dtype=writes.scale.dtype)
    out["W_enc"] = out["W_enc"] / reads.scale[:, None] * unit
    out["W_dec"] = out["W_dec"] * (writes.scale / unit)
    for name in ("b_enc", "b_gate", "b_mag", "threshold"):
        if name in out:
            out[name] = out[name] * unit
    out["b_dec"] = out["b_dec"] * writes.scale + writes.mean
    if transcodes:  # nothing is subtracted from its input: the mean goes into the encoder's bias
        out["b_enc"] = out["b_enc"] - reads.mean @ out["W_enc"]
    if "W_skip" in out:
        out["W_skip"] = out["W_skip"] * writes.scale[:, None] / reads.scale
        out["b_dec"] = out["b_dec"] - out["W_skip"] @ reads.mean
    return {name: value.to(tensors[name].dtype, copy=True) for name, value in out.items()}
