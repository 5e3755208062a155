"""Models whose residual stream can be read: `load(spec)`. One file a family.

A family's file defines a `ModelSpec` with a literal `kind`; it is found because it stands in this folder. Family
files import torch and model libraries inside functions, so that reading a config stays fast.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from bridge.models.base import Backbone, ModelSpec, Preprocessing


def _families() -> list[type[ModelSpec]]:
    """Every model spec with a `kind` that a module of this folder defines, by kind."""
    found: dict[str, type[ModelSpec]] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.ispkg or info.name == "base":
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, ModelSpec) and "kind" in value.model_fields:
                found[value.model_fields["kind"].default] = value
    return [found[kind] for kind in sorted(found)]


if TYPE_CHECKING:
    AnyModel = ModelSpec
else:
    AnyModel = Annotated[reduce(or_, _families()), Field(discriminator="kind")]


def load(spec: ModelSpec | dict[str, Any]) -> Backbone:
    """The backbone that a spec describes (an instance, or the mapping that a config would hold).

    >>> load({"kind": "cifar-resnet", "name": "untrained", "depth": 20, "seed": 0}).sites  # doctest: +SKIP
    """
    from pydantic import TypeAdapter

    if isinstance(spec, dict):
        spec = TypeAdapter(AnyModel).validate_python(spec)
    return spec.load()


__all__ = ["AnyModel", "Backbone", "ModelSpec", "Preprocessing", "load"]
