"""Reading captured activations: by stimulus id, or as shuffled tokens to train on. Neither loads the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.shards import MANIFEST, Shard, read_manifest, to_float32
from bridge.streams import Site

if TYPE_CHECKING:
    import torch

_opened: dict[tuple[str, int, int], Shard] = {}


class Activations:
    """Captured activations in a folder (format: `bridge.shards`).

    `sites` maps names to `Site` records, in the order of a forward pass; `ids` are the stimuli in row order.
    `lengths` says, for texts of which all tokens were kept, how many tokens of each are no padding. Every shard
    is checked against its checksum when it is first read; a damaged or missing one raises InputError.
    """

    def __init__(self, folder: Path | str):
        """Open a finished folder. Raises InputError if it holds none, or a damaged manifest."""
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = read_manifest(self.folder)
        self.ids: tuple[str, ...] = tuple(self.manifest["ids"])
        self.dtype: str = self.manifest["dtype"]
        self.sites: dict[str, Site] = {}
        self._stored: dict[str, int] = {}
        try:
            for name, record in self.manifest["sites"].items():
                self._stored[name] = record["stored"]
                self.sites[name] = Site.from_json({key: value for key, value in record.items() if key != "stored"})
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(
                f"{self.folder / MANIFEST} is damaged (its sites cannot be read); capture again."
            ) from error
        lengths = self.manifest["lengths"]
        self.lengths: np.ndarray | None = None if lengths is None else np.array(lengths)
        self._row = {name: row for row, name in enumerate(self.ids)}
        self._per_shard: int = self.manifest["shards"][0]["count"]

    def __len__(self) -> int:
        return len(self.ids)

    def shape(self, site: str) -> tuple[int, int, int]:
        """(stimuli, stored tokens a stimulus, d) of a site. Raises ConfigError if it was not captured."""
        return len(self.ids), self._stored[self._known(site)], self.sites[site].width

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """The rows at which `ids` stand, int [len(ids)]. Raises InputError if any was not captured."""
        missing = [name for name in ids if name not in self._row]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(ids)} stimulus ids are not among the activations in {self.folder} (the "
                f"first: {missing[0]!r}; the activations' first: {self.ids[0]!r}); stimuli are aligned by id only: "
                "give both sides the same ids."
            )
        return np.array([self._row[name] for name in ids], dtype=np.int64)

    def read(self, site: str, ids: Sequence[str] | None = None, *, rows: Sequence[int] | None = None) -> np.ndarray:
        """A site's values for some stimuli in the order given (all in row order by default), float32 [n, tokens, d].

        Raises ConfigError for a site that was not captured, InputError for unknown ids or a damaged shard.
        """
        if ids is not None and rows is not None:
            raise TypeError("give ids or rows, not both")
        wanted = self.rows_of(ids) if ids is not None else np.arange(len(self)) if rows is None else np.asarray(rows)
        n, tokens, width = self.shape(site)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < n):
            raise InputError(
                f"Rows {wanted.min()} to {wanted.max()} were asked for; the activations in {self.folder} have rows 0 "
                f"to {n - 1}."
            )
        shard_of = wanted // self._per_shard
        if len(wanted):  # memory is asked for only where a shard bears out how much
            self.shard(int(shard_of.min()), site)
        out = np.empty((len(wanted), tokens, width), np.float32)
        for number in np.unique(shard_of):
            here = np.flatnonzero(shard_of == number)
            shard = self.shard(int(number), site)
            out[here] = to_float32(shard.values(site)[wanted[here] - shard.first], self.dtype)
        return out

    def rows(self, site: str, block: int = 256) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All of a site in row order, in blocks of at most `block` stimuli: (rows [n], float32 [n, tokens, d])."""
        self._known(site)
        for number in range(len(self.manifest["shards"])):
            shard = self.shard(number, site)
            for start in range(0, shard.count, block):
                part = shard.values(site)[start : start + block]
                yield np.arange(shard.first + start, shard.first + start + len(part)), to_float32(part, self.dtype)

    def shard(self, number: int, site: str) -> Shard:
        """One shard, with the bytes of `site` checked. Raises InputError naming the file if they are damaged."""
        entry = self.manifest["shards"][number]
        path = self.folder / entry["file"]
        try:
            stat = path.stat()
        except OSError as error:
            raise InputError(
                f"The shard {path} is missing; delete the folder that holds it and capture again."
            ) from error
        key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
        if key not in _opened:
            _opened[key] = Shard.open(path)
        shard = _opened[key]
        expected = (entry["count"], self._stored[site], self.sites[site].width)
        if shard.dtype != self.dtype or shard.shapes.get(site) != expected or shard.first != entry["first"]:
            raise InputError(f"The shard {path} is not the one that the manifest names; delete the folder and repeat.")
        shard.check(site, entry["sha256"][site])
        return shard

    def _known(self, site: str) -> str:
        if site not in self.sites:
            raise ConfigError(f"{site!r} is not among the sites in {self.folder}; {did_you_mean(site, self.sites)}.")
        return site


# ------------------------------------------------------------------------------------------------ shuffled tokens

_BLOCKS = 64  # how many blocks, at least, are mixed in the reservoir


def shuffled_tokens(
    activations: Activations,
    sites: str | Sequence[str],
    *,
    batch: int,
    seed: int,
    epoch: int = 0,
    reservoir: int = 2**18,
    start: int = 0,
    ids: Sequence[str] | None = None,
) -> Iterator[dict[str, torch.Tensor]]:
    """Every captured token of an epoch exactly once, shuffled: batches float32 [batch, d] by site, the last shorter.

    Blocks of consecutive stimuli are read in random order, memory-mapped, into a reservoir of about `reservoir`
    tokens (of at least 64 blocks, or one stimulus if that is more); its rows are permuted and handed out. Several
    sites go together: row i of every site is the same token of the same stimulus. Padding of texts is left out.

    The order depends on (seed, epoch), the reservoir and the format's shards only, and `start` goes on at that batch
    without reading those before it. Memory: reservoir x d x bytes of the stored type, a site.

    Raises ConfigError for a site that was not captured, or sites with different numbers of tokens a stimulus;
    InputError for a damaged shard.
    """
    import torch

    names = [sites] if isinstance(sites, str) else list(sites)
    tokens = {activations.shape(name)[1] for name in names}
    if len(tokens) != 1:
        raise ConfigError(
            f"The sites {', '.join(names)} hold {', '.join(map(str, sorted(tokens)))} tokens a stimulus; read together "
            "only sites with the same number (the same grid, or the same number of sampled patches)."
        )
    if batch < 1 or reservoir < 1 or start < 0:
        raise ConfigError(
            f"batch {batch}, reservoir {reservoir}, start {start}: give batch, reservoir >= 1, start >= 0."
        )
    used = np.ones(len(activations), dtype=bool)
    if ids is not None:
        used[:] = False
        used[activations.rows_of(ids)] = True
    fills = _fills(activations, tokens.pop(), reservoir, seed, epoch, used)
    offset = start * batch
    rest: dict[str, torch.Tensor] | None = None
    for number, (size, blocks) in enumerate(fills):
        if offset >= size:
            offset -= size
            continue
        held = {name: _load(activations, name, size, blocks, used) for name in names}
        order = torch.from_numpy(np.random.default_rng([seed, epoch, number]).permutation(size))[offset:]
        offset = 0
        while len(order):
            need = batch - (0 if rest is None else len(rest[names[0]]))
            now, order = order[:need], order[need:]
            drawn = {name: held[name].index_select(0, now).float() for name in names}
            if rest is not None:
                drawn = {name: torch.cat([rest[name], drawn[name]]) for name in names}
            rest = drawn if len(drawn[names[0]]) < batch else None
            if rest is None:
                yield drawn
        del held
    if rest is not None:
        yield rest


def _fills(
    activations: Activations, tokens: int, reservoir: int, seed: int, epoch: int, used: np.ndarray
) -> list[tuple[int, list[tuple[int, int, int]]]]:
    """What the reservoir holds one after the other: (tokens, blocks), a block being (shard, first row, stop row)."""
    step = max(1, reservoir // _BLOCKS // tokens)
    blocks = [
        (number, first, min(first + step, shard["first"] + shard["count"]))
        for number, shard in enumerate(activations.manifest["shards"])
        for first in range(shard["first"], shard["first"] + shard["count"], step)
    ]
    fills: list[tuple[int, list[tuple[int, int, int]]]] = []
    size = 0
    held: list[tuple[int, int, int]] = []
    for index in np.random.default_rng([seed, epoch]).permutation(len(blocks)):
        number, first, stop = blocks[index]
        lengths = activations.lengths
        lengths_here = used[first:stop] * (tokens if lengths is None else lengths[first:stop])
        more = int(lengths_here.sum())
        if held and size + more > reservoir:
            fills.append((size, held))
            size, held = 0, []
        size += more
        held.append((number, first, stop))
    fills.append((size, held))
    return fills


def _load(
    activations: Activations, site: str, size: int, blocks: Sequence[tuple[int, int, int]], used: np.ndarray
) -> torch.Tensor:
    """The tokens of some blocks in the stored type, [size, d]."""
    import torch

    _, tokens, width = activations.shape(site)
    held = torch.empty(size, width, dtype=getattr(torch, activations.dtype))
    into = held.view(torch.int16).numpy().view(np.uint16) if activations.dtype == "bfloat16" else held.numpy()
    at = 0
    for number, first, stop in blocks:
        shard = activations.shard(number, site)
        values = shard.values(site)[first - shard.first : stop - shard.first]
        here = used[first:stop]
        if activations.lengths is None:
            part = (values if here.all() else values[here]).reshape(-1, width)
        else:
            part = values[here[:, None] & (np.arange(tokens) < activations.lengths[first:stop, None])]
        into[at : at + len(part)] = part
        at += len(part)
    return held
