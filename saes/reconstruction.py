"""How well activations are reconstructed: sums in float64 over batches, about the mean vector of all tokens."""

from __future__ import annotations

import numpy as np
import torch

from bridge.errors import InputError

_ROWS = 4096  # tokens that are held in float64 at once


class ReconstructionError:
    """Error sums of reconstructions, batch by batch: the data never need to fit in memory.

    With x_t the tokens and m their mean vector, over all batches

        SSE = sum_t (x_t - x_hat_t)^2        SST = sum_t (x_t - m)^2        FVU = sum_d SSE / sum_d SST

    SST is updated by Chan, Golub & LeVeque 1983 (eq. 2.1), about the first token: a mean that is large beside the
    deviations does not cancel. Everything is float64, on the device of the data (on the CPU where that has none).

    FVU is NaN where it is undefined: constant data, a single token.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._origin: torch.Tensor | None = None
        self._mean = self._sst = self._sse = torch.zeros(0, dtype=torch.float64)
        self._cosines = 0.0
        self._with_cosine = 0

    def add(self, x: torch.Tensor, reconstruction: torch.Tensor) -> None:
        """Count tokens [..., d] with their reconstructions of the same shape; every leading axis runs over tokens.

        Raises InputError for shapes that differ, for another width than before, and for values that are not finite;
        what was counted before stays as it was.
        """
        if x.shape != reconstruction.shape or x.ndim < 1:
            raise InputError(
                f"Activations of shape {list(x.shape)} have reconstructions of shape {list(reconstruction.shape)}; "
                "give the same shape, [..., d]."
            )
        if self._origin is not None and x.shape[-1] != len(self._origin):
            raise InputError(
                f"Activations of width {x.shape[-1]} came after some of width {len(self._origin)}; "
                "give one site's activations."
            )
        width = x.shape[-1]
        before = dict(self.__dict__)
        try:
            for some, same in zip(
                x.reshape(-1, width).split(_ROWS), reconstruction.reshape(-1, width).split(_ROWS), strict=True
            ):
                self._add(_float64(some), _float64(same))
        except InputError:
            self.__dict__.update(before)
            raise

    def _add(self, x: torch.Tensor, reconstruction: torch.Tensor) -> None:
        if not len(x):
            return
        if self._origin is None:
            self._origin = x[0].clone()
            self._mean = self._sst = self._sse = torch.zeros_like(self._origin)
        shifted = x - self._origin
        mean = shifted.mean(dim=0)
        spread = (shifted - mean).square_().sum(dim=0)
        squared = (x - reconstruction).square_().sum(dim=0)
        for what, value in (("activations", spread), ("reconstructions", squared)):
            if not torch.isfinite(value).all():
                raise InputError(
                    f"Among the {what} of tokens {self.tokens} to {self.tokens + len(x) - 1} are values that are not "
                    "finite (NaN or infinity); find where they arise, or leave those stimuli out."
                )
        n, more = self.tokens, len(x)
        away = mean - self._mean
        self._mean = self._mean + away * (more / (n + more))
        self._sst = self._sst + spread + away.square() * (n * more / (n + more))
        self._sse = self._sse + squared
        self.tokens = n + more
        norms = x.norm(dim=1) * reconstruction.norm(dim=1)
        cosines = ((x * reconstruction).sum(dim=1) / norms)[norms > 0]
        self._cosines += float(cosines.sum())
        self._with_cosine += len(cosines)

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained, sum SSE / sum SST; 1 is as good as the mean vector. NaN if SST is 0."""
        total = float(self._sst.sum())
        return float(self._sse.sum()) / total if total > 0 else float("nan")

    @property
    def explained_variance(self) -> np.ndarray:
        """1 - SSE / SST of each dimension, float64 [d]; NaN for dimensions that are constant."""
        sse, sst = self._sse.cpu().numpy(), self._sst.cpu().numpy()
        return 1 - np.divide(sse, sst, out=np.full(len(sse), np.nan), where=sst > 0)

    @property
    def mse(self) -> float:
        """Mean squared error of a value; NaN without tokens."""
        return float(self._sse.mean()) / self.tokens if self.tokens else float("nan")

    @property
    def cosine(self) -> float:
        """Mean cosine between a token and its reconstruction, neither centred; tokens where either is 0 do not count,
        NaN if none is left. (A large mean alone brings it near 1.)"""
        return self._cosines / self._with_cosine if self._with_cosine else float("nan")


def _float64(value: torch.Tensor) -> torch.Tensor:
    value = value.detach()
    return (value.cpu() if value.device.type == "mps" else value).double()
