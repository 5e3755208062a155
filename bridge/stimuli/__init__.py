"""Stimuli: `load(spec)` gives a StimulusSet. One file a kind.

A kind's file defines a `StimulusSpec` with a literal `kind`; it is found because it stands in this folder. These
files import pandas, image and data libraries inside functions, so that reading a config stays fast.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from bridge.stimuli.base import StimulusSpec
from bridge.stimuli.stimulus_set import ArraySource, ImageSource, StimulusSet


def _kinds() -> list[type[StimulusSpec]]:
    """Every stimulus spec with a `kind` that a module of this folder defines, by kind."""
    found: dict[str, type[StimulusSpec]] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.ispkg:
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, StimulusSpec) and "kind" in value.model_fields:
                found[value.model_fields["kind"].default] = value
    return [found[kind] for kind in sorted(found)]


if TYPE_CHECKING:
    AnyStimuli = StimulusSpec
else:
    AnyStimuli = Annotated[reduce(or_, _kinds()), Field(discriminator="kind")]


def load(spec: StimulusSpec | dict[str, Any]) -> StimulusSet:
    """The stimulus set that a spec describes (an instance, or the mapping that a config would hold).

    >>> load({"kind": "battery", "name": "edges", "families": ["edges"]})  # doctest: +SKIP
    """
    from pydantic import TypeAdapter

    if isinstance(spec, dict):
        spec = TypeAdapter(AnyStimuli).validate_python(spec)
    return spec.load()


__all__ = ["AnyStimuli", "ArraySource", "ImageSource", "StimulusSet", "StimulusSpec", "load"]
