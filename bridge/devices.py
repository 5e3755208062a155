"""Which device `auto` means."""

from __future__ import annotations

from bridge.errors import ConfigError


def resolved(device: str) -> str:
    """A device by name, with `auto` decided on this machine: cuda where there is one, else cpu.

    Raises ConfigError for a CUDA device that is not there.
    """
    if device != "auto" and not device.startswith("cuda"):
        return device
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= count:
        raise ConfigError(
            f"The device {device!r} is not there: torch sees {count} CUDA devices here; give auto or cpu."
        )
    return device
