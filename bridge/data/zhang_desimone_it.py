"""Macaque IT single trials to seven objects at three positions, without images (Zhang et al.). Found locally only."""

from __future__ import annotations

from bridge.data.dataset import DataFile, Dataset

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
)
