"""The page that goes with a plugin: what the model is, where its weights lie, how its regions' sites were chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from comparisons.report.wording import markdown_table

if TYPE_CHECKING:
    from pathlib import Path

    from comparisons.brainscore.preparing import Ingredients

KINDS = {
    "raw": "the residual stream itself",
    "sae": "all latents of a sparse dictionary of the stream",
    "simple": "the dictionary's simple latents (Gabor simplicity .5 or more)",
    "complex": "the dictionary's complex latents (Gabor simplicity .1 or less)",
    "ablated": "the residual stream less what the dictionary's {ablate} latents write into it",
}
FILES = {
    "__init__.py": "registers the models by their identifiers",
    "model.py": "what Brain-Score asks for: get_model, get_layers, get_bibtex, and the preparation of images",
    "stream.py": "the network with features of its residual stream, one module",
    "dictionary.py": "a sparse autoencoder at inference",
    "backbone.py": "the network, made by its library",
    "network.py": "the network's own code",
    "weights.py": "weights from here or from the hub, held against their sha256",
    "submission.json": "network, sites, dictionaries, latents, preprocessing: everything that differs between models",
    "region_layer_map/": "each region's layer",
    "region_choice.json": "the scores that the layers were chosen from",
    "test.py": "tests that need no benchmark",
}
POOLS = {"mean": "the mean over places", "max": "the maximum over places", "class": "the class token"}


def readme(ready: Ingredients, about: Mapping[str, Any], folder: Path) -> str:
    """README.md, of the files that are in the plugin's folder."""
    from importlib.metadata import version

    spec = ready.parts.spec
    kinds = {name: KINDS[kind].format(ablate=spec.ablate) for name, kind in spec.identifiers().items()}
    parts = [
        f"# {spec.identifier}",
        f"Features of the residual stream of {ready.backbone.name}, one site a ventral region, for Brain-Score. "
        f"Of a site's tokens they are {POOLS[spec.pool]}: one vector an image, which does not depend on other images.",
        markdown_table(["identifier", "features"], [[f"`{name}`", text] for name, text in kinds.items()]),
        "## Regions",
        _regions(ready),
        *_choices(ready),
        "## Dictionaries" if ready.saes else "",
        _dictionaries(ready) if ready.saes else "",
        "## Weights",
        weights_table(about),
        "Weights are safetensors, held against their sha256 when the model is made; nothing is unpickled.",
        "## Input",
        f"{ready.backbone.degrees:g} degrees of visual angle on {about['preprocessing']['size']} pixels; "
        f"behaviour is read from `{next(iter(about['models'].values()))['readout']}`.",
        "## Files",
        markdown_table(
            ["file", "what"], [[f"`{name}`", what] for name, what in FILES.items() if (folder / name).exists()]
        ),
        "## Provenance",
        f"Exported by ventral-bridge {version('ventral-bridge')} from the config `{ready.config.name}` (seed "
        f"{ready.config.seed}); torch {version('torch')}. `submission.json` states the network, its sites and every "
        "latent that is read.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _regions(ready: Ingredients) -> str:
    rows = []
    for region, site in ready.regions.items():
        one = ready.parts.sites[site]
        how = f"chosen on {ready.choice[region]['on']}" if region in ready.choice else "given"
        rows.append([region, f"`{site}`", f"{one.depth:.2f}", str(one.width), how])
    return markdown_table(["region", "site", "depth", "width", "how"], rows)


def _choices(ready: Ingredients) -> list[str]:
    """The tables from which sites were chosen."""
    parts = []
    for region, choice in ready.choice.items():
        rows = [
            [f"`{site}`", "-" if not math.isfinite(score) else f"{score:.4f}"]
            for site, score in choice["scores"].items()
        ]
        kind = choice["features"]
        parts.append(f"{region} was chosen on {choice['on']} with features `{kind}` (PLS, Brain-Score's raw score):")
        parts.append(markdown_table(["site", "score"], rows))
    return parts


def _dictionaries(ready: Ingredients) -> str:
    from comparisons.brainscore.chosen_parts import NEEDS_SIMPLICITY
    from probes.simplicity import COMPLEX_TO, SIMPLE_FROM

    rows = []
    for site in ready.sites:
        sae = ready.saes[site]
        about = sae.config.metadata
        metrics = about.get("metrics") or {}
        row = [f"`{site}`", about.get("trained_as") or sae.config.architecture, sae.d_sae]
        row += [_number(metrics.get("fvu")), _number(metrics.get("l0"))]
        if any(kind in NEEDS_SIMPLICITY for kind in ready.parts.spec.features):
            scores = ready.scores[site]
            row += [int((scores >= SIMPLE_FROM).sum()), int((scores <= COMPLEX_TO).sum())]
        else:
            row += ["-", "-"]
        rows.append([str(value) for value in row])
    heads = ["site", "architecture", "latents", "variance unexplained", "L0", "simple", "complex"]
    return markdown_table(heads, rows)


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float | int) else "-"


def weights_table(about: Mapping[str, Any]) -> str:
    """Where each file of weights lies, and its sha256; between marks, so that it can be written anew."""
    rows = []
    network = about["network"]
    if network["weights"] is not None:
        rows.append(["network", *_place(network["weights"])])
    else:
        source = network["pretrained"]
        where = source.get("url") or f"{source['repository']} at {source['revision']}"
        rows.append(["network", f"{network['library']}: {where}", f"tensors {network['state_sha256']}"])
    rows += [[f"`{name}`", *_place(own["weights"])] for name, own in about["dictionaries"].items()]
    return f"<!-- weights -->\n{markdown_table(['what', 'where', 'sha256'], rows)}\n<!-- /weights -->"


def _place(entry: Mapping[str, Any]) -> list[str]:
    own = entry["repository"] is None
    where = entry["path"] if own else f"{entry['path']} of {entry['repository']} at {entry['revision']}"
    return [where, entry["sha256"]]
