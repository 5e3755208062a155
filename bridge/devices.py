"""Which device `auto` means, and whether one is there."""

from __future__ import annotations

from bridge.errors import ConfigError


def resolved(device: str) -> str:
    """A device by name, with `auto` decided on this machine: cuda where there is one, else cpu."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def usable(device: str) -> str:
    """`resolved`, for one that computes here. Raises ConfigError for a CUDA device that this machine does not have."""
    device = resolved(device)
    if device.startswith("cuda"):
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(device.partition(":")[2] or 0) >= count:
            raise ConfigError(f"The device {device!r} is not there: torch sees {count} CUDA devices; give auto or cpu.")
    return device
