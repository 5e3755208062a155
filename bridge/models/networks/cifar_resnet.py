"""The CIFAR ResNet of He et al. 2016, section 4.2, option A, with the parameter names of public checkpoints."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class OptionA(nn.Module):
    """The parameter-free shortcut: every second position, new channels filled with zeros on both sides."""

    def __init__(self, new: int):
        super().__init__()
        self.new = new

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, c, h, w] -> [batch, c + new, h / 2, w / 2]."""
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; the ReLU follows the sum."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity() if (before, stride) == (after, 1) else OptionA(after - before)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, before, h, w] -> [batch, after, h / stride, w / stride]."""
        write = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(write + self.shortcut(x))


class ResNet(nn.Module):
    """float [batch, 3, 32, 32] -> logits [batch, 10]; 6 n + 2 layers for n `blocks_a_stage`."""

    def __init__(self, blocks_a_stage: int, classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks_a_stage, 1)
        self.layer2 = self._stage(16, 32, blocks_a_stage, 2)
        self.layer3 = self._stage(32, 64, blocks_a_stage, 2)
        self.linear = nn.Linear(64, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)

    @staticmethod
    def _stage(before: int, after: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(before, after, stride)
        return nn.Sequential(first, *(BasicBlock(after, after, 1) for _ in range(blocks - 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images to logits."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))
