"""Floor 2: learn, load, apply, save and match sparse dictionaries of stream activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saes.checkpoints import save
    from saes.hub import load
    from saes.sae import SAEConfig, SparseAutoencoder

__all__ = ["SAEConfig", "SparseAutoencoder", "load", "save"]
_HOMES = {
    "SAEConfig": "saes.sae",
    "SparseAutoencoder": "saes.sae",
    "load": "saes.hub",
    "save": "saes.checkpoints",
}


def __getattr__(name: str) -> Any:
    """What is exported is imported when it is first used: torch takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
