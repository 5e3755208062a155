"""Dictionaries that a config can ask for: trained in the run, or loaded. One file a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.spec import tagged_union
from saes.specs.base import SAESpec

if TYPE_CHECKING:
    AnySAE = SAESpec
else:
    AnySAE = tagged_union(__name__, SAESpec)

__all__ = ["AnySAE", "SAESpec"]
