"""How often the network rule of P1 answers what, on planted streams of fresh seeds, beside the naive random folds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from comparisons.persistence.decodability import decodability
from comparisons.verdicts.persistence import SiteD, network_persistence
from probes.decoding import decode_across, orientation_target

ORIENTATION, FREQUENCY, PHASE = (
    axis.ravel() for axis in np.meshgrid(np.arange(0, 180, 15), np.arange(5), np.arange(0, 360, 45), indexing="ij")
)
TARGET = orientation_target(ORIENTATION)
PERSISTS, LOST = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5), (1.0, 0.6, 0.3, 0.15, 0.05, 0.0)
SEEDS = 20


def site(rng: np.random.Generator, shared: float, own: float, d: int = 60) -> np.ndarray:
    """One code for orientation at every frequency, at strength `shared`, and another at each frequency, at `own`."""
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0] * np.sqrt(d)
    turn = np.deg2rad(PHASE)
    x = np.eye(5)[FREQUENCY] @ axes[:5] + np.stack([np.cos(turn), np.sin(turn)], axis=1) @ axes[5:7]
    x = (
        x
        + shared * TARGET @ axes[7:9]
        + own * np.einsum("nk,nkd->nd", TARGET, rng.standard_normal((5, 2, d))[FREQUENCY])
    )
    return x + 1.5 * rng.standard_normal(x.shape)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strengths", "own", "answer", "trap"),
    [(PERSISTS, 0, "SUPPORTED", False), (LOST, 0, "REFUTED", False), (LOST, 1, "REFUTED", True)],
)
def test_rates(strengths: tuple[float, ...], own: float, answer: str, trap: bool) -> None:
    answers: Counter[str] = Counter()
    fooled = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng([9000, seed])
        curve = []
        for number, strength in enumerate(strengths):
            x = site(rng, strength, own if number > 2 else 0)
            found = decodability(x, TARGET, held=FREQUENCY, apart=PHASE, cells=ORIENTATION * 10 + FREQUENCY, seed=seed)
            curve.append(SiteD(str(number), (number + 1) / 6, found.estimate))
        answers[network_persistence("planted", curve).answer] += 1
        fooled += decode_across(x, TARGET, rng.integers(0, 5, len(TARGET))).r2 > 0.3
    assert answers[answer] >= SEEDS - 1
    if answer == "REFUTED":
        assert fooled == (SEEDS if trap else 0), "random folds read the pictures that they were trained on"
