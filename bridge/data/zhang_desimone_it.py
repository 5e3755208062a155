"""Macaque IT single trials to seven objects at three positions, without images (Zhang et al.). Found locally only."""

from __future__ import annotations

import numpy as np

from bridge.data.dataset import DataFile, Dataset
from bridge.recordings.recordings import Recordings, RegionRDMs
from bridge.stimuli.stimulus_set import StimulusSet

OBJECTS = ("car", "couch", "face", "flower", "guitar", "hand", "kiwi")
POSITIONS = ("lower", "middle", "upper")
WINDOW_MS = 400
"""Rates are spikes a millisecond over 100-500 ms."""


def _id(thing: str, position: str) -> str:
    return f"zhang-{thing}-{position}"


def read_stimuli(data: Dataset) -> StimulusSet:
    """The 21 conditions, without images: ids, objects and positions alone."""
    import pandas as pd

    rows = [(_id(thing, position), thing, position) for thing in OBJECTS for position in POSITIONS]
    table = pd.DataFrame(rows, columns=["stimulus_id", "object_name", "position"])
    return StimulusSet("zhang_desimone_it", table.set_index("stimulus_id"), None)


def read_recordings(data: Dataset) -> list[Recordings | RegionRDMs]:
    """Spike counts (100-500 ms) [20 repetitions, 21 conditions, 132 neurons], NaN where a trial is missing.

    Neurons were recorded one after the other, so no trial is simultaneous; the file names no animals.
    """
    import pandas as pd

    with np.load(data.file("trials"), allow_pickle=False) as arrays:
        rates, sites = arrays["rates"], arrays["site"]  # [neuron, object, position, trial]
        things, positions = arrays["obj"], arrays["pos"]
    counts = np.round(rates * WINDOW_MS).reshape(len(rates), -1, rates.shape[-1]).transpose(2, 1, 0)
    neuroids = pd.DataFrame(
        {"neuroid_id": [f"zhang-neuron{int(site):03d}" for site in sites], "region": "IT", "subject": "not stated"}
    )
    return [
        Recordings(
            name="zhang-desimone",
            data=np.ascontiguousarray(counts),
            stimulus_ids=tuple(_id(str(thing), str(position)) for thing in things for position in positions),
            neuroids=neuroids,
            citation=data.citation,
            images=False,
        )
    ]


DATASET = Dataset(
    name="zhang_desimone_it",
    title="Macaque IT single trials, 7 objects x 3 positions (Zhang et al. 2011)",
    files=(
        DataFile(
            "trials",
            "zhang_desimone_it/zd_it_trials_100_500ms.npz",
            "f2db56eb053ca37130264c421b12c338719deb10af259f06a34a12d24a7f2d90",
            None,
        ),
    ),
    licence="GPL-3 (as part of NeuroDecodeR)",
    citation=(
        "Zhang, Y., Meyers, E. M., Bichot, N. P., Serre, T., Poggio, T. A. & Desimone, R. (2011). Object decoding with "
        "attention in inferior temporal cortex. PNAS 108; shared with NeuroDecodeR (github.com/emeyers/NeuroDecodeR)."
    ),
    description="Rates (100-500 ms) of 132 neurons, 20 trials a condition, no images.",
    local_only=(
        "its source (github.com/emeyers/NeuroDecodeR) holds R files, of which this is a re-saved form that is "
        "published nowhere."
    ),
    images=False,
    read_stimuli=read_stimuli,
    read_recordings=read_recordings,
)
