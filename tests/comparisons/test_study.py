"""The plan of a large study: its arithmetic against counts done by hand, and the table in the documentation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comparisons.study import VIT_B, VIT_L, Measured, Study, plan, table

DOCS = Path(__file__).resolve().parents[2] / "docs" / "imagenet_study.md"


def test_multiplications_are_those_of_the_networks() -> None:
    """Against the counts of torchvision's model pages: 17.56 and 61.55 billion."""
    assert VIT_B.multiplications == pytest.approx(17.56e9, rel=1e-3)
    assert VIT_L.multiplications == pytest.approx(61.55e9, rel=1e-3)


@pytest.mark.slow
def test_multiplications_are_those_that_torch_counts() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from torchvision.models import vit_b_16

    with FlopCounterMode(display=False) as counter:
        vit_b_16().train()(torch.zeros(1, 3, 224, 224))  # as for inference, attention is one call that is not counted
    assert counter.get_total_flops() / 2 == pytest.approx(VIT_B.multiplications, rel=1e-4)


def test_on_the_measured_sizes_the_plan_gives_the_measured_seconds() -> None:
    measured = Measured()
    study = Study(VIT_B, sites=1, images=64, tokens=1, seeds=1, epochs=64, shown=3200, features=8192)
    lines = {line.name: line.hours * 3600 for line in plan(study, measured)}
    assert lines["capture to train on"] == pytest.approx(measured.capture_seconds)
    assert lines["dictionaries"] == pytest.approx(measured.step_seconds)  # 64 images x 64 epochs: one batch
    assert lines["encoding"] == pytest.approx(2 * measured.ridge_seconds)  # the stream and one dictionary's codes
    rdm = replace(study, features=10_000)
    assert {line.name: line.hours * 3600 for line in plan(rdm, measured)}["RDMs"] == pytest.approx(2 * 1.54)
    ten = {line.name: line.hours * 3600 for line in plan(replace(study, shown=10_000, regions=1), measured)}
    assert ten["RSA"] == pytest.approx(2 * 21.2)


def test_bytes_are_counted() -> None:
    lines = {line.name: line.bytes for line in plan(Study(), Measured())}
    assert lines["capture to train on"] == 1_281_167 * 24 * 16 * 1024 * 2
    assert lines["dictionaries"] == 24 * 5 * (2 * 1024 * 8192 + 1024 + 8192) * 4
    assert lines["capture of what was shown"] == 10_000 * 24 * 197 * 1024 * 2
    assert lines["RDMs"] == 24 * 6 * (10_000 * 9_999 // 2) * 8


def test_a_faster_machine_takes_less_time_and_as_much_disk() -> None:
    slow, fast = plan(Study(), Measured()), plan(Study(), Measured(), speed=10)
    assert [a.hours / b.hours for a, b in zip(slow, fast, strict=True)] == pytest.approx([10] * len(slow))
    assert [a.bytes for a in slow] == [b.bytes for b in fast]
    with pytest.raises(ValueError, match="speed is 0"):
        plan(Study(), Measured(), speed=0)
    with pytest.raises(ValueError, match="images is 0"):
        plan(Study(images=0), Measured())


def test_the_tables_of_the_page_are_those_that_the_command_prints() -> None:
    page = DOCS.read_text()
    subset = replace(Study(), images=100_000, seeds=3, shown=5000)
    for lines, price in ((plan(Study(), Measured()), None), (plan(subset, Measured()), None),
                         (plan(Study(), Measured(), speed=50), 2.5)):  # fmt: skip
        assert table(lines, price) in page
