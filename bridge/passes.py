"""Forward passes for capture: inputs made ahead by threads, chosen tokens left in buffers on the host."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bridge.errors import ConfigError, InputError
from bridge.streams import Site, run, tapped
from bridge.tokens import TokenChoice, choose_tokens

if TYPE_CHECKING:
    import torch

    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet

Compute = Literal["float32", "bfloat16"]
_CHUNK = 8  # images a task of a decoding thread


@contextmanager
def prepared(
    backbone: Backbone, stimuli: StimulusSet, batches: Sequence[range], workers: int
) -> Iterator[Iterator[Any]]:
    """The network's inputs for each batch in order, made up to two batches ahead."""
    import torch

    prepare = backbone.preprocessing
    texts = [str(text) for text in stimuli.table["text"]] if backbone.reads_texts else []
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


@contextmanager
def placed(backbone: Backbone, device: str, channels_last: bool) -> Iterator[None]:
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
class Buffers:
    """One batch of activations on the host, [batch, tokens, d] a site, and when they are there."""

    values: dict[str, torch.Tensor]
    ready: Any = None


@dataclass
class Passes:
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

    def run(self, rows: range, inputs: Any, buffers: Buffers) -> None:
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

    def _one(self, rows: range, inputs: Any, buffers: Buffers, start: int) -> None:
        import torch

        inputs = _to_device(inputs, self.device, self.channels_last)
        kind = self.device.split(":")[0]
        autocast = torch.autocast(kind, torch.bfloat16) if self.compute == "bfloat16" else nullcontext()
        mask = self.backbone.token_mask(inputs)
        ids = [self.ids[row] for row in rows]

        def tap(name: str) -> Callable[[torch.Tensor], None]:
            site = self.sites[name]
            into = buffers.values[name][start : start + len(rows)]

            def keep(value: torch.Tensor) -> None:
                if tuple(value.shape) != (len(rows), site.tokens, site.width):
                    raise InputError(
                        f"{name} gave values of shape {tuple(value.shape)} for {len(rows)} stimuli; expected "
                        f"{site.tokens} tokens of width {site.width}: give every stimulus the same size."
                    )
                chosen = choose_tokens(value, site, self.tokens, mask=mask, ids=ids, seed=self.seed)
                if kind != "cpu":  # convert there: fewer bytes to copy
                    chosen = chosen.to(into.dtype).contiguous()
                into.copy_(chosen, non_blocking=kind != "cpu")

            return keep

        with autocast, tapped(self.backbone, {name: tap(name) for name in self.sites}, stop=True):
            run(self.backbone, inputs)


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
