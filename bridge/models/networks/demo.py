"""The embedded networks: small enough to train on two cores and to ship, with the controls that a claim needs.

`Residual` is a pre-activation ResNet (He et al. 2016b): nothing follows the sum, so the stream is an exact sum of
writes within a stage. `Residual(plain=True)` is its plain twin: the same layers, nothing is passed on. `ViT` is a small
vision transformer. All take float [batch, 3, 64, 64] and give logits [batch, 8].
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

SIZE = 64
BLOCKS_A_STAGE = 4
STAGES = 3


class PreActivationBlock(nn.Module):
    """skip(x) + conv2(relu(bn2(conv1(relu(bn1(x)))))); the plain twin leaves the skip out."""

    def __init__(self, before: int, after: int, stride: int, plain: bool):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.skip: nn.Module | None = None
        if not plain:
            same = (before, stride) == (after, 1)
            self.skip = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The stream after the block."""
        write = self.conv2(functional.relu(self.bn2(self.conv1(functional.relu(self.bn1(x))))))
        return write if self.skip is None else self.skip(x) + write


class Residual(nn.Module):
    """Stem, three stages of four blocks with `width`, 2 `width` and 4 `width` channels on 16, 8 and 4 grids."""

    def __init__(self, width: int = 16, plain: bool = False, classes: int = 8):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 7, 4, 3, bias=False)
        widths = [width * 2**stage for stage in range(STAGES)]
        blocks = []
        before = width
        for stage, after in enumerate(widths):
            for number in range(BLOCKS_A_STAGE):
                blocks.append(PreActivationBlock(before, after, 2 if stage and not number else 1, plain))
                before = after
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.BatchNorm2d(before)
        self.head = nn.Linear(before, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(functional.relu(self.norm(x)).mean(dim=(2, 3)))


class ViTBlock(nn.Module):
    """x + attn(norm1(x)), then x + mlp(norm2(x))."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The stream after the block."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Multi-head self-attention, [batch, tokens, width] to the same."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What attention adds, before it is added."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class ViT(nn.Module):
    """Patches of 8 pixels, one class token, six pre-norm blocks of `width` channels."""

    def __init__(self, width: int = 64, depth: int = 6, heads: int = 4, classes: int = 8):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 8, 8)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 1 + (SIZE // 8) ** 2, width) * 0.02)
        self.blocks = nn.ModuleList(ViTBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])
