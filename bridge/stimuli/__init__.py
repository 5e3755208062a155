"""Stimuli: `load(spec)` gives a StimulusSet. One file a kind.

A kind's file defines a `StimulusSpec` with a literal `kind`; it is found because it stands in this folder. These
files import pandas, image and data libraries inside functions, so that reading a config stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.spec import tagged_union
from bridge.spec_errors import validated
from bridge.stimuli.base import StimulusSpec
from bridge.stimuli.stimulus_set import ArraySource, ImageSource, StimulusSet

if TYPE_CHECKING:
    AnyStimuli = StimulusSpec
else:
    AnyStimuli = tagged_union(__name__, StimulusSpec)


def load(spec: StimulusSpec | dict[str, Any]) -> StimulusSet:
    """The stimulus set that a spec describes (an instance, or the mapping that a config would hold).

    Raises ConfigError for a mapping that does not fit, and what the kind's own `load` raises.

    >>> load({"kind": "battery", "name": "edges", "families": ["edges"]})  # doctest: +SKIP
    """
    checked: StimulusSpec = validated(AnyStimuli, spec) if isinstance(spec, dict) else spec
    return checked.load()


__all__ = ["AnyStimuli", "ArraySource", "ImageSource", "StimulusSet", "StimulusSpec", "load"]
