"""What tests of Brain-Score submissions share: dictionaries that need no training, and small configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import saes
from comparisons.brainscore import rules
from comparisons.brainscore.exporting import Exported, export
from comparisons.config import parse
from comparisons.running import Silent
from saes.sae import SAEConfig, SparseAutoencoder

EARLY, LATE = "blocks.5.hook_resid_post", "blocks.9.hook_resid_post"
STIMULI = {"kind": "battery", "name": "few", "families": ["textures"], "limit": {"textures": 10}, "size": 64}


def exported(content: dict[str, Any], out: Path, **options: Any) -> Exported:
    """Export a config's submission."""
    return export(parse(content), out, reporter=Silent(), **options)


def dictionary(site: str, d: int, seed: int = 0) -> SparseAutoencoder:
    """+- an orthonormal basis: it reconstructs anything, and half of its latents are active."""
    basis = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed)))[0]
    directions = torch.cat([basis, -basis])
    tensors = {"W_enc": directions.T.contiguous(), "W_dec": directions, "b_enc": torch.zeros(2 * d)}
    tensors |= {"b_dec": torch.zeros(d), "threshold": torch.full((2 * d,), 1e-3)}
    return SparseAutoencoder(SAEConfig("jumprelu", d, 2 * d, metadata={"hook_name": site}), tensors)


def random_dictionary(site: str, d: int, architecture: str) -> SparseAutoencoder:
    """A dictionary of random directions, its latents' bias such that about half of them are active."""
    draw = torch.Generator().manual_seed(5)
    tensors = {"W_enc": torch.randn(d, 4 * d, generator=draw) / d**0.5, "b_enc": torch.zeros(4 * d)}
    tensors |= {"W_dec": torch.randn(4 * d, d, generator=draw), "b_dec": torch.zeros(d)}
    if architecture == "jumprelu":
        tensors["threshold"] = torch.full((4 * d,), 0.05)
    k = 12 if architecture == "topk" else None
    return SparseAutoencoder(SAEConfig(architecture, d, 4 * d, k=k, metadata={"hook_name": site}), tensors)  # type: ignore[arg-type]


def study(network: str, sites: dict[str, int], architecture: str, folder: Path, **submission: Any) -> dict[str, Any]:
    """A config with a random dictionary at each of two sites of an embedded network."""
    saes_of = []
    for number, (site, d) in enumerate(sites.items()):
        saes.save(random_dictionary(site, d, architecture), folder / site)
        path = str(folder / site)
        saes_of.append({"kind": "load", "name": f"d{number}", "path": path, "site": site, "least_explained": -1000})
    early, late = sites
    return {
        "name": "study",
        "stimuli": STIMULI,
        "models": [{"kind": "demo", "name": "net", "network": network}],
        "saes": saes_of,
        "submission": {
            "identifier": f"demo-{network}",
            "features": ["sae"],
            "regions": {"V1": early, "V2": early, "V4": late, "IT": late},
            **submission,
        },
    }


def problems(plugin: Path) -> dict[str, str]:
    """The rules that a plugin breaks, each with what is said of it."""
    return {one.name: one.problem for one in rules.examined(plugin) if one.problem is not None}
