"""The kinds of dictionary that can be trained, one a file: its settings, its forward pass and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.spec import tagged_union
from saes.architectures.base import ArchitectureSpec

if TYPE_CHECKING:
    AnyArchitecture = ArchitectureSpec
else:
    AnyArchitecture = tagged_union("saes.architectures", ArchitectureSpec)

__all__ = ["AnyArchitecture", "ArchitectureSpec"]
