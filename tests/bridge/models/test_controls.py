"""Pruning against torch's, tickets and BatchNorm against what they are defined as."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from bridge.models import load
from bridge.models.controls import (
    lottery_ticket,
    prunable,
    prune_weights,
    recalibrate_batchnorm,
    recalibrated_batchnorm,
)

SPEC = {"kind": "cifar-resnet", "name": "net", "depth": 20, "seed": 1}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5), nn.LayerNorm(5)
    )


@pytest.mark.parametrize("how", ["magnitude", "random"])
def test_pruning_equals_torchs(how):
    ours, theirs = net(), net()
    prune_weights(ours, 0.6, how, seed=7)
    method = prune.L1Unstructured if how == "magnitude" else prune.RandomUnstructured
    torch.manual_seed(7)
    prune.global_unstructured([(theirs[0], "weight"), (theirs[4], "weight")], pruning_method=method, amount=0.6)
    assert torch.equal(ours[0].weight, theirs[0].weight)
    assert torch.equal(ours[4].weight, theirs[4].weight)
    zero = sum(int((layer.weight == 0).sum()) for layer in (ours[0], ours[4]))
    assert zero == round(0.6 * (ours[0].weight.numel() + ours[4].weight.numel()))
    assert "weight" in dict(ours[0].named_parameters())  # the mask is made permanent
    assert torch.equal(ours[1].weight, theirs[1].weight)


def test_a_pruned_model_of_a_config_says_so_in_its_fingerprint():
    from pydantic import TypeAdapter

    from bridge.models import AnyModel

    read_spec = TypeAdapter(AnyModel).validate_python
    whole = read_spec(SPEC)
    half = read_spec({**SPEC, "prune": {"fraction": 0.5}})
    other = read_spec({**SPEC, "prune": {"fraction": 0.5, "how": "random"}})
    renamed = read_spec({**SPEC, "name": "another"})
    assert len({str(spec.fingerprint()) for spec in (whole, half, other, renamed)}) == 3
    backbone = load({**SPEC, "prune": {"fraction": 0.5}})
    weights = torch.cat([layer.weight.flatten() for layer, _ in prunable(backbone.module)])
    assert float((weights == 0).float().mean()) == pytest.approx(0.5, abs=1e-4)
    assert half.shown_as == "untrained"
    with pytest.raises(ValueError, match="less than 1"):
        read_spec({**SPEC, "prune": {"fraction": 1.0}})


def test_linear_layers_of_gpt2_count_as_linear():
    spec = {"kind": "language", "name": "gpt2", "architecture": "gpt2", "prune": {"fraction": 0.9}, "tokens": 8}
    backbone = load({**spec, "options": {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 9, "n_positions": 8}})
    kinds = {type(layer).__name__ for layer, _ in prunable(backbone.module)}
    assert kinds == {"Conv1D", "Linear"}
    assert float((backbone.module.transformer.h[0].mlp.c_fc.weight == 0).float().mean()) > 0.5


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_ticket_is_rewound_and_stays_pruned(rounds):
    module = net()
    start = {key: value.clone() for key, value in module.state_dict().items()}
    states: list[torch.Tensor] = []

    def train(network: nn.Module) -> None:
        kept = network[0].weight.detach() != 0
        states.append(torch.where(kept, network[0].weight.detach() - start["0.weight"], 0).abs().max())
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        inputs = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        for _ in range(4):
            optimiser.zero_grad()
            network(inputs).square().sum().backward()
            optimiser.step()

    with torch.no_grad():  # trained weights: other than the initial ones
        for value in module.parameters():
            value += 0.3 * torch.randn(value.shape, generator=torch.Generator().manual_seed(2))
    ranked = torch.cat([module[0].weight.flatten(), module[4].weight.flatten()]).abs().detach()
    ticket = lottery_ticket(module, train, start, fraction=0.8, rounds=rounds)
    assert len(states) == rounds
    assert all(float(state) == 0 for state in states)  # every round starts from the rewound weights
    zero = torch.cat([(ticket[0].weight == 0).flatten(), (ticket[4].weight == 0).flatten()])
    assert float(zero.float().mean()) == pytest.approx(0.8, abs=0.005)
    if rounds == 1:
        assert ranked[zero].max() <= ranked[~zero].min()
    assert not torch.equal(ticket[0].weight, start["0.weight"])
    assert "weight" in dict(ticket[0].named_parameters())


def test_recalibrated_batchnorm_has_the_statistics_of_the_batches():
    backbone = load(SPEC)
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(8, 3, 32, 32, generator=generator) * 2 + 1 for _ in range(2)]
    first = backbone.module.bn1
    old = first.running_mean.clone()
    with torch.no_grad():
        seen = [backbone.module.conv1(batch) for batch in batches]
    with recalibrated_batchnorm(backbone, batches) as layers:
        assert layers == 19
        expected = torch.stack([value.mean(dim=(0, 2, 3)) for value in seen]).mean(0)
        assert torch.allclose(first.running_mean, expected, atol=1e-5)
        assert not first.training
        assert first.momentum == 0.1
    assert torch.equal(first.running_mean, old)
    assert recalibrate_batchnorm(backbone, batches) == 19
    assert not torch.equal(first.running_mean, old)
