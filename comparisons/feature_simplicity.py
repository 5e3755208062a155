"""Gabor simplicity of any features of a network's sites: units, or the pre-activations of a dictionary's latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comparisons import characterise

if TYPE_CHECKING:
    from bridge.models.base import Backbone
    from probes.ridge import Design
    from saes.sae import SparseAutoencoder

Read = Callable[[NDArray[np.float32]], NDArray]
"""From a site's tokens [n, d] to features of them [n, m]."""


def pre_activations(sae: SparseAutoencoder) -> Read:
    """A dictionary's latents before TopK or ReLU, whose sparsity would lower R2."""
    import torch

    def read(tokens: NDArray[np.float32]) -> NDArray:
        with torch.inference_mode():
            return sae.pre_activation(torch.from_numpy(tokens)).numpy()

    return read


def feature_simplicity(
    backbone: Backbone,
    features: Mapping[str, Read],
    *,
    images: int = 200,
    places: int = 4,
    components: int = 1000,
    image_seed: int = 1000,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Gabor simplicity s_f of every feature by site, [m], on drawn textures, shapes and scenes of a seed of their own.

    Windows, bank and score are those of `kind: probe`, with at most `components` of the bank's. NaN for features that
    are constant. Raises InputError for networks that read texts.
    """
    from bridge.stimuli.battery import Battery
    from probes.simplicity import gabor_design, simplicity

    sites = {name: backbone.sites[name] for name in features}
    fields = characterise.effective_fields(backbone, sites, seed=seed)
    preprocessing = backbone.preprocessing
    assert preprocessing is not None  # effective_fields has seen to it
    share = images // 10
    limit = {"textures": 3 * share, "shapes": 3 * share, "scenes": images - 6 * share}
    size = preprocessing.resize or preprocessing.size
    battery = {"name": "drawn images", "families": list(limit), "size": size, "limit": limit, "seed": image_seed}
    stimuli = Battery.model_validate(battery).load()
    greys = characterise.greys_of(stimuli, preprocessing)
    sides = {name: characterise.window_side(fields[name].side, preprocessing.size) for name in sites}
    cut = {name: characterise.windows(greys, site, sides[name], places, seed) for name, site in sites.items()}
    values = characterise.present(backbone, stimuli, {name: one.tokens for name, one in cut.items()}, device=device)
    designs: dict[bytes, Design] = {}
    scores = {}
    for done, (name, read) in enumerate(features.items()):
        key = cut[name].images.tobytes()
        if key not in designs:
            designs[key] = gabor_design(cut[name].images, components)
        found = simplicity(read(values[name].reshape(-1, values[name].shape[2])), designs[key], groups=cut[name].groups)
        scores[name] = np.asarray(found.score, np.float64)
        if progress is not None:
            progress((done + 1) / len(features))
    return scores
