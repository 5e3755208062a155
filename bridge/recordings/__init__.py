"""Recordings: `load(spec, stimuli)` gives Recordings or RegionRDMs. One file a kind.

A kind's file defines a `RecordingsSpec` with a literal `kind`; it is found because it stands in this folder. These
files import pandas, scipy and readers inside functions, so that reading a config stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.recordings.base import RecordingsSpec
from bridge.recordings.recordings import Recordings, RegionRDMs
from bridge.spec import tagged_union
from bridge.spec_errors import validated

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet


if TYPE_CHECKING:
    AnyRecordings = RecordingsSpec
else:
    AnyRecordings = tagged_union(__name__, RecordingsSpec)


def load(spec: RecordingsSpec | dict[str, Any], stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
    """The recordings that a spec describes (an instance, or the mapping that a config would hold) for `stimuli`.

    Raises ConfigError for a mapping that does not fit, and what the kind's own `load` raises.

    >>> load({"kind": "dataset", "name": "algonauts2019_92", "regions": ["IT"]}, stimuli)  # doctest: +SKIP
    """
    checked: RecordingsSpec = validated(AnyRecordings, spec) if isinstance(spec, dict) else spec
    return checked.load(stimuli)


__all__ = ["AnyRecordings", "Recordings", "RecordingsSpec", "RegionRDMs", "load"]
