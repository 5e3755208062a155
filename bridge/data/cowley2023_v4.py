"""Macaque V4 spike counts with the images that were shown, nine sessions (Cowley et al. 2023)."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from bridge.data.dataset import DataFile, Dataset, GitHubFolder
from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.recordings.recordings import Recordings, RegionRDMs
from bridge.stimuli.stimulus_set import StimulusSet
from bridge.store import digest

_IMAGES = {
    "190923": "e99a4df1c7476bdc4d565ff4408bc421976ecc3a22c41af6bfd0cfbddb508c0c",
    "190925": "765b4d4372302d4ed72c3382d41ece5ca55d7dcc3d84da7402091253529b87d1",
    "190927": "d2469cc2caa629d4ed38e8d4964fb1de8c0b29e9937c25ce1c5838bc4e382653",
    "190928": "6d90fdf2341e038beb57c16ce85f48c3a2bdfd450bc1c6440489529aead0f161",
    "201025": "3abb63679107665eab7220bdeaf7863832a1df943bf3d7792501f5082a55b2e8",
    "210224": "e2690810bee34c2e2821e5dd504c7970f3441579bc57659f27d2c11678b52c6b",
    "210225": "79bfb1066949a7f7bbd3c632ab420c2230b966b80cade76593d8745aea49b7f6",
    "210305": "9fab651e9c2d0b44091c2ea238c78d68fedf573cd7d4ae6b0545c5d84c121776",
    "210325": "992774eca3508a2ad01accb1a31f5f3e3d90248c49f4eec314f2a915a263e454",
}
_AVERAGED = {
    "190923": "741672d36541ce39930c8a3b5bd1cfd33c187aa47b1549c9c5569bc21aa97a28",
    "190925": "2f94d7bcef0f68fecdb7472f509737fafac92477cf6b11a4966162b1b1072529",
    "190927": "4c3c75ec72bc4bd3f0e22987a7b2e7e962af249d6577e8a6d727ea9075bde034",
    "190928": "41707e2d31ace45da6d181ad28a91c299971d42430c91cc738602523e7d7eda6",
    "201025": "f729f3dc0d29aa38bd380c0da9e39aba916f9e2580949929b65d1714e7217a8a",
    "210224": "4dbb7367707a5ca47ab4cea863bbf4e9765b8409cb30216693721bddfad7abfe",
    "210225": "853f196247504fa2526b507f56ee5237711ed166f295f7cb23ec5441a7bf789b",
    "210305": "00dce8d39558bfc3f5dd55c6f678c05de1b63895d56193379fd7dfe41fc703f0",
    "210325": "555e67037182611969ab90da291dcc39601de4411f651a64ad60e90572cf59d3",
}
_TRIALS = {
    "210325": "4008dbbf31a47d9b1b8d8da609f4a7a3433c7071f0e45c611c220b217dd75b76",
}
SESSIONS = tuple(_IMAGES)


@lru_cache(maxsize=16)
def _archive(path: Path, process: int) -> zipfile.ZipFile:
    """An open archive, one a process: a forked worker must not share the parent's file position."""
    return zipfile.ZipFile(path)


def image_names(path: Path) -> list[str]:
    """The images of a session's archive in the order of the responses: sorted, unlike the archive's own order."""
    with zipfile.ZipFile(path) as archive:
        return sorted(name for name in archive.namelist() if name.endswith(".jpg"))


@dataclass(frozen=True)
class _ZippedImages:
    """JPEG images inside archives; `members` names archive and image by row, `sha256` stands for the content."""

    members: tuple[tuple[Path, str], ...]
    sha256: tuple[str, ...]

    def image(self, index: int) -> np.ndarray:
        from PIL import Image

        path, name = self.members[index]
        try:
            with _archive(path, os.getpid()).open(name) as file:
                return np.asarray(Image.open(file).convert("RGB"))
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"The image {name} in {path} cannot be read ({error}); fetch the file again.") from error

    def fingerprint(self) -> str:
        return digest([list(self.sha256), [name for _, name in self.members]])


def _chosen(sessions: Sequence[str] | None) -> tuple[str, ...]:
    for session in sessions or ():
        if session not in SESSIONS:
            raise ConfigError(f"There is no session {session!r} in cowley2023_v4; {did_you_mean(session, SESSIONS)}.")
    return tuple(sessions) if sessions is not None else SESSIONS


def _subject(session: str) -> str:
    return "WE" if session.startswith("19") else "PE"


def _ids(session: str, n: int) -> list[str]:
    return [f"cowley{session}-{number:04d}" for number in range(1, n + 1)]


def read_stimuli(data: Dataset, sessions: Sequence[str] | None = None) -> StimulusSet:
    """The images of `sessions` (default all), 112 x 112, with columns `session` and `subject`."""
    import pandas as pd

    members: list[tuple[Path, str]] = []
    rows = []
    chosen = _chosen(sessions)
    for session in chosen:
        path = data.file(f"images_{session}")
        names = image_names(path)
        members += [(path, name) for name in names]
        rows += [(name, session, _subject(session)) for name in _ids(session, len(names))]
    table = pd.DataFrame(rows, columns=["stimulus_id", "session", "subject"]).set_index("stimulus_id")
    return StimulusSet("cowley2023_v4", table, _ZippedImages(tuple(members), tuple(_IMAGES[s] for s in chosen)))


def read_recordings(data: Dataset, sessions: Sequence[str] | None = None) -> list[Recordings | RegionRDMs]:
    """V4 spike counts per 100 ms of `sessions` (default all), one `Recordings` a session.

    Single trials where the data set has them (210325: up to 10 repetitions, padded with NaN), else the average over
    repetitions as one repetition, which `dropped` says.
    """
    import pandas as pd

    found: list[Recordings | RegionRDMs] = []
    for session in _chosen(sessions):
        if session in _TRIALS:
            counts = np.load(data.file(f"trials_{session}"), allow_pickle=False).transpose(2, 1, 0)
        else:
            counts = np.load(data.file(f"averaged_{session}"), allow_pickle=False).T[None]
        n = counts.shape[2]
        neuroids = pd.DataFrame(
            {
                "neuroid_id": [f"cowley{session}-unit{number:02d}" for number in range(1, n + 1)],
                "region": "V4",
                "subject": _subject(session),
                "session": session,
            }
        )
        found.append(
            Recordings(
                name=f"cowley2023-{session}",
                data=counts,
                stimulus_ids=tuple(_ids(session, counts.shape[1])),
                neuroids=neuroids,
                # One array a session; residuals paired by repetition index correlate at .03, shuffled at .00.
                simultaneous=session in _TRIALS,
                citation=data.citation,
                dropped=() if session in _TRIALS else ("single trials: only the average over repetitions is used",),
            )
        )
    return found


_SOURCE = GitHubFolder("cowleygroup/V4_compact_models", "f4552ad9d34a466ebc66658f72a08a8e5038f1cf", "data_V4_responses")


def _files(key: str, folder: str, extension: str, sha256: dict[str, str]) -> list[DataFile]:
    stem = folder.split("/")[0].split("_")[0]
    return [
        _SOURCE.file(
            f"{key}_{session}",
            f"cowley2023_v4/{folder}/{stem}_{session}.{extension}",
            value,
            upstream=f"{folder}/{stem}_{session}.{extension}",
        )
        for session, value in sha256.items()
    ]


DATASET = Dataset(
    name="cowley2023_v4",
    title="Macaque V4 with its images, nine sessions (Cowley et al. 2023)",
    files=(
        *_files("images", "images", "zip", _IMAGES),
        *_files("averaged", "responses_repeat_averaged", "npy", _AVERAGED),
        *_files("trials", "responses_raw", "npy", _TRIALS),
    ),
    licence="GPL-3.0",
    citation=(
        "Cowley, B. R., Stan, P. L., Pillow, J. W. & Smith, M. A. (2023). Compact deep neural network models of visual "
        "cortex. bioRxiv 2023.11.22.568315."
    ),
    description=(
        "Spike counts (100 ms) of 24-89 V4 units a session to 400-1,200 images of 112 x 112 pixels, two macaques; "
        "averages over repetitions, single trials for 210325."
    ),
    read_stimuli=read_stimuli,
    read_recordings=read_recordings,
)
