"""Dictionaries and checkpoints of trainings whose files are not what they say."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import MODEST, damaged, header_mutated, mutated, tried

from saes.checkpoints import CFG, WEIGHTS, read_folder, save
from saes.run_state import CHECKPOINT
from saes.settings import Training
from saes.sources import ArrayTokens
from saes.training import Job, train

ROUNDS = 200


def trained(folder: Path | None = None, **more: Any) -> Any:
    tokens = ArrayTokens({"x": torch.randn(512, 8, generator=torch.Generator().manual_seed(0))})
    training = Training(architecture={"kind": "topk", "latents": 16, "k": 2}, batch=64, epochs=4)
    return train([Job("one", ("x",), training)], tokens, folder=folder, **more)["one"].sae


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(trained(), tmp_path_factory.mktemp("dictionary"))


def test_configurations_and_weights(dictionary: Path, tmp_path: Path) -> None:
    """Changed at random, in content and in bytes; hashes are left out, as whoever made the file may do."""
    draws = random.Random(0)
    cfg = {key: value for key, value in json.loads((dictionary / CFG).read_bytes()).items() if key != "sha256"}
    weights = (dictionary / WEIGHTS).read_bytes()
    refused = 0
    for number in range(2 * ROUNDS):
        text = json.dumps(mutated(cfg, draws, MODEST)).encode() if number % 4 == 0 else json.dumps(cfg).encode()
        (tmp_path / CFG).write_bytes(damaged(text, draws) if number % 4 == 1 else text)
        changed = {2: header_mutated, 3: damaged}.get(number % 4)
        (tmp_path / WEIGHTS).write_bytes(changed(weights, draws) if changed else weights)

        def apply() -> None:
            sae = read_folder(tmp_path)
            sae.decode(sae.encode(torch.zeros(2, sae.config.d_in)))

        refused += tried(apply, code=3) is not None
    assert refused > ROUNDS / 2


def test_a_damaged_checkpoint_of_a_training_is_not_gone_on_from(tmp_path: Path) -> None:
    """Whatever was changed in it: the training starts again, and ends with the same tensors."""
    draws = random.Random(1)
    expected = trained().tensors()

    def killed(report: Any) -> None:
        if report.step >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, progress=killed, checkpoint_seconds=0)
    data = (tmp_path / CHECKPOINT).read_bytes()
    for number in range(12):
        changed = bytearray(data)
        changed[-1 - draws.randrange(2000)] ^= 1  # one bit of one number
        (tmp_path / CHECKPOINT).write_bytes(
            bytes(changed) if number % 3 == 0 else (header_mutated if number % 3 == 1 else damaged)(data, draws)
        )
        found = trained(tmp_path).tensors()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
