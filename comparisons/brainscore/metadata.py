"""metadata.yaml of a submission, by Brain-Score's own contract (schema 2.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comparisons.brainscore.preparing import Ingredients


def metadata(ready: Ingredients) -> str:
    """The document for all models of a submission, as Brain-Score's own `dump` writes it. What is not known is left
    out: a field that is stated counts as documented."""
    from brainscore_core.metadata import dump

    backbone, spec = ready.backbone, ready.parts.spec
    size = backbone.preprocessing.size if backbone.preprocessing is not None else None
    count = sum(value.numel() for value in backbone.module.parameters())
    models: dict[str, Any] = {}
    for identifier, kind in spec.identifiers().items():
        models[identifier] = {
            "model": {
                "display_name": identifier,
                "architecture": {
                    "description": f"{ready.made.architecture}; features: {kind}, {spec.pool} over places"
                },
                "parameter_count": count,
                "parameter_count_exact": True,
                "input_resolution": {"channels": 3, "height": size, "width": size},
                "visual_degrees": float(backbone.degrees),
            },
            "io": {"modality": "vision"},
        }
    return dump({"schema_version": "2.0", "domain": "vision", "models": models})
