"""SAELens's own format; see `saes.checkpoints`. Prisma-Multimodal/sae_clip has it too, as it was in 2024."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from saes.checkpoints import CFG, WEIGHTS, read_folder, recorded_hashes
from saes.converters.format import Format, Read


def files(names: Sequence[str]) -> list[str]:
    """cfg.json and sae_weights.safetensors, if one of them is there (the reader says that the other is missing)."""
    return [CFG, WEIGHTS] if CFG in names or WEIGHTS in names else []


def read(folder: Path, names: Sequence[str]) -> Read:
    """The dictionary as it stands."""
    return Read(read_folder(folder), hashes=recorded_hashes(folder))


FORMAT = Format("SAELens", files, read)
