"""Small recordings with their images, and features of which one site holds their signal and another does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bridge.recordings.recordings import Recordings
from bridge.stimuli.stimulus_set import ArraySource, StimulusSet


def made(
    n: int = 40, q: int = 6, reps: int = 4, seed: int = 0
) -> tuple[Recordings, StimulusSet, dict[str, np.ndarray]]:
    """Recordings of V4 in an order of their own, the images, and features: one site that holds the signal, one not."""
    rng = np.random.default_rng(seed)
    ids = tuple(f"i{k}" for k in rng.permutation(n))
    table = pd.DataFrame({"kind": [k % 2 for k in range(n)]}, index=pd.Index(ids, name="stimulus_id"))
    images = ArraySource(rng.integers(0, 255, (n, 8, 8, 3), dtype=np.uint8))
    stimuli = StimulusSet("my images", table, images, degrees=6.0)
    signal = rng.standard_normal((n, q))
    neuroids = pd.DataFrame({"neuroid_id": [f"u{k:02d}" for k in range(q)], "region": "V4", "subject": "m"})
    recordings = Recordings("mine", signal + rng.standard_normal((reps, n, q)), ids, neuroids)
    features = {
        "early": (signal @ rng.standard_normal((q, 60)) + rng.standard_normal((n, 60))).astype(np.float32),
        "late": rng.standard_normal((n, 30)).astype(np.float32),
    }
    return recordings, stimuli, features


def reader(recordings: Recordings, features: dict[str, np.ndarray]) -> Any:
    row = {name: k for k, name in enumerate(recordings.stimulus_ids)}
    return lambda site, keys: features[site][[row[key.partition("/")[2]] for key in keys]]
