"""Capture: stimuli go through a network once, and the residual stream at every site asked for goes to disk.

Threads read and prepare the next batches while the network computes, and one thread hashes and writes what it
computed before. What is in memory at any time: two batches of inputs, two of activations. The format on disk is that
of `bridge.shards`; what is written is read by `bridge.readers.Activations`.

The same capture gives the same bytes (same machine, libraries and number of threads), also when it was killed and
started again. Other batch sizes change values by float noise only: the last batch is not padded.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from bridge.errors import ConfigError, InputError, StorageError, did_you_mean
from bridge.readers import Activations
from bridge.shards import DTYPES, FORMAT, MANIFEST, VERSION, Dtype, Shard, ShardWriter, write_manifest
from bridge.store import cannot_write, digest
from bridge.streams import Site, match_sites, run, tapped

if TYPE_CHECKING:
    import torch

    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet

TokenChoice = Literal["all", "patches", "class", "mean", "last"] | int
Compute = Literal["float32", "bfloat16"]
SHARD_BYTES = 2**28
"""A shard is closed before it grows beyond this (one stimulus is the least it holds)."""
SHARD_STIMULI = 1024
"""A shard holds no more stimuli than this, so that an interruption costs little."""


def capture(
    backbone: Backbone,
    stimuli: StimulusSet,
    sites: str | Sequence[str],
    folder: Path | str,
    *,
    tokens: TokenChoice = "all",
    dtype: Dtype = "float32",
    batch_size: int = 32,
    device: str = "cpu",
    compute: Compute = "float32",
    channels_last: bool | None = None,
    workers: int = 2,
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> Activations:
    """Send every stimulus through the network once and keep the stream at all of `sites` (names or globs).

    A pass ends after the last site asked for. `tokens` are kept as `[n_stim, tokens, d]`:

        all       every token, prefix (class, register) tokens first; padding of texts is 0
        patches   every token but the prefix
        class     the first prefix token, [n_stim, 1, d]
        mean      the mean over patches (of a text: over its tokens without padding), in float32, [n_stim, 1, d]
        last      the last token of a text, [n_stim, 1, d]
        an int n  n patches drawn without replacement, in ascending order (`sampled_positions`), the same at every
                  site with as many patches; all of them where a site has no more than n

    `dtype` is the type on disk. `compute` bfloat16 runs the network under autocast; float32 leaves every setting of
    torch as it is. `channels_last` defaults to True for convolutional networks. `workers` threads read and prepare
    images (0: none, in line). `progress(done, total)` is called after every batch.

    A batch that does not fit in memory is halved with a warning, and so are those after it. `folder` may hold what an
    interrupted capture left: whole shards are checked and kept. Only one capture may work in a folder at a time
    (`Store.obtain(..., resumable=True)` sees to that). The network is left as it was found.

    Raises ConfigError for unknown sites and choices that this network or device does not have, InputError for an
    unreadable image (what was captured before it stays), StorageError when the folder cannot be written or holds
    another capture.
    """
    names = match_sites(sites, list(backbone.sites))
    _check_choices(backbone, stimuli, names, tokens, dtype, batch_size, compute, device)
    records = {name: backbone.sites[name] for name in names}
    stored = {name: stored_tokens(site, tokens) for name, site in records.items()}
    plan = {
        "format": FORMAT,
        "version": VERSION,
        "model": backbone.name,
        "weights": weights_sha256(backbone),
        "preprocessing": asdict(backbone.preprocessing) if backbone.preprocessing is not None else None,
        "stimuli": {"name": stimuli.name, "content": stimuli.content_hash},
        "sites": {name: {**site.as_json(), "stored": stored[name]} for name, site in records.items()},
        "tokens": tokens,
        "seed": seed if isinstance(tokens, int) else None,
        "dtype": dtype,
        "compute": compute,
        "ids": list(stimuli.ids),
    }
    row_bytes = sum(stored[name] * site.width for name, site in records.items()) * DTYPES[dtype][1].itemsize
    output = _Output(Path(folder), plan, max(1, min(SHARD_STIMULI, shard_bytes // row_bytes, len(stimuli))))
    if output.finished:
        return Activations(output.folder)

    batches = [
        range(first, min(first + batch_size, len(stimuli)))
        for first in range(0, len(stimuli), batch_size)
        if not output.has(first, min(first + batch_size, len(stimuli)))
    ]
    if channels_last is None:
        channels_last = backbone.preprocessing is not None and backbone.layout == "nchw"
    done = len(stimuli) - sum(map(len, batches))
    with (
        _placed(backbone, device, channels_last),
        _prepared(backbone, stimuli, batches, workers) as prepared,
        _Writing(output, records, stored, dtype, batch_size, device) as writing,
    ):
        passes = _Passes(backbone, stimuli.ids, records, tokens, seed, device, channels_last, compute)
        for rows, inputs in zip(batches, prepared, strict=True):
            buffers = writing.free()
            passes.run(rows, inputs, buffers)
            writing.put(rows, buffers)
            done += len(rows)
            if progress is not None:
                progress(done, len(stimuli))
    output.complete()
    return Activations(output.folder)


# ------------------------------------------------------------------------------------------------ what is asked for


def stored_tokens(site: Site, tokens: TokenChoice) -> int:
    """How many tokens a stimulus a choice keeps at a site."""
    patches = site.tokens - site.prefix
    if isinstance(tokens, int):
        return min(tokens, patches)
    return {"all": site.tokens, "patches": patches}.get(tokens, 1)


def sampled_positions(stimulus_id: str, patches: int, n: int, seed: int) -> np.ndarray:
    """The patches that `tokens=n` keeps of a stimulus: ascending int64 [min(n, patches)], prefix not counted.

    They depend on the id, the number of patches, n and the seed, and on nothing else.
    """
    if n >= patches:
        return np.arange(patches)
    source = hashlib.sha256(f"{seed}/{patches}/{stimulus_id}".encode()).digest()
    return np.sort(np.random.default_rng(int.from_bytes(source[:16], "little")).choice(patches, n, replace=False))


def weights_sha256(backbone: Backbone) -> str:
    """sha256 over the names, types, shapes and bytes of all tensors in the network's state."""
    import torch

    found = hashlib.sha256()
    for name, value in sorted(backbone.module.state_dict().items()):
        if isinstance(value, torch.Tensor):
            found.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()


def _check_choices(
    backbone: Backbone,
    stimuli: StimulusSet,
    names: Sequence[str],
    tokens: TokenChoice,
    dtype: str,
    batch_size: int,
    compute: str,
    device: str,
) -> None:
    import torch

    words = ("all", "patches", "class", "mean", "last")
    if isinstance(tokens, str) and tokens not in words:
        raise ConfigError(f"Tokens {tokens!r} were asked for; give a number of patches, or a word: "
                          f"{did_you_mean(tokens, words)}.")  # fmt: skip
    if isinstance(tokens, int) and tokens < 1:
        raise ConfigError(f"{tokens} tokens a stimulus were asked for; give at least 1.")
    for given, allowed, what in ((dtype, tuple(DTYPES), "stored type"), (compute, get_args(Compute), "compute type")):
        if given not in allowed:
            raise ConfigError(f"{given!r} is no {what}; {did_you_mean(given, allowed)}.")
    if batch_size < 1:
        raise ConfigError(f"The batch size is {batch_size}; give at least 1.")
    if not len(stimuli):
        raise InputError(f"Stimulus set {stimuli.name!r} is empty; give at least one stimulus.")
    texts = stimuli.source is None
    if texts != (backbone.preprocessing is None):
        raise ConfigError(
            f"{backbone.name} reads {'images' if texts else 'texts'} and stimulus set {stimuli.name!r} holds "
            f"{'texts' if texts else 'images'}; give the network stimuli that it can read."
        )
    if texts and (isinstance(tokens, int) or tokens in ("patches", "class")):
        raise ConfigError(f"Tokens {tokens!r} are for images; of texts, keep `mean`, `last` or `all`.")
    if not texts and tokens == "last":
        raise ConfigError("The last token is for texts; of images, keep `all`, `patches`, `class`, `mean` or a number.")
    without = [name for name in names if not backbone.sites[name].prefix]
    if tokens == "class" and without:
        raise ConfigError(f"{backbone.name} has no class token at {without[0]}; keep `mean` or `patches` instead.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"Device {device!r} was asked for and torch sees no CUDA device; use `cpu`.")
    if compute == "bfloat16" and not has_bfloat16(device):
        raise ConfigError(f"This processor has no bfloat16 arithmetic ({device}); compute in float32.")


def has_bfloat16(device: str) -> bool:
    """Whether the device computes in bfloat16 itself, rather than emulating it."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


# ------------------------------------------------------------------------------------------------- reading stimuli

_CHUNK = 8  # images a task of a decoding thread


@contextmanager
def _prepared(
    backbone: Backbone, stimuli: StimulusSet, batches: Sequence[range], workers: int
) -> Iterator[Iterator[Any]]:
    """The network's inputs for each batch in order, made up to two batches ahead."""
    import torch

    prepare = backbone.preprocessing
    texts = [str(text) for text in stimuli.table["text"]] if stimuli.source is None else []
    # A task of a thread: some images; a whole batch of texts, which are tokenised and padded together.
    size = _CHUNK if prepare is not None else max(map(len, batches), default=1)

    def make(rows: range) -> Any:
        if prepare is None:
            return backbone.prepare_texts([texts[row] for row in rows])
        return np.stack([prepare(stimuli.image(row)) for row in rows])

    def join(made: list[Any]) -> Any:
        return made[0] if prepare is None else torch.from_numpy(np.concatenate(made))

    def parts(rows: range) -> list[range]:
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def in_line() -> Iterator[Any]:
        for rows in batches:
            yield join([make(part) for part in parts(rows)])

    def ahead(pool: ThreadPoolExecutor) -> Iterator[Any]:
        waiting: deque[list[Future[Any]]] = deque()
        for rows in batches:
            waiting.append([pool.submit(make, part) for part in parts(rows)])
            if len(waiting) > 2:
                yield join([task.result() for task in waiting.popleft()])
        while waiting:
            yield join([task.result() for task in waiting.popleft()])

    if workers < 1:
        yield in_line()
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    try:
        yield ahead(pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# ------------------------------------------------------------------------------------------------- passing through


@contextmanager
def _placed(backbone: Backbone, device: str, channels_last: bool) -> Iterator[None]:
    """The network in evaluation mode on the device, in the memory format; put back afterwards."""
    import torch

    module = backbone.module
    modes = {part: part.training for part in module.modules()}
    home = next((value.device for value in module.parameters()), torch.device("cpu"))
    try:
        module.eval().to(device)
        if channels_last:
            module.to(memory_format=torch.channels_last)
        yield
    finally:
        if channels_last:
            module.to(memory_format=torch.contiguous_format)
        module.to(home)
        for part, mode in modes.items():
            part.training = mode


@dataclass
class _Buffers:
    """One batch of activations on the host, [batch, tokens, d] a site, and when they are there."""

    values: dict[str, torch.Tensor]
    ready: Any = None


@dataclass
class _Passes:
    """Forward passes that leave the chosen tokens of every site in buffers."""

    backbone: Backbone
    ids: tuple[str, ...]
    sites: dict[str, Site]
    tokens: TokenChoice
    seed: int
    device: str
    channels_last: bool
    compute: Compute
    largest: int | None = None

    def run(self, rows: range, inputs: Any, buffers: _Buffers) -> None:
        """Fill the first `len(rows)` rows of the buffers, in as few passes as fit in memory."""
        import torch

        start = 0
        while start < len(rows):
            stop = min(len(rows), start + (self.largest or len(rows)))
            message = None
            try:
                with torch.inference_mode():
                    self._one(rows[start:stop], _part(inputs, start, stop), buffers, start)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                message = str(error).split("\n")[0]
            if message is None:
                start = stop
                continue
            # Only here, outside the handler, are the failed pass's tensors gone.
            if stop - start == 1:
                raise ConfigError(
                    f"One stimulus alone does not fit in memory at {self.device} ({message}); ask for fewer sites, "
                    "fewer tokens, or a smaller type."
                )
            self.largest = (stop - start + 1) // 2
            warnings.warn(f"A batch of {stop - start} does not fit in memory; going on with {self.largest}.")
            if self.device.startswith("cuda"):
                torch.cuda.empty_cache()
        if self.device.startswith("cuda"):
            buffers.ready = torch.cuda.Event()
            buffers.ready.record()

    def _one(self, rows: range, inputs: Any, buffers: _Buffers, start: int) -> None:
        import torch

        inputs = _to_device(inputs, self.device, self.channels_last)
        kind = self.device.split(":")[0]
        autocast = torch.autocast(kind, torch.bfloat16) if self.compute == "bfloat16" else nullcontext()
        mask = inputs.get("attention_mask") if isinstance(inputs, dict) else None
        positions: dict[int, torch.Tensor] = {}  # by number of patches

        def tap(name: str) -> Callable[[torch.Tensor], None]:
            site = self.sites[name]
            into = buffers.values[name][start : start + len(rows)]

            def keep(value: torch.Tensor) -> None:
                if tuple(value.shape) != (len(rows), site.tokens, site.width):
                    raise InputError(
                        f"{name} gave values of shape {tuple(value.shape)} for {len(rows)} stimuli; expected "
                        f"{site.tokens} tokens of width {site.width}: give every stimulus the same size."
                    )
                chosen = self._choose(value, site, rows, mask, positions)
                if kind != "cpu":  # convert there: fewer bytes to copy
                    chosen = chosen.to(into.dtype).contiguous()
                into.copy_(chosen, non_blocking=kind != "cpu")

            return keep

        with autocast, tapped(self.backbone, {name: tap(name) for name in self.sites}, stop=True):
            run(self.backbone, inputs)

    def _choose(
        self,
        value: torch.Tensor,
        site: Site,
        rows: range,
        mask: torch.Tensor | None,
        positions: dict[int, torch.Tensor],
    ) -> torch.Tensor:
        """The tokens to keep of [batch, tokens, d]."""
        import torch

        if self.tokens == "all":
            return value if mask is None else value * mask[:, :, None].to(value.dtype)
        if self.tokens == "patches":
            return value[:, site.prefix :]
        if self.tokens == "class":
            return value[:, :1]
        if self.tokens == "mean" and mask is None:
            return value[:, site.prefix :].mean(1, keepdim=True, dtype=torch.float32)
        if mask is None:
            mask = value.new_ones(value.shape[:2])
        if self.tokens == "mean":
            weights = (mask / mask.sum(1, keepdim=True)).float()
            return torch.einsum("btd,bt->bd", value.float(), weights)[:, None]
        if self.tokens == "last":
            # Padding may stand on either side: the last position that is not padding.
            last = value.shape[1] - 1 - mask.long().flip(1).argmax(1)
            return value[torch.arange(len(rows), device=value.device), last][:, None]
        patches = site.tokens - site.prefix
        if patches not in positions:
            drawn = [sampled_positions(self.ids[row], patches, int(self.tokens), self.seed) for row in rows]
            positions[patches] = torch.from_numpy(np.stack(drawn)).to(value.device)
        index = positions[patches] + site.prefix
        return value[torch.arange(len(rows), device=value.device)[:, None], index]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: of a device, of torch's host allocator, or of Python's."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in text for words in ("out of memory", "can't allocate memory", "cannot allocate memory")
    )


def _part(inputs: Any, start: int, stop: int) -> Any:
    if isinstance(inputs, Mapping):
        return {name: value[start:stop] for name, value in inputs.items()}
    return inputs[start:stop]


def _to_device(inputs: Any, device: str, channels_last: bool) -> Any:
    import torch

    def move(value: torch.Tensor) -> torch.Tensor:
        if device.startswith("cuda"):
            value = value.pin_memory()
        value = value.to(device, non_blocking=True)
        return value.contiguous(memory_format=torch.channels_last) if channels_last and value.ndim == 4 else value

    return {name: move(value) for name, value in inputs.items()} if isinstance(inputs, dict) else move(inputs)


# ------------------------------------------------------------------------------------------------------ writing


class _Output:
    """A folder of shards: which of them are there, and the manifest in the end."""

    def __init__(self, folder: Path, plan: dict[str, Any], per_shard: int):
        self.folder, self.plan = folder, plan
        self.digest = digest(plan)
        self.total = len(plan["ids"])
        self.ranges = [range(first, min(first + per_shard, self.total)) for first in range(0, self.total, per_shard)]
        self.per_shard = per_shard
        self.shapes = {name: (record["stored"], record["width"]) for name, record in plan["sites"].items()}
        self.sums: dict[int, dict[str, str]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".*.tmp"):
                left.unlink()
            present = (folder / MANIFEST).exists()
        except OSError as error:
            raise cannot_write(folder, error) from error
        self.finished = False
        if present:
            manifest = Activations(folder).manifest
            self.finished = {key: manifest[key] for key in plan} == json.loads(json.dumps(plan))
            if not self.finished:
                raise self._another()
        else:
            self._take_up()

    def _another(self) -> StorageError:
        return StorageError(f"{self.folder} holds the activations of another capture; give an empty folder.")

    def _take_up(self) -> None:
        """Keep the whole shards of an interrupted capture; those that are damaged are made again."""
        for path in sorted(self.folder.glob("[0-9]*.safetensors")):
            try:
                shard = Shard.open(path)
                number = int(path.stem)
                if shard.plan != self.digest or self.ranges[number] != range(shard.first, shard.first + shard.count):
                    raise self._another()
                for name in self.shapes:
                    shard.check(name)
            except InputError as error:
                warnings.warn(f"{error} It is captured again.")
                continue
            except IndexError as error:
                raise self._another() from error
            self.sums[number] = {name: shard.sha256[name] for name in self.shapes}

    def path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.safetensors"

    def has(self, first: int, stop: int) -> bool:
        """Whether all shards with rows of [first, stop) are there."""
        return all(number in self.sums for number in range(first // self.per_shard, (stop - 1) // self.per_shard + 1))

    def writer(self, number: int) -> ShardWriter:
        rows = self.ranges[number]
        shapes = {name: (len(rows), *shape) for name, shape in self.shapes.items()}
        return ShardWriter(self.path(number), self.digest, rows.start, self.plan["dtype"], shapes)

    def complete(self) -> None:
        shards = [
            {"file": self.path(number).name, "first": rows.start, "count": len(rows), "sha256": self.sums[number]}
            for number, rows in enumerate(self.ranges)
        ]
        write_manifest(self.folder, {**self.plan, "shards": shards})


class _Writing:
    """The thread that writes: `free` buffers out, `put` them back filled. Leaving the context finishes or aborts."""

    def __init__(
        self,
        output: _Output,
        sites: Mapping[str, Site],
        stored: Mapping[str, int],
        dtype: str,
        batch_size: int,
        device: str,
    ):
        self.output, self.dtype = output, dtype
        self._make = lambda: _empty_buffers(sites, stored, dtype, min(batch_size, output.total), device)
        self._free: queue.Queue[_Buffers] = queue.Queue()
        self._filled: queue.Queue[tuple[range, _Buffers] | None] = queue.Queue()
        self._made = 0
        self._error: BaseException | None = None
        self._writer: ShardWriter | None = None
        self._thread = threading.Thread(target=self._work, name="write", daemon=True)

    def free(self) -> _Buffers:
        """Buffers to fill; waits for the disk when both sets are in use. Raises what the writing thread met."""
        if self._error is not None:
            raise self._error
        if self._made < 2 and self._free.empty():
            self._made += 1
            return self._make()
        buffers = self._free.get()
        if self._error is not None:
            raise self._error
        return buffers

    def put(self, rows: range, buffers: _Buffers) -> None:
        self._filled.put((rows, buffers))

    def __enter__(self) -> _Writing:
        self._thread.start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        # Also after an error: what was computed before it is written, as far as it fills shards.
        self._filled.put(None)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while (item := self._filled.get()) is not None:
                rows, buffers = item
                if self._error is None:
                    try:
                        if buffers.ready is not None:
                            buffers.ready.synchronize()
                        self._write(rows, buffers)
                    except BaseException as error:
                        self._error = error
                self._free.put(buffers)
        finally:
            if self._writer is not None:
                self._writer.abort()

    def _write(self, rows: range, buffers: _Buffers) -> None:
        """Distribute a batch over the shards that its rows belong to."""
        arrays = {name: _bytes_of(value) for name, value in buffers.values.items()}
        at = rows.start
        while at < rows.stop:
            number = at // self.output.per_shard
            shard = self.output.ranges[number]
            stop = min(rows.stop, shard.stop)
            if number not in self.output.sums:
                if self._writer is None:
                    self._writer = self.output.writer(number)
                for name, array in arrays.items():
                    part = array[at - rows.start : stop - rows.start]
                    _refuse_overflow(name, part, self.dtype)
                    self._writer.write(name, part)
                if stop == shard.stop:
                    self.output.sums[number] = self._writer.finish()
                    self._writer = None
            at = stop


def _empty_buffers(
    sites: Mapping[str, Site], stored: Mapping[str, int], dtype: str, batch: int, device: str
) -> _Buffers:
    import torch

    kind = getattr(torch, dtype)
    return _Buffers(
        {
            name: torch.empty(batch, stored[name], site.width, dtype=kind, pin_memory=device.startswith("cuda"))
            for name, site in sites.items()
        }
    )


def _bytes_of(value: torch.Tensor) -> np.ndarray:
    """A host tensor as numpy; bfloat16 by its bits."""
    import torch

    return value.view(torch.int16).numpy() if value.dtype is torch.bfloat16 else value.numpy()


def _refuse_overflow(name: str, values: np.ndarray, dtype: str) -> None:
    """float16 ends at 65,504: a stream beyond it must not become infinite silently."""
    if dtype == "float16" and ((values.view(np.uint16) & 0x7FFF) == 0x7C00).any():
        raise InputError(f"{name} holds values beyond float16's 65,504; store it as bfloat16 or float32.")
