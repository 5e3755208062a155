"""The 92 object images of Kriegeskorte et al. 2008 with human and monkey IT RDMs, as shared with rsatoolbox."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.data.dataset import Dataset, GitHubFolder
from bridge.recordings.recordings import Recordings, RegionRDMs
from bridge.stimuli.stimulus_set import StimulusSet

if TYPE_CHECKING:
    import pandas as pd

N_IMAGES = 92
IDS = tuple(f"kriegeskorte92-{number:03d}" for number in range(1, N_IMAGES + 1))
_UPPER = np.triu_indices(N_IMAGES, 1)


def images_and_table(path: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """Images uint8 [92, 175, 175, 3] and the table of their categories from the supplementary .mat file.

    Columns: `category` (six, as labelled there), `text` (the same as words), and the labels `human`, `face`, `animal`,
    `natural` as booleans.
    """
    import pandas as pd
    import scipy.io

    objects = scipy.io.loadmat(path, variable_names="stimuli_92objs")["stimuli_92objs"][0]
    category = [str(item["category"][0]) for item in objects]
    columns: dict[str, Any] = {
        "category": category,
        "text": [name.replace("bodypart", "body part") for name in category],
    }
    for label in ("human", "face", "animal", "natural"):
        columns[label] = [bool(item[label].item()) for item in objects]
    table = pd.DataFrame(columns, index=pd.Index(IDS, name="stimulus_id"))
    return np.stack([item["image"] for item in objects]), table


@dataclass(frozen=True)
class _Images:
    """The images of the .mat file, read at the first request; the file's sha256 stands for their content."""

    path: Path
    sha256: str

    @cached_property
    def _images(self) -> np.ndarray:
        return images_and_table(self.path)[0]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "sha256": self.sha256}

    def image(self, index: int) -> np.ndarray:
        return self._images[index]

    def fingerprint(self) -> str:
        return f"kriegeskorte2008_92 {self.sha256}"


def read_stimuli(data: Dataset) -> StimulusSet:
    """The 92 images. They were shown at 2.9 degrees of visual angle to the human subjects."""
    path = data.file("stimuli")
    source = _Images(path, data.entry("stimuli").sha256 or "")
    return StimulusSet("kriegeskorte2008_92", images_and_table(path)[1], source, degrees=2.9)


def read_recordings(data: Dataset) -> list[Recordings | RegionRDMs]:
    """Human IT of four subjects and monkey IT (one RDM of 674 neurons of two monkeys, pooled)."""
    import scipy.io

    sessions = scipy.io.loadmat(data.file("brain"), variable_names="RDMs")["RDMs"][0]  # [subject, session]
    human = np.stack([np.mean([session["RDM"][_UPPER] for session in one], axis=0, dtype=float) for one in sessions])
    subjects = tuple(str(one[0]["name"][0]).split(" | ")[1] for one in sessions)
    pooled = scipy.io.loadmat(data.file("stimuli"), variable_names="RDMs_mIT_hIT_fig1")["RDMs_mIT_hIT_fig1"][0]
    monkey = next(item["RDM"] for item in pooled if str(item["name"][0]).startswith("mIT"))
    return [
        RegionRDMs(
            name="kriegeskorte2008-human",
            region="IT",
            rdms=human,
            stimulus_ids=IDS,
            subjects=subjects,
            citation=data.citation,
            dropped=("the RDMs of the two sessions of each subject were averaged",),
        ),
        RegionRDMs(
            name="kriegeskorte2008-monkey",
            region="IT",
            rdms=np.asarray(monkey, float).reshape(1, -1),
            stimulus_ids=IDS,
            subjects=("674 neurons pooled",),
            citation=data.citation,
        ),
    ]


def read_references(data: Dataset) -> list[RegionRDMs]:
    """The eight model RDMs that come with the data (animacy, silhouette, ...) and 16 subjects' judgements."""
    import scipy.io

    models = scipy.io.loadmat(data.file("models"), variable_names="Models")["Models"][0]
    judged = scipy.io.loadmat(data.file("behaviour"), variable_names="rdms_behav_92")["rdms_behav_92"][0]

    def reference(name: str, rdms: list[np.ndarray], subjects: tuple[str, ...], measure: str) -> RegionRDMs:
        pairs = np.stack([rdm[_UPPER].astype(float) for rdm in rdms])
        return RegionRDMs(name, name, pairs, IDS, subjects, measure=measure, citation=data.citation)

    found = [reference(str(item["name"][0]), [item["RDM"]], ("model",), "model") for item in models]
    subjects = tuple(str(item["name"][0]).split(" | ")[1] for item in judged)
    return [*found, reference("similarity judgements", [item["RDM"] for item in judged], subjects, "judgement")]


_SOURCE = GitHubFolder("rsagroup/rsatoolbox", "f1f83cadb7243492a1aae7460466e0f0140b20ac", "demos/92imageData")

DATASET = Dataset(
    name="kriegeskorte2008_92",
    title="92 object images with human and monkey IT (Kriegeskorte et al. 2008)",
    files=(
        _SOURCE.file(
            "stimuli",
            "kriegeskorte2008_92/Kriegeskorte_Neuron2008_supplementalData.mat",
            "06f21214399a5d43dc264eed19a7f4b8daf11c8622a59eec3e106064ce5e3504",
        ),
        _SOURCE.file(
            "brain",
            "kriegeskorte2008_92/92_brainRDMs.mat",
            "1743f90a15e895798a94318649e80e1123a7e5943a1703fa1dd7c31ea5780b7c",
        ),
        _SOURCE.file(
            "models",
            "kriegeskorte2008_92/92_modelRDMs.mat",
            "e1d2b58bb2f9508bc13da4c81b94d1ab07823b25ed30b9563bd9d6d730c2a00a",
        ),
        _SOURCE.file(
            "behaviour",
            "kriegeskorte2008_92/92_behavRDMs.mat",
            "7a8e118c144c3840adeeeef6ea0706a0be2b3e80df719af15fbb56fc62562f5f",
        ),
    ),
    licence="MIT (as part of rsatoolbox)",
    citation=(
        "Kriegeskorte, N., Mur, M., Ruff, D. A., Kiani, R., Bodurka, J., Esteky, H., Tanaka, K. & Bandettini, P. A. "
        "(2008). Matching categorical object representations in inferior temporal cortex of man and monkey. Neuron 60."
    ),
    description=(
        "92 colour images of isolated objects; RDMs (1 - Pearson r) of human IT (fMRI, 316 voxels, 4 subjects x 2 "
        "sessions) and of 674 monkey IT neurons; 8 model RDMs and 16 subjects' similarity judgements."
    ),
    read_stimuli=read_stimuli,
    read_recordings=read_recordings,
    read_references=read_references,
)
