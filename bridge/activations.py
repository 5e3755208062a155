"""Capture: stimuli go through a network once, and the residual stream at every site asked for goes to disk.

Threads read and prepare the next batches while the network computes, and one thread hashes and writes what it
computed before. What is in memory at any time: two batches of inputs, two of activations. The format on disk is that
of `bridge.shards`; what is written is read by `bridge.readers.Activations`.

The same capture gives the same bytes (same machine, libraries and number of threads), also when it was killed and
started again. Other batch sizes, memory formats and folded BatchNorms change values by float noise only: the last
batch is not padded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.folding import folded_batchnorm
from bridge.heap import kept_heap
from bridge.passes import Compute, Passes, placed, prepared
from bridge.readers import Activations
from bridge.shards import DTYPES, FORMAT, VERSION, Dtype
from bridge.streams import match_sites
from bridge.tokens import TOKEN_WORDS, TokenChoice, sampled_positions, stored_tokens
from bridge.writing import Output, Writing

if TYPE_CHECKING:
    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet

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
    fold_batchnorm: bool = True,
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
    torch as it is. `channels_last` defaults to whether the network has a convolution a block. `fold_batchnorm` computes
    BatchNorm as part of the convolution before it (`bridge.folding`). `workers` threads read and prepare images (0:
    none, in line). `progress(done, total)` is called after every batch.

    A batch that does not fit in memory is halved with a warning, and so are those after it. `folder` may hold what an
    interrupted capture left: whole shards are checked and kept. Only one capture may work in a folder at a time
    (`Store.obtain(..., resumable=True)` sees to that). The network is left as it was found. Interventions that
    are on while it runs are captured too: whoever names the folder by a hash must put them into it.

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
        "lengths": _lengths(backbone, stimuli) if backbone.reads_texts and tokens == "all" else None,
    }
    row_bytes = sum(stored[name] * site.width for name, site in records.items()) * DTYPES[dtype][1].itemsize
    output = Output(Path(folder), plan, max(1, min(SHARD_STIMULI, shard_bytes // row_bytes, len(stimuli))))
    if output.finished:
        return Activations(output.folder)

    batches = [
        range(first, min(first + batch_size, len(stimuli)))
        for first in range(0, len(stimuli), batch_size)
        if not output.has(first, min(first + batch_size, len(stimuli)))
    ]
    if channels_last is None:
        channels_last = is_convolutional(backbone)
    done = len(stimuli) - sum(map(len, batches))
    with (
        kept_heap(),
        placed(backbone, device, channels_last),
        folded_batchnorm(backbone, names) if fold_batchnorm else nullcontext(),
        prepared(backbone, stimuli, batches, workers) as inputs_of,
        Writing(output, records, stored, dtype, batch_size, device) as writing,
    ):
        passes = Passes(backbone, stimuli.ids, records, tokens, seed, device, channels_last, compute)
        for rows, inputs in zip(batches, inputs_of, strict=True):
            buffers = writing.free()
            passes.run(rows, inputs, buffers)
            writing.put(rows, buffers)
            done += len(rows)
            if progress is not None:
                progress(done, len(stimuli))
    output.complete()
    return Activations(output.folder)


def _lengths(backbone: Backbone, stimuli: StimulusSet) -> list[int]:
    """How many tokens of each text are no padding."""
    texts = [str(text) for text in stimuli.table["text"]]
    masks = (backbone.token_mask(backbone.prepare_texts(texts[at : at + 256])) for at in range(0, len(texts), 256))
    return [int(length) for mask in masks if mask is not None for length in mask.sum(1)]


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

    if isinstance(tokens, str) and tokens not in TOKEN_WORDS:
        raise ConfigError(f"Tokens {tokens!r} were asked for; give a number of patches, or a word: "
                          f"{did_you_mean(tokens, TOKEN_WORDS)}.")  # fmt: skip
    if isinstance(tokens, int) and tokens < 1:
        raise ConfigError(f"{tokens} tokens a stimulus were asked for; give at least 1.")
    for given, allowed, what in ((dtype, tuple(DTYPES), "stored type"), (compute, get_args(Compute), "compute type")):
        if given not in allowed:
            raise ConfigError(f"{given!r} is no {what}; {did_you_mean(given, allowed)}.")
    if batch_size < 1:
        raise ConfigError(f"The batch size is {batch_size}; give at least 1.")
    if not len(stimuli):
        raise InputError(f"Stimulus set {stimuli.name!r} is empty; give at least one stimulus.")
    texts = backbone.reads_texts
    if ("text" not in stimuli.table) if texts else (stimuli.source is None):
        raise ConfigError(
            f"{backbone.name} reads {'texts' if texts else 'images'}, and stimulus set {stimuli.name!r} has "
            f"{'no column `text`' if texts else 'none'}; give the network stimuli that it can read."
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


def is_convolutional(backbone: Backbone) -> bool:
    """Whether a network has a convolution a block at least, so that channels_last makes it faster."""
    from torch import nn

    convolutions = sum(isinstance(part, nn.Conv2d) for part in backbone.module.modules())
    return bool(backbone.blocks) and convolutions >= len(backbone.blocks) and backbone.layout == "nchw"


def has_bfloat16(device: str) -> bool:
    """Whether the device computes in bfloat16 itself, rather than emulating it."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


__all__ = ["Activations", "Compute", "Dtype", "TokenChoice", "capture", "has_bfloat16", "sampled_positions"]
