"""Models whose residual stream can be read: `load(spec)`. One file a family.

A family's file defines a `ModelSpec` with a literal `kind` and the method `build`; it is found because it stands in
this folder, and `load` adds the controls (`prune`, the visual size) that every family shares. Family files import
torch and model libraries inside functions, so that reading a config stays fast. Networks whose blocks the family
cannot name itself have them found (mapping.py); all maps are checked against one forward pass (measure.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.models.base import Backbone, ModelSpec, Preprocessing
from bridge.spec import tagged_union
from bridge.spec_errors import validated

if TYPE_CHECKING:
    AnyModel = ModelSpec
else:
    AnyModel = tagged_union(__name__, ModelSpec)


def load(spec: ModelSpec | dict[str, Any]) -> Backbone:
    """The backbone that a spec describes (an instance, or the mapping that a config would hold).

    Raises ConfigError for a mapping that does not fit, and what the kind's own `load` raises.

    >>> load({"kind": "cifar-resnet", "name": "untrained", "depth": 20, "seed": 0}).sites  # doctest: +SKIP
    """
    checked: ModelSpec = validated(AnyModel, spec) if isinstance(spec, dict) else spec
    return checked.load()


__all__ = ["AnyModel", "Backbone", "ModelSpec", "Preprocessing", "load"]
