"""Human fMRI RDMs of 15 subjects for the 92 images of Kriegeskorte et al. 2008 (Cichy et al. 2014)."""

from __future__ import annotations

import numpy as np

from bridge.data import kriegeskorte2008_92 as images
from bridge.data.dataset import Dataset, GitHubFolder
from bridge.recordings.recordings import Recordings, RegionRDMs
from bridge.stimuli.stimulus_set import StimulusSet


def read_stimuli(data: Dataset) -> StimulusSet:
    """The 92 images: those of `kriegeskorte2008_92`, under the same ids and in the same order."""
    return images.DATASET.stimuli()


def read_recordings(data: Dataset) -> list[Recordings | RegionRDMs]:
    """Early visual cortex and IT of 15 subjects (the file says nothing more about them than their order)."""
    import h5py

    upper = np.triu_indices(images.N_IMAGES, 1)
    found: list[Recordings | RegionRDMs] = []
    with h5py.File(data.file("rdms")) as file:
        for region in ("EVC", "IT"):
            squares = file[f"{region}_RDMs"][:]  # [image, image, subject]
            rdms = np.ascontiguousarray(squares[upper].T, float)
            found.append(
                RegionRDMs(
                    name="cichy2014-human",
                    region=region,
                    rdms=rdms,
                    stimulus_ids=images.IDS,
                    subjects=tuple(f"subject {number:02d}" for number in range(1, len(rdms) + 1)),
                    citation=data.citation,
                )
            )
    return found


_SOURCE = GitHubFolder(
    "dnn-hvs/Algonauts-Challange", "9b305ff847973cb71dbcdcb249401fb93aa92ecd", "data/Training_Data/92_Image_Set"
)

DATASET = Dataset(
    name="algonauts2019_92",
    title="Human EVC and IT for the 92 object images, 15 subjects (Cichy et al. 2014)",
    files=(
        _SOURCE.file(
            "rdms",
            "algonauts2019_92/target_fmri.mat",
            "57f064c7ebc5e6de1c70898166090f5c7b6ffdcfb5b13cb897c6d81a09207e47",
        ),
    ),
    licence="none stated at the source",
    citation=(
        "Cichy, R. M., Pantazis, D. & Oliva, A. (2014). Resolving human object recognition in space and time. Nature "
        "Neuroscience 17; shared for the Algonauts Project 2019 (Cichy, R. M. et al., arXiv:1905.05675)."
    ),
    description="fMRI RDMs (1 - Pearson r) of early visual cortex and IT, 15 subjects, 92 images.",
    read_stimuli=read_stimuli,
    read_recordings=read_recordings,
)
