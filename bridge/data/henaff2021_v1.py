"""Macaque V1 spike counts with about 50 repetitions, without images (Henaff et al. 2021). Found locally only."""

from __future__ import annotations

from bridge.data.dataset import DataFile, Dataset

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
)
