"""What a dictionary does to activations, in one pass over them: error, sparsity, and how its latents are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bridge.errors import ConfigError, InputError, did_you_mean
from saes.codes import SparseCodes
from saes.identity import plain_site
from saes.reconstruction import ReconstructionError
from saes.sae import SparseAutoencoder

Array = np.ndarray | torch.Tensor
Batch = Array | tuple[Array, Array] | Mapping[str, Array]
DENSE = 0.1
"""A latent that is active at more than this share of the tokens is called dense."""
BINS = np.arange(-8, 0.001, 0.25)
"""Edges of the histogram of log10 firing densities; what is rarer than 1e-8 is counted in the first bin."""


@dataclass(frozen=True)
class Metrics:
    """A dictionary's error and sparsity over some tokens. NaN is what is undefined there, as each field says."""

    tokens: int
    fvu: float
    """Fraction of variance unexplained: sum of squared errors over the sum of squares about the mean vector. NaN for
    constant data and a single token."""
    mse: float
    """Mean squared error of a value."""
    cosine: float
    """Mean cosine between a token and its reconstruction; NaN if one of them is 0 at every token."""
    l0: float
    """Mean number of active latents a token."""
    l0_deviation: float
    """Its standard deviation over tokens."""
    dead: float
    """Share of latents that are active at none of these tokens: of few tokens, it says little."""
    dense: float
    """Share of latents that are active at more than 10% of them."""
    mean_activation: float
    """Mean activation where a latent is active, over all such places; NaN if every latent is dead."""
    histogram: np.ndarray
    """Latents in each bin of log10 density, int64 [bins]; dead latents are in none."""
    density: np.ndarray
    """Share of the tokens at which each latent is active, float64 [d_sae]."""
    activations: np.ndarray
    """Mean activation of each latent where it is active, float64 [d_sae]; NaN for dead ones."""
    explained_variance: np.ndarray
    """1 - SSE / SST of each dimension of the stream, float64 [d]; NaN for constant ones."""

    def as_json(self) -> dict[str, Any]:
        """The numbers that stand for all latents, as JSON values (None for NaN); the arrays are left out but for
        the histogram, with its edges."""
        values: dict[str, Any] = {}
        for name in ("tokens", "fvu", "mse", "cosine", "l0", "l0_deviation", "dead", "dense", "mean_activation"):
            value = getattr(self, name)
            values[name] = value if math.isfinite(value) else None
        return {**values, "log10_density": {"edges": BINS.tolist(), "latents": self.histogram.tolist()}}


class LatentUse:
    """How often and how strongly each latent is active, counted batch by batch."""

    def __init__(self, width: int):
        self.tokens = 0
        self.fires = np.zeros(width, np.int64)
        self.sums = np.zeros(width)
        self._l0 = self._l0_squares = 0

    def add(self, codes: SparseCodes) -> None:
        """Count the codes of some tokens. Raises InputError if they are of another width."""
        width = len(self.fires)
        if codes.width != width:
            raise InputError(f"Codes of {codes.width} latents were given where {width} are counted; give one width.")
        active = codes.values != 0
        indices = codes.indices[active]
        self.fires += torch.bincount(indices, minlength=width).cpu().numpy()
        self.sums += torch.bincount(indices.cpu(), codes.values[active].cpu().double(), minlength=width).numpy()
        counts = codes.l0()
        self._l0 += int(counts.sum())
        self._l0_squares += int(counts.square().sum())
        self.tokens += len(codes)

    @property
    def density(self) -> np.ndarray:
        """Share of the tokens at which each latent is active, float64 [width]."""
        return self.fires / self.tokens

    @property
    def activations(self) -> np.ndarray:
        """Mean activation of each latent where it is active, float64 [width]; NaN for dead ones."""
        return np.divide(self.sums, self.fires, out=np.full(len(self.sums), np.nan), where=self.fires > 0)

    @property
    def l0(self) -> tuple[float, float]:
        """Mean and standard deviation over tokens of the number of active latents."""
        mean = self._l0 / self.tokens
        return mean, max(self._l0_squares / self.tokens - mean**2, 0.0) ** 0.5

    def histogram(self) -> np.ndarray:
        """Latents in each bin of log10 density (`BINS`), int64; dead ones are in none."""
        alive = self.density[self.fires > 0]
        return np.histogram(np.clip(np.log10(alive), BINS[0], BINS[-1]), BINS)[0]


class Evaluation:
    """The metrics of one dictionary, batch by batch: the codes stay sparse, the activations are not kept."""

    def __init__(self, sae: SparseAutoencoder):
        self.sae = sae
        self.error = ReconstructionError()
        self.use = LatentUse(sae.d_sae)

    @torch.no_grad()
    def add(self, x: torch.Tensor, target: torch.Tensor | None = None) -> None:
        """Count tokens [..., d_in]; `target` [..., d_out] is what a transcoder is to give, by default `x`.

        Raises InputError for another width, for values that are not finite, and for a transcoder without target.
        """
        sae = self.sae
        if target is None and sae.config.transcodes:
            raise InputError(
                f"A {sae.config.architecture} is measured against the values that it is to give; give pairs "
                "(input, target), or batches by site."
            )
        x = x.reshape(-1, x.shape[-1]) if x.ndim != 2 else x
        x = x.to(sae.W_enc.device)
        target = x if target is None else target.reshape(-1, target.shape[-1]).to(x.device)
        codes = sae.encode_sparse(x)
        # The error first: it refuses what is not finite before anything is counted.
        self.error.add(target, sae.decode_sparse(codes, x))
        self.use.add(codes)

    def result(self) -> Metrics:
        """The metrics of what was counted. Raises InputError if that is nothing."""
        use, error = self.use, self.error
        if not use.tokens:
            raise InputError("No tokens were given to measure the dictionary on; give at least one batch.")
        active = int(use.fires.sum())
        l0, deviation = use.l0
        return Metrics(
            tokens=use.tokens,
            fvu=error.fvu,
            mse=error.mse,
            cosine=error.cosine,
            l0=l0,
            l0_deviation=deviation,
            dead=float((use.fires == 0).mean()),
            dense=float((use.density > DENSE).mean()),
            mean_activation=float(use.sums.sum()) / active if active else float("nan"),
            histogram=use.histogram(),
            density=use.density,
            activations=use.activations,
            explained_variance=error.explained_variance,
        )


def evaluate(
    sae: SparseAutoencoder, batches: Iterable[Batch], *, progress: Callable[[int], None] | None = None
) -> Metrics:
    """The metrics of a dictionary over batches of tokens, in one pass.

    A batch is a tensor [n, d_in] (or [images, tokens, d_in]); for transcoders a pair (input, target); or tensors by
    site, as `bridge.readers.shuffled_tokens` yields them, of which the dictionary takes the sites that its metadata
    name (a single one is taken whatever its name where the metadata name none). `progress` is called after each batch
    with the number of tokens so far.

    Raises ConfigError if a batch lacks the site, InputError for no tokens, another width, or values that are not
    finite.
    """
    return evaluate_all({"": sae}, batches, progress=progress)[""]


def evaluate_all(
    saes: Mapping[str, SparseAutoencoder],
    batches: Iterable[Batch],
    *,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Metrics]:
    """`evaluate` for several dictionaries (several sites, seeds or sizes) in one pass over the batches."""
    running = {name: Evaluation(sae) for name, sae in saes.items()}
    for batch in batches:
        for one in running.values():
            one.add(*pair_of(one.sae, batch))
        if progress is not None:
            progress(max((one.use.tokens for one in running.values()), default=0))
    return {name: one.result() for name, one in running.items()}


def pair_of(sae: SparseAutoencoder, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A dictionary's input and, if it is not the same, its target from a batch (forms: see `evaluate`).

    Raises ConfigError if the batch lacks one of the dictionary's sites.
    """
    if isinstance(batch, Mapping):
        metadata = sae.config.metadata
        if sites := metadata.get("sites"):
            return torch.cat([_at(batch, name) for name in sites], dim=-1), None
        x = _at(batch, sae.site)
        return x, _at(batch, metadata.get("hook_name_out")) if sae.config.transcodes else None
    if isinstance(batch, tuple):
        return torch.as_tensor(batch[0]), torch.as_tensor(batch[1])
    return torch.as_tensor(batch), None


def _at(batch: Mapping[str, Array], site: str | None) -> torch.Tensor:
    if site is None and len(batch) == 1:
        return torch.as_tensor(next(iter(batch.values())))
    if site is not None and site not in batch:
        site = plain_site(site)
    if site is None or site not in batch:
        raise ConfigError(
            f"The dictionary is of {site or 'a site that its metadata do not name'}, which the batch lacks; "
            f"{did_you_mean(site or '', batch)}."
        )
    return torch.as_tensor(batch[site])
