"""A small TVSD in the layout of the real files: MATLAB 7.3 with reversed axes, channels in another order, UTF-16 paths.

The normalised file is made as the authors' norm_MUA.m makes it, one electrode at a time, so that what the project reads
from single trials can be held against it. Images, repetitions and time points are few; electrodes are all 1,024.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from scipy.spatial.distance import pdist

from bridge.data.tvsd import WINDOWS, Monkey, area_of

OBJECTS = ("aardvark", "abacus", "zucchini_flower", "yo-yo")


@dataclass
class StandIn:
    folder: Path
    things: Path
    test: list[str]
    train: list[str]
    mapping: np.ndarray
    table: np.ndarray
    """[trial, 7] as ALLMAT in MATLAB."""
    physical: np.ndarray
    """[time point, trial, electrode] in physical order."""
    times: np.ndarray
    dead: int


def make(
    root: Path, monkey: Monkey = "F", *, test: int = 12, train: int = 20, reps: int = 4, seed: int = 0, step: int = 10
) -> StandIn:
    """A monkey's folder with averages, trials, mapping and list of images, and a folder of THINGS with the images.

    Responses are a signal of the electrode's own plus noise that all electrodes share in a trial, on a baseline and
    scale that change from day to day. Electrode 7 is dead; every tenth electrode only makes noise.
    """
    rng = np.random.default_rng(seed)
    areas = np.array(area_of(monkey))
    electrodes, dead = len(areas), 6
    tests, trains = (
        [f"{OBJECTS[k % 4]}\\{OBJECTS[k % 4]}_{k:02d}{tag}.jpg" for k in range(n)]
        for tag, n in (("n", test), ("b", train))
    )
    shown = [(k + 1, 0) for k in range(train)] + [(0, k + 1) for k in range(test) for _ in range(reps)]
    shown = [shown[k] for k in rng.permutation(len(shown))]
    trials = len(shown)
    day = 1 + (np.arange(trials) >= trials // 2)
    table = np.column_stack(
        [
            np.arange(1, trials + 1),
            np.array(shown),
            rng.permutation(trials) % reps + 1,  # useless, as in the real file
            np.arange(trials) % 4 + 1,
            np.ones(trials, int),
            day,
        ]
    ).astype(float)
    times = np.arange(-100, 200, step)
    signal = rng.standard_normal((train + test, electrodes))
    signal[:, ::10] = 0
    row = [a - 1 if a else train + b - 1 for a, b in shown]
    shared = rng.standard_normal((trials, 1))
    response = 3 * signal[row] + 0.5 * shared + rng.standard_normal((trials, electrodes))
    course = np.clip((times - 20) / 60, 0, 1)
    gain, base = 1 + 0.5 * (day == 2)[:, None], 10 + 5 * (day == 2)[:, None]
    physical = course[:, None, None] * (gain * (8 + response))[None] + base[None]
    physical = (physical + 0.5 * rng.standard_normal(physical.shape)).astype(np.float32)
    physical[:, :, dead] = 4
    mapping = rng.permutation(electrodes)
    recorded = np.empty_like(physical)
    recorded[:, :, mapping] = physical  # physical electrode i is recorded channel mapping[i]

    folder = root / f"monkey{monkey}"
    (folder / "_logs").mkdir(parents=True)
    with h5py.File(folder / "THINGS_MUA_trials.mat", "w") as file:
        file.create_dataset("ALLMUA", data=recorded, chunks=(len(times), 8, 64))
        file["ALLMAT"] = table.T
        file["tb"] = times[:, None].astype(float)
    scipy.io.savemat(folder / "_logs" / "1024chns_mapping_20220105.mat", {"mapping": (mapping + 1)[None].astype(float)})
    write_list(folder / "_logs" / "things_imgs.mat", tests, trains)
    write_averages(folder / "THINGS_normMUA.mat", recorded, table, times, mapping, areas)
    things = write_images(root / "THINGS" / "object_images", [*tests, *trains], seed)
    stems = [[path.split("\\")[1].removesuffix(".jpg") for path in part] for part in (tests, trains)]
    return StandIn(root, things, *stems, mapping, table, physical, times, dead)


def write_averages(
    path: Path, recorded: np.ndarray, table: np.ndarray, times: np.ndarray, mapping: np.ndarray, areas: np.ndarray
) -> None:
    """THINGS_normMUA.mat, after norm_MUA.m line by line (areas by the channel that they are recorded on)."""
    area_of_channel = np.empty(len(areas), dtype=areas.dtype)
    area_of_channel[mapping] = areas
    train, test, day = table[:, 1].astype(int), table[:, 2].astype(int), table[:, -1]
    norm = np.full((len(areas), len(table)), np.nan)
    for channel in range(len(areas)):
        start, end = WINDOWS[str(area_of_channel[channel])]
        gate = (times > start) & (times <= end)
        mua = recorded[gate][:, :, channel].astype(float)
        for one in np.unique(day):
            pool = mua[:, (test > 0) & (day == one)]
            here = day == one
            with np.errstate(invalid="ignore"):
                norm[channel, here] = (mua[:, here].mean(axis=0) - pool.mean()) / pool.std(ddof=1)
    norm = norm[mapping]
    n_test = test.max()
    reps = [np.flatnonzero(test == k + 1) for k in range(n_test)]
    repeated = np.stack([norm[:, at] for at in reps], axis=1)  # [electrode, image, rep], as in MATLAB
    train_mua = norm[:, [np.flatnonzero(train == k + 1)[0] for k in range(train.max())]]
    with np.errstate(invalid="ignore"):
        reliab = np.stack([1 - pdist(one.T, "correlation") for one in repeated])
    with h5py.File(path, "w") as file:
        for name, values in (
            ("train_MUA", train_mua),
            ("test_MUA", repeated.mean(axis=2)),
            ("test_MUA_reps", repeated),
            ("reliab", reliab),
            ("SNR", np.ones((len(areas), 2))),
            ("SNR_max", np.ones((1, len(areas)))),
            ("tb", times[None].astype(float)),
        ):
            file[name] = values.T  # MATLAB's axes, reversed


def write_list(path: Path, test: list[str], train: list[str]) -> None:
    """things_imgs.mat: cells of UTF-16 strings, each a reference into `#refs#`."""
    with h5py.File(path, "w") as file:
        refs = file.create_group("#refs#")
        for split, paths in (("test", test), ("train", train)):
            group = file.create_group(f"{split}_imgs")
            columns: dict[str, list[str]] = {
                "class": [one.split("\\")[0] for one in paths],
                "things_path": paths,
                "local_path": [f"\\\\server\\{k:05d}.bmp" for k in range(len(paths))],
            }
            for column, texts in columns.items():
                cells = group.create_dataset(column, (len(texts), 1), dtype=h5py.ref_dtype)
                for k, text in enumerate(texts):
                    cell = refs.create_dataset(
                        f"{split}{column}{k}", data=np.frombuffer(text.encode("utf-16-le"), np.uint16)[:, None]
                    )
                    cell.attrs["MATLAB_class"] = np.bytes_("char")
                    cells[k, 0] = cell.ref


def write_images(root: Path, paths: list[str], seed: int) -> Path:
    """Small pictures under the names that THINGS gives them."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    for path in paths:
        file = root / path.replace("\\", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels: Any = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    return root.parent
