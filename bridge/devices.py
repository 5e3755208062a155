"""Which device `auto` means."""

from __future__ import annotations


def resolved(device: str) -> str:
    """A device by name, with `auto` decided on this machine: cuda where there is one, else cpu."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
