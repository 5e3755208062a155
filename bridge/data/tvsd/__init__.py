"""THINGS Ventral stream Spiking Dataset: V1, V4 and IT at once in two macaques (Papale et al. 2025).

22,248 images of THINGS were shown once and 100 others 30 times. Read by `kind: tvsd` (stimuli and recordings), from
the normalised averages (they fit in memory) or from single trials of about 58 GB a monkey (read in blocks).
"""

from __future__ import annotations

from typing import Literal

from bridge.data.dataset import DataFile, Dataset

Monkey = Literal["F", "N"]
MONKEYS: tuple[Monkey, ...] = ("F", "N")
AREAS: dict[Monkey, tuple[tuple[str, int], ...]] = {
    "F": (("V1", 512), ("IT", 320), ("V4", 192)),
    "N": (("V1", 512), ("V4", 256), ("IT", 256)),
}
"""Areas and numbers of electrodes, in physical order."""
WINDOWS: dict[str, tuple[float, float]] = {"V1": (25, 125), "V4": (50, 150), "IT": (75, 175)}
"""The authors' windows in ms: a time point t counts where start < t <= end (their norm_MUA.m)."""
RELIABILITY = 0.3
"""The mean correlation between repetitions below which an electrode is usually left out."""
_ADDRESS = "https://gin.g-node.org/paolo_papale/TVSD/raw/master"


def area_of(monkey: Monkey) -> list[str]:
    """The area of every electrode, in physical order."""
    return [area for area, count in AREAS[monkey] for _ in range(count)]


def _files(monkey: Monkey) -> tuple[DataFile, ...]:
    folder = f"monkey{monkey}"
    return tuple(
        DataFile(f"{key}_{monkey}", f"tvsd/{folder}/{path}", None, f"{_ADDRESS}/{folder}/{path}", by_hand)
        for key, path, by_hand in (
            ("averages", "THINGS_normMUA.mat", False),
            ("mapping", "_logs/1024chns_mapping_20220105.mat", False),
            ("trials", "THINGS_MUA_trials.mat", True),
        )
    )


DATASET = Dataset(
    name="tvsd",
    title="Macaque V1, V4 and IT at once on 22,348 images of THINGS (Papale et al. 2025)",
    files=tuple(entry for monkey in MONKEYS for entry in _files(monkey)),
    licence="CC BY 4.0 (the images of THINGS have their own terms)",
    citation=(
        "Papale, P., Wang, F., Self, M. W. & Roelfsema, P. R. (2025). An extensive dataset of spiking activity to "
        "reveal the syntax of the ventral stream. Neuron 113."
    ),
    description=(
        "Multi-unit activity of 2 x 1,024 electrodes in V1, V4 and IT, recorded at once: 22,248 images once, 100 "
        "images 30 times. The source declares no hashes: what is read is recorded by its own."
    ),
    kind="tvsd",
)
