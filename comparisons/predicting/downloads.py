"""What a run would fetch: data sets that are not here, and weights that no cache of their library holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comparisons.config import Config


@dataclass(frozen=True)
class Download:
    """One thing that would be fetched."""

    what: str
    bytes: int | None = None
    """None where its size is not known before it is asked for."""

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def downloads(config: Config) -> list[Download]:
    """What a run of the config would fetch, as far as it is known without asking anybody.

    Data sets' files (their sizes are declared nowhere), and the weights that the models name.
    """
    from bridge.data import dataset

    parts = [config.stimuli, *config.models, *config.saes, *config.recordings, *config.comparisons]
    names = dict.fromkeys(name for part in parts for name in part.datasets())
    found = [
        Download(f"data set {name}, {entry.path}")
        for name in names
        for data in [dataset(name)]
        for entry in data.files
        if entry.address is not None and not entry.by_hand and data.found(entry.key) is None
    ]
    for model in config.models:
        found += [Download(f"weights of {model.name}: {what}", size) for what, size in model.to_fetch()]
    return found
