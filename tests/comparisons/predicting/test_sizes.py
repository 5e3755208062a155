"""What is known of a stage before it runs: the bytes that it really leaves, and the benchmarks' own rows."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest
import torch

import comparisons.predicting.history
import comparisons.predicting.table
from bridge.models import load
from bridge.models.cost import counted
from bridge.store import Store
from comparisons.config import parse
from comparisons.plan import make_plan, plan_training
from comparisons.predicting.history import size_of
from comparisons.predicting.sizes import Cost, TrainedAt, captured, correlated, trained
from comparisons.running import Silent, execute
from comparisons.study import VIT_B, Measured


def test_the_rows_of_the_benchmarks_come_out() -> None:
    one = Measured()
    vit = Cost(VIT_B.multiplications, 86_000_000)
    assert captured(one.capture_images, 1, "float32", vit).seconds == pytest.approx(one.capture_seconds)
    step = trained([TrainedAt(768, 8192)], 4096, 4096, 768, reservoir=2**18)
    assert step.seconds == pytest.approx(one.step_seconds)
    assert correlated(3200, [10_000]).seconds == pytest.approx(one.rdm_seconds)
    # Twice the tokens take twice as long; the passes through the network come on top where nothing was captured.
    twice = trained([TrainedAt(768, 8192)], 8192, 4096, 768, reservoir=2**18, passes=one.capture_images, cost=vit)
    assert twice.seconds == pytest.approx(2 * one.step_seconds + one.capture_seconds)
    assert captured(10, 1, "float32", Cost(None, 5)).seconds is None
    assert trained([TrainedAt(8, 8)], 10, 10, 8, reservoir=10, passes=1, cost=Cost(None, 5)).seconds is None


def test_multiplications_and_parameters_are_counted() -> None:
    net = {"kind": "torchvision", "name": "net", "untrained": True}
    vit = load({**net, "architecture": "vit_b_16"})
    multiplications, parameters = counted(vit)
    assert multiplications == pytest.approx(17.56e9, rel=0.01)  # torchvision's documentation of vit_b_16
    assert parameters == 86_567_656
    multiplications, parameters = counted(load({**net, "architecture": "resnet18"}))
    assert multiplications == pytest.approx(1.81e9, rel=0.01)
    assert parameters == 11_689_512


def test_a_network_that_cannot_be_counted_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load({"kind": "demo", "name": "net"})
    monkeypatch.setattr(backbone.module, "forward", lambda x: 1 / 0)
    assert counted(backbone)[0] is None


@pytest.mark.filterwarnings("ignore::UserWarning")  # of latents that die in so short a training
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_bytes_of_captures_dictionaries_and_rdms_are_those_that_are_written(
    tiny: dict[str, Any], dtype: str
) -> None:
    entry = {"kind": "train", "name": "topk", "sites": ["blocks.4.hook_resid_post"], "training": {"batch": 64}}
    tiny |= {"models": [{"kind": "demo", "name": "net"}], "saes": [entry]}
    tiny["capture"] |= {"dtype": dtype, "tokens": 16}
    tiny["comparisons"][0]["sites"] = ["blocks.*.hook_resid_post"]
    store = Store()
    plan = make_plan(parse(tiny), store)
    execute(plan, store, Silent())
    known = 0
    for stage in plan.stages.values():
        if stage.size is None:
            continue
        known += 1
        written = size_of(store.path(stage.kind, stage.inputs))
        predicted = stage.size().disk
        assert predicted is not None
        assert written is not None
        assert predicted <= written < predicted + 60_000, stage.id  # headers, tables, histories
    assert known == 3  # the capture, the dictionary, the RDMs


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_trainings_memory_is_about_what_it_takes(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Not less than a third of what the process grows by, nor more than three times it, where tensors outweigh what
    libraries allocate."""
    from comparisons.predicting.history import watched

    del tiny["comparisons"], tiny["recordings"]
    architecture = {"kind": "topk", "latents": 24_000, "k": 8}
    training = {"batch": 1024, "tokens": 4096, "architecture": architecture, "sample": 512}
    entry = {"kind": "train", "name": "topk", "sites": ["stem", "blocks.*.hook_resid_post"], "training": training}
    tiny |= {"models": [{"kind": "demo", "name": "net"}], "saes": [entry]}
    store = Store()
    plan = plan_training(parse(tiny), store)
    first, last = plan.stages.values()
    torch.randn(64, 64) @ torch.randn(64, 64)
    paths = {first.id: store.obtain(first.kind, first.inputs, lambda folder: first.build(folder, {}, lambda *_: None))}
    with watched() as seen:
        last.build(tmp_path / "made", paths, lambda *_: None)
    assert last.size is not None
    predicted = last.size().memory
    assert predicted is not None
    assert seen.memory is not None
    assert predicted / 3 < seen.memory < 3 * predicted


@pytest.mark.parametrize("module", [comparisons.predicting.table, comparisons.predicting.history])
def test_examples_in_docstrings(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
