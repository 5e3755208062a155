"""Recordings: `load(spec, stimuli)` gives Recordings or RegionRDMs. One file a kind.

A kind's file defines a `RecordingsSpec` with a literal `kind`; it is found because it stands in this folder. These
files import pandas, scipy and readers inside functions, so that reading a config stays fast.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from bridge.recordings.base import RecordingsSpec
from bridge.recordings.recordings import Recordings, RegionRDMs

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet

_NOT_KINDS = {"base", "recordings"}


def _kinds() -> list[type[RecordingsSpec]]:
    """Every recordings spec with a `kind` that a module of this folder defines, by kind."""
    found: dict[str, type[RecordingsSpec]] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.ispkg or info.name in _NOT_KINDS:
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, RecordingsSpec) and "kind" in value.model_fields:
                found[value.model_fields["kind"].default] = value
    return [found[kind] for kind in sorted(found)]


if TYPE_CHECKING:
    AnyRecordings = RecordingsSpec
else:
    AnyRecordings = Annotated[reduce(or_, _kinds()), Field(discriminator="kind")]


def load(spec: RecordingsSpec | dict[str, Any], stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
    """The recordings that a spec describes (an instance, or the mapping that a config would hold) for `stimuli`.

    >>> load({"kind": "dataset", "name": "algonauts2019_92", "regions": ["IT"]}, stimuli)  # doctest: +SKIP
    """
    from pydantic import TypeAdapter

    if isinstance(spec, dict):
        spec = TypeAdapter(AnyRecordings).validate_python(spec)
    return spec.load(stimuli)


__all__ = ["AnyRecordings", "Recordings", "RecordingsSpec", "RegionRDMs", "load"]
