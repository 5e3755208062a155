"""Tests of this plugin: they need its weights, but no benchmark's data."""

from __future__ import annotations

import numpy as np
import pytest
from brainscore_vision.model_helpers.brain_transformation import ModelCommitment

from .model import commitment, get_bibtex, get_layers, submission

IDENTIFIERS = list(submission()["models"])


@pytest.fixture(scope="module", params=IDENTIFIERS)
def model(request: pytest.FixtureRequest) -> ModelCommitment:
    """Each of the models."""
    return commitment(request.param)


def test_regions(model: ModelCommitment) -> None:
    """Every region of the ventral stream has one of the layers."""
    regions = model.layer_model._layer_model.region_layer_map
    assert {"V1", "V2", "V4", "IT"} <= set(regions)
    assert set(regions.values()) <= set(get_layers(model.identifier))
    assert isinstance(get_bibtex(model.identifier), str)


def test_features(model: ModelCommitment) -> None:
    """Features are [images, features], finite, and an image's own."""
    rng = np.random.default_rng(0)
    size = submission()["preprocessing"]["size"]
    images = list(rng.standard_normal((3, 3, size, size)).astype(np.float32))
    layers = get_layers(model.identifier)
    read = model.activations_model.get_activations
    together, alone = read(images, layers), read(images[1:2], layers)
    for layer in layers:
        assert together[layer].ndim == 2
        assert np.isfinite(together[layer]).all()
        np.testing.assert_allclose(together[layer][1:2], alone[layer], rtol=1e-3, atol=1e-4)
