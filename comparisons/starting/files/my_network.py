"""A network of your own: `network()` returns a torch module. Replace this small one by yours."""

from __future__ import annotations

import torch
from torch import nn


class Block(nn.Module):
    """One residual block: what comes in, plus what is written."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.write = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] to the same."""
        return x + self.write(torch.relu(self.norm(x)))


class Network(nn.Module):
    """A stem, residual blocks, and a readout."""

    def __init__(self, width: int = 16, depth: int = 4, classes: int = 10):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 7, stride=4, padding=3)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.readout = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images [batch, 3, height, width] to logits [batch, classes]."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.readout(x.mean(dim=(2, 3)))


def network(width: int = 16, depth: int = 4) -> nn.Module:
    """What study.yaml names as `my_network.network`; `options:` there are its arguments."""
    return Network(width, depth)
