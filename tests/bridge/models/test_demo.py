"""The embedded networks: what ships is what their names say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from bridge.errors import ConfigError
from bridge.models import load
from bridge.models.controls import prunable
from bridge.models.demo import NETWORKS, WEIGHTS
from bridge.models.networks.train_demo import TRAIN, accuracy, images_and_labels, shifted
from bridge.stimuli.battery import Battery
from bridge.streams import read


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, torch.Tensor]:
    """160 scenes of exemplars that no network was trained on, from another seed than the training's."""
    spec = Battery.model_validate(
        {**TRAIN.content(), "seed": 7, "images_per_exemplar": 20, "exemplars": TRAIN.exemplars}
    )
    stimuli = spec.load()
    held_out = stimuli.select(np.flatnonzero(stimuli.table["held_out"]))
    categories = json.loads((WEIGHTS / "accuracy.json").read_text())["residual"]["categories"]
    images = np.stack([held_out.image(row) for row in range(len(held_out))])
    return images, torch.tensor([categories.index(name) for name in held_out.table["category"]])


@pytest.mark.parametrize("network", NETWORKS)
def test_shipped_weights_do_what_is_written_down(network: str, scenes: tuple[np.ndarray, torch.Tensor]) -> None:
    reached = json.loads((WEIGHTS / "accuracy.json").read_text())[network]
    module = load({"kind": "demo", "name": network, "network": network}).module
    assert accuracy(module, *scenes) == pytest.approx(reached["held_out_exemplars"], abs=0.07)  # 160 images
    assert sum(p.numel() for p in module.parameters()) == reached["parameters"]
    assert (WEIGHTS / f"{network}.safetensors").stat().st_size < 3_000_000


def test_narrow_networks_ship_with_five_trainings_that_differ(scenes: tuple[np.ndarray, torch.Tensor]) -> None:
    reached = json.loads((WEIGHTS / "accuracy.json").read_text())
    for network in ("residual-narrow", "plain-narrow"):
        found = [load({"kind": "demo", "name": "n", "network": network, "training": k}).module for k in range(5)]
        assert len({float(module.stem.weight.detach().sum()) for module in found}) == 5
        names = [network, *(f"{network}.{k}" for k in range(1, 5))]
        for name, module in zip(names, found, strict=True):
            assert accuracy(module, *scenes) == pytest.approx(reached[name]["held_out_exemplars"], abs=0.07)
            assert (WEIGHTS / f"{name}.safetensors").stat().st_size < 1_000_000
    with pytest.raises(ConfigError, match=r"residual ships with 1 training\(s\), from 0; there is no training 2"):
        load({"kind": "demo", "name": "n", "network": "residual", "training": 2})


def test_untrained_networks_know_nothing_and_differ_by_seed(scenes: tuple[np.ndarray, torch.Tensor]) -> None:
    first, again, other = (
        load({"kind": "demo", "name": "u", "untrained": True, "seed": seed}).module for seed in (0, 0, 1)
    )
    assert accuracy(first, *scenes) < 0.3
    assert torch.equal(first.stem.weight, again.stem.weight)
    assert not torch.equal(first.stem.weight, other.stem.weight)


def test_the_plain_twin_has_the_layers_of_the_residual_network_and_passes_nothing_on() -> None:
    residual, plain = (load({"kind": "demo", "name": n, "network": n}) for n in ("residual", "plain"))
    theirs = {name: tuple(p.shape) for name, p in plain.module.named_parameters()}
    ours = {name: tuple(p.shape) for name, p in residual.module.named_parameters() if ".skip." not in name}
    assert ours == theirs
    inputs = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    values = read(plain, inputs, ["blocks.1.hook_skip", "blocks.1.hook_write", "blocks.1.hook_resid_post"])
    assert not values["blocks.1.hook_skip"].any()
    assert torch.equal(values["blocks.1.hook_write"], values["blocks.1.hook_resid_post"])


def test_the_ticket_is_sparse_where_it_was_pruned() -> None:
    module = load({"kind": "demo", "name": "t", "network": "residual-ticket"}).module
    weights = torch.cat([layer.weight.flatten() for layer, _ in prunable(module)])
    assert (weights == 0).float().mean().item() == pytest.approx(0.8, abs=1e-3)


def test_training_data_are_drawn_anew_from_their_seed() -> None:
    few = Battery.model_validate({**TRAIN.content(), "exemplars": 2, "images_per_exemplar": 5})
    categories = sorted(set(few.load().table["category"]))
    images, labels, held_out = images_and_labels(few, categories)
    assert images.shape == (80, 64, 64, 3)
    assert held_out.mean() == 0.5
    assert sorted(set(labels.tolist())) == list(range(8))
    np.testing.assert_array_equal(images, images_and_labels(few, categories)[0])


def test_shifted_batches_keep_their_shape() -> None:
    x = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).view(2, 3, 8, 8)
    assert shifted(x, np.random.default_rng(0)).shape == x.shape
