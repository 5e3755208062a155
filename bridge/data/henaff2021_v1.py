"""Macaque V1 spike counts with about 50 repetitions, without images (Henaff et al. 2021). Found locally only."""

from __future__ import annotations

from itertools import product

import numpy as np

from bridge.data.dataset import DataFile, Dataset
from bridge.recordings.recordings import Recordings, RegionRDMs
from bridge.stimuli.stimulus_set import StimulusSet

POPULATIONS = ("ay2_u003", "ay3_u002", "ay4_u006", "ay5_u005")
_FRAMES, _MOVIES, _CATEGORIES, _SCALES = 11, 10, 3, 2


def conditions() -> list[tuple[str, int, int, int, int]]:
    """(id, frame, movie, category, scale), each counted from 1, of all conditions in the order of the files' axes."""
    axes = (range(1, size + 1) for size in (_FRAMES, _MOVIES, _CATEGORIES, _SCALES))
    return [
        (f"henaff2021-movie{movie:02d}-category{category}-scale{scale}-frame{frame:02d}", frame, movie, category, scale)
        for frame, movie, category, scale in product(*axes)
    ]


def read_stimuli(data: Dataset) -> StimulusSet:
    """The conditions, without images: ids and factors alone."""
    import pandas as pd

    table = pd.DataFrame(conditions(), columns=["stimulus_id", "frame", "movie", "category", "scale"])
    return StimulusSet("henaff2021_v1", table.set_index("stimulus_id"), None)


def read_recordings(data: Dataset) -> list[Recordings | RegionRDMs]:
    """Spike counts [rep, condition, unit] of the four populations, one `Recordings` each.

    Conditions that were never shown are left out. Trials are taken as simultaneous within a population: residuals of
    pairs of units, paired by repetition, correlate at .13 and .25 in the first two populations, and at -.00 and -.01
    when one of them is shifted by seven repetitions.
    """
    import pandas as pd

    named = conditions()
    found: list[Recordings | RegionRDMs] = []
    for key in POPULATIONS:
        with np.load(data.file(key), allow_pickle=False) as arrays:
            counts = arrays["counts"]  # [rep, unit, frame, movie, category, scale]
        counts = counts.reshape(*counts.shape[:2], -1).transpose(0, 2, 1)
        shown = np.isfinite(counts).any(axis=(0, 2))
        subject, session = key.split("_")
        neuroids = pd.DataFrame(
            {
                "neuroid_id": [f"henaff2021-{key}-unit{number:02d}" for number in range(1, counts.shape[2] + 1)],
                "region": "V1",
                "subject": subject,
                "session": session,
            }
        )
        never = int((~shown).sum())
        found.append(
            Recordings(
                name=f"henaff2021-{key}",
                data=np.ascontiguousarray(counts[:, shown]),
                stimulus_ids=tuple(name for (name, *_), was in zip(named, shown, strict=True) if was),
                neuroids=neuroids,
                simultaneous=True,
                citation=data.citation,
                dropped=(f"{never} of {len(named)} conditions, which were never shown",) if never else (),
                images=False,
            )
        )
    return found


DATASET = Dataset(
    name="henaff2021_v1",
    title="Macaque V1 spike counts to natural and synthetic movies (Henaff et al. 2021)",
    files=(
        DataFile(
            "ay2_u003",
            "henaff2021_v1/ay2_u003_counts.npz",
            "e6434204d9fa7e26bf860bcb7ac9d19ecc46eb1ec4f7e33db92427064232ed02",
            None,
        ),
        DataFile(
            "ay3_u002",
            "henaff2021_v1/ay3_u002_counts.npz",
            "6fce9385baac58825e2365f4daf26495e78193098924e56eb3d43ca3acd5c45a",
            None,
        ),
        DataFile(
            "ay4_u006",
            "henaff2021_v1/ay4_u006_counts.npz",
            "e117450ef16d717dac09e903fc929c80dfb8865dfde16bb3bc610e9859b6a59a",
            None,
        ),
        DataFile(
            "ay5_u005",
            "henaff2021_v1/ay5_u005_counts.npz",
            "81c990dc178f9ab52e703e6a1b7caba9a0f06111d2fe341a862133a7edf54dfe",
            None,
        ),
    ),
    licence="none stated at the source",
    citation=(
        "Henaff, O. J., Bai, Y., Charlton, J. A., Nauhaus, I., Simoncelli, E. P. & Goris, R. L. T. (2021). Primary "
        "visual cortex straightens natural video trajectories. Nature Communications 12."
    ),
    description=(
        "Four populations: repetitions x units x 11 frames x 10 movies x 3 categories x 2 scales, no images: for "
        "variability."
    ),
    local_only=(
        "its source (github.com/wongyoJung/Primary-visual-cortex-straightens-natural-video-trajectories) holds MATLAB "
        "files, of which these are a re-saved form that is published nowhere."
    ),
    images=False,
    read_stimuli=read_stimuli,
    read_recordings=read_recordings,
)
