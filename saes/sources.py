"""Where tokens to train on come from: captured shards, a network as it runs, or arrays in memory.

A source hands out shuffled batches by site; row i of every site is of the same stimulus, and of the same token where
the sites have one grid (`places`). The order depends on (seed, epoch) alone, and any batch of it can be started from:
a training that was killed goes on with the tokens that it would have seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from bridge.errors import ConfigError, InputError

if TYPE_CHECKING:
    from bridge.models.base import Backbone
    from bridge.readers import Activations
    from bridge.stimuli.stimulus_set import StimulusSet


SHARDS_RESERVOIR, HOOKS_RESERVOIR = 2**18, 2**17
"""Tokens that are shuffled at a time."""


class TokenSource(Protocol):
    """What training needs of a source."""

    @property
    def widths(self) -> Mapping[str, int]:
        """d by site."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens in an epoch."""
        ...

    @property
    def places(self) -> Mapping[str, int]:
        """By site, out of how many patches of a stimulus the tokens were drawn, 0 where none were. Row i lies at one
        place of the stimulus in all sites with the same number."""
        ...

    def batches(self, batch: int, seed: int, epoch: int = 0, start: int = 0) -> Iterator[dict[str, torch.Tensor]]:
        """An epoch's batches from number `start` on, float32 [batch, d] by site; the last is shorter."""
        ...


def is_held_out(stimulus_id: str, share: float) -> bool:
    """Whether a stimulus is kept from training: decided by its id alone, so the same for every site and seed."""
    drawn = int.from_bytes(hashlib.sha256(f"held out/{stimulus_id}".encode()).digest()[:8], "big")
    return drawn < share * 2**64


def divided(ids: Sequence[str], share: float) -> tuple[list[str], list[str]]:
    """(ids to train on, ids held out). Raises InputError where nothing is left to train on; where chance holds out
    none of several, the last one is."""
    held = [name for name in ids if is_held_out(name, share)]
    if share and not held and len(ids) > 1:
        held = [ids[-1]]
    kept = set(ids) - set(held)
    train = [name for name in ids if name in kept]
    if not train:
        raise InputError(f"{len(ids)} stimuli with {share:.0%} held out leave none to train on; give more stimuli.")
    return train, held


class ShardTokens:
    """Tokens of captured activations (`bridge.readers.shuffled_tokens`), of all stimuli or of `ids`."""

    def __init__(
        self,
        activations: Activations,
        sites: Sequence[str],
        ids: Sequence[str] | None = None,
        reservoir: int = SHARDS_RESERVOIR,
    ):
        """Raises ConfigError for sites that were not captured or have different numbers of tokens a stimulus,
        InputError where there is no token."""
        self.activations, self.sites, self.reservoir = activations, list(sites), reservoir
        self.ids = None if ids is None else list(dict.fromkeys(ids))
        stored = {site: activations.shape(site)[1] for site in sites}
        if len(set(stored.values())) != 1:
            raise ConfigError(
                f"The sites {', '.join(stored)} hold {', '.join(map(str, sorted(set(stored.values()))))} tokens a "
                "stimulus; capture the same number of patches at each (capture.tokens: 16), or train them apart."
            )
        if not self.tokens:
            raise InputError(
                f"The activations in {activations.folder} hold no token to train on; capture some stimuli."
            )

    @property
    def widths(self) -> dict[str, int]:
        """d by site."""
        return {site: self.activations.sites[site].width for site in self.sites}

    @cached_property
    def tokens(self) -> int:
        """Tokens in an epoch."""
        rows = np.arange(len(self.activations)) if self.ids is None else self.activations.rows_of(self.ids)
        if self.activations.lengths is not None:
            return int(self.activations.lengths[rows].sum())
        return len(rows) * self.activations.shape(self.sites[0])[1]

    @property
    def places(self) -> dict[str, int]:
        """Patches of a stimulus by site where some were drawn, else 0."""
        sites = {site: self.activations.sites[site] for site in self.sites}
        drawn = isinstance(self.activations.manifest["tokens"], int)
        return {name: site.tokens - site.prefix if drawn else 0 for name, site in sites.items()}

    def batches(self, batch: int, seed: int, epoch: int = 0, start: int = 0) -> Iterator[dict[str, torch.Tensor]]:
        """An epoch's batches from number `start` on."""
        from bridge.readers import shuffled_tokens

        return shuffled_tokens(
            self.activations,
            self.sites,
            batch=batch,
            seed=seed,
            epoch=epoch,
            start=start,
            reservoir=self.reservoir,
            ids=self.ids,
        )


class ArrayTokens:
    """Tokens that are in memory: [n, d] by site, rows aligned."""

    def __init__(self, arrays: Mapping[str, torch.Tensor]):
        """Raises InputError for arrays that are not [n, d] with the same n > 0."""
        shapes = {site: tuple(array.shape) for site, array in arrays.items()}
        if (
            any(len(shape) != 2 or not shape[0] for shape in shapes.values())
            or len({s[0] for s in shapes.values()}) != 1
        ):
            raise InputError(
                f"Tokens of the shapes {shapes} were given; give [n, d] with the same n > 0 at every site."
            )
        self.arrays = {site: array.float() for site, array in arrays.items()}

    @property
    def widths(self) -> dict[str, int]:
        """d by site."""
        return {site: array.shape[1] for site, array in self.arrays.items()}

    @property
    def tokens(self) -> int:
        """Tokens in an epoch."""
        return len(next(iter(self.arrays.values())))

    @property
    def places(self) -> dict[str, int]:
        """0 by site: rows are aligned."""
        return dict.fromkeys(self.arrays, 0)

    def batches(self, batch: int, seed: int, epoch: int = 0, start: int = 0) -> Iterator[dict[str, torch.Tensor]]:
        """An epoch's batches from number `start` on."""
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(self.tokens))
        for part in order.split(batch)[start:]:
            yield {site: array.index_select(0, part) for site, array in self.arrays.items()}


class HookTokens:
    """Tokens straight from a network as it runs: nothing goes to disk, every epoch is a pass over the stimuli.

    Stimuli pass in random order; their tokens fill a reservoir of about `reservoir` tokens, whose rows are shuffled.
    Each stimulus gives `patches` tokens at every site, drawn anew in every epoch (all of them where None; prefix
    tokens are left out).
    """

    def __init__(
        self,
        backbone: Backbone,
        stimuli: StimulusSet,
        sites: Sequence[str],
        *,
        ids: Sequence[str] | None = None,
        patches: int | None = 16,
        reservoir: int = HOOKS_RESERVOIR,
        images: int = 64,
        workers: int = 2,
        device: str = "cpu",
    ):
        """Raises ConfigError for unknown sites, a network for texts, and sites with different numbers of tokens."""
        from bridge.streams import match_sites

        self.backbone, self.stimuli = backbone, stimuli
        self.sites = match_sites(list(sites), list(backbone.sites))
        self.ids = list(dict.fromkeys(stimuli.ids if ids is None else ids))
        self.images, self.workers, self.device = images, workers, device
        if backbone.reads_texts:
            raise ConfigError(f"{backbone.name} reads texts; capture them first and train from the shards.")
        counts = {backbone.sites[site].tokens - backbone.sites[site].prefix for site in self.sites}
        self.patches = min(counts) if patches is None else min(patches, min(counts))
        if patches is None and len(counts) > 1:
            raise ConfigError(
                f"The sites have {', '.join(map(str, sorted(counts)))} tokens a stimulus; state a number of patches."
            )
        if not self.ids:
            raise InputError("There is no stimulus to train on; give at least one.")
        self.per_fill = max(1, reservoir // self.patches)

    @property
    def widths(self) -> dict[str, int]:
        """d by site."""
        return {site: self.backbone.sites[site].width for site in self.sites}

    @property
    def tokens(self) -> int:
        """Tokens in an epoch."""
        return len(self.ids) * self.patches

    @property
    def places(self) -> dict[str, int]:
        """Patches of a stimulus by site."""
        sites = {site: self.backbone.sites[site] for site in self.sites}
        return {name: site.tokens - site.prefix for name, site in sites.items()}

    def batches(self, batch: int, seed: int, epoch: int = 0, start: int = 0) -> Iterator[dict[str, torch.Tensor]]:
        """An epoch's batches from number `start` on; the network is not asked for stimuli before them."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self.ids))
        skipped = start * batch
        rest: dict[str, torch.Tensor] = {}
        for number, first in enumerate(range(0, len(order), self.per_fill)):
            chosen = order[first : first + self.per_fill]
            size = len(chosen) * self.patches
            if skipped >= size:
                skipped -= size
                continue
            held = self._read([self.ids[index] for index in chosen], seed, epoch)
            rows = torch.from_numpy(np.random.default_rng([seed, epoch, number]).permutation(size))[skipped:]
            skipped = 0
            tokens = {
                site: torch.cat([rest[site], value[rows]]) if rest else value[rows] for site, value in held.items()
            }
            whole = len(rows) + (len(rest[self.sites[0]]) if rest else 0)
            for at in range(0, whole - batch + 1, batch):
                yield {site: value[at : at + batch] for site, value in tokens.items()}
            rest = (
                {site: value[whole - whole % batch :].clone() for site, value in tokens.items()}
                if whole % batch
                else {}
            )
        if rest:
            yield rest

    def _read(self, ids: Sequence[str], seed: int, epoch: int) -> dict[str, torch.Tensor]:
        """The drawn tokens of some stimuli, [stimuli * patches, d] by site."""
        from bridge.activations import is_convolutional
        from bridge.passes import placed, prepared
        from bridge.streams import read
        from bridge.tokens import choose_tokens

        parts: dict[str, list[torch.Tensor]] = {site: [] for site in self.sites}
        chosen = self.stimuli.select(self.stimuli.rows_of(ids))
        batches = [range(at, min(at + self.images, len(ids))) for at in range(0, len(ids), self.images)]
        with (
            placed(self.backbone, self.device, is_convolutional(self.backbone)),
            prepared(self.backbone, chosen, batches, self.workers) as inputs_of,
        ):
            for rows, inputs in zip(batches, inputs_of, strict=True):
                some = [ids[row] for row in rows]
                for site, value in read(self.backbone, inputs.to(self.device), self.sites).items():
                    record = self.backbone.sites[site]
                    drawn = choose_tokens(value, record, self.patches, ids=some, seed=hash_of(seed, epoch))
                    parts[site].append(drawn.flatten(0, 1).float().cpu())
        return {site: torch.cat(values) for site, values in parts.items()}


def hash_of(*numbers: int) -> int:
    """One seed from several numbers."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, numbers)).encode()).digest()[:4], "big")
