"""Synthetic runs for the report: plausible shapes, seeded numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from comparisons.results import Result, RunResults

CEILINGS = {"V1": (0.36, 0.52), "V2": (0.33, 0.50), "V4": (0.40, 0.55), "IT": (0.45, 0.54), "EVC": (0.24, 0.39)}


def make_run(
    regions: tuple[str, ...] = ("IT", "V1", "V4", "V2"),
    models: tuple[tuple[str, str], ...] = (
        ("resnet20", "trained"),
        ("resnet20-untrained", "untrained"),
        ("plain20", "control"),
    ),
    measures: tuple[str, ...] = ("spearman", "corr"),
    blocks: int = 9,
    *,
    simulated: bool = True,
    intervals: bool = True,
    ceilings: bool = True,
    writes: bool = True,
    references: bool = True,
    **fields: Any,
) -> RunResults:
    """A run in which early regions peak early; no number is left to chance between calls."""
    rng = np.random.default_rng(7)
    results: list[Result] = []
    for measure in measures:
        for region in regions:
            peak = {"V1": 0.2, "EVC": 0.3, "V2": 0.4, "V4": 0.7}.get(region, 1.0)
            common: dict[str, Any] = {
                "comparison": "rsa",
                "measure": measure,
                "recordings": "toy-ventral",
                "region": region,
                "ceiling": CEILINGS.get(region, (0.3, 0.5)) if ceilings else None,
                "n_stimuli": 92,
                "n_subjects": 15,
                "simulated": simulated,
                "seed": 0,
                "notes": ("Bootstrap over stimuli and subjects.",),
            }

            def one(
                model: str, role: str, site: str | None, depth: float | None, value: float, common: dict = common
            ) -> Result:
                half = 0.035
                return Result(
                    **common,
                    model=model,
                    role=role,
                    site=site,
                    depth=depth,
                    estimate=value,
                    interval=(value - half, value + half) if intervals else None,
                    n_draws=1000 if intervals else 0,
                    p=0.0004 if intervals else None,
                    artefacts=(f"rdms/{model}-{site or 'all'}",),
                )

            for model, role in models:
                height = {"trained": 0.3, "untrained": 0.16}.get(role, 0.22)
                results.append(one(model, role, "blocks.0.hook_resid_pre", 0.0, height * (1 - peak * 0.5)))
                for block in range(blocks):
                    depth = (block + 1) / blocks
                    value = height * (1 - 0.7 * abs(depth - peak)) + rng.normal(0, 0.008)
                    results.append(one(model, role, f"blocks.{block}.hook_resid_post", depth, value))
                    if writes:
                        less = value - 0.04 + rng.normal(0, 0.02)
                        results.append(one(model, role, f"blocks.{block}.hook_write", depth, less))
            if references:
                results.append(one("pixels", "reference", None, None, 0.08))
                results.append(one("gabor-bank", "reference", None, None, 0.095))
    values: dict[str, Any] = {
        "name": "toy",
        "title": "A small network and a simulated ventral stream",
        "question": "Does the stream of a small residual network resemble the ventral stream stage by stage, and is "
        "that owed to training?",
        "config": {"kind": "rsa", "seed": 0, "regions": list(regions)},
        "provenance": {
            "command": "ventral run configs/demo.yaml --out runs/toy",
            "seed": 0,
            "platform": {"system": "Linux", "python": "3.11.9", "cores": 2},
            "versions": {"torch": "2.15.0", "numpy": "1.26.4"},
            "hashes": {"stimuli": "2e1f" * 16},
            "datasets": [
                {
                    "name": "kriegeskorte2008",
                    "title": "92 object images, human and monkey IT",
                    "licence": "MIT",
                    "citation": "Kriegeskorte, N. et al. (2008). Matching categorical object representations. Neuron.",
                }
            ],
        },
        "results": tuple(results),
        "dropped": ("2 images could not be read: a.png, b.png.",),
        "seconds": {"rdms": 3.21, "rsa": 0.4},
    }
    return RunResults(**{**values, **fields})


@pytest.fixture
def run_of() -> Callable[..., RunResults]:
    """The maker of synthetic runs."""
    return make_run
