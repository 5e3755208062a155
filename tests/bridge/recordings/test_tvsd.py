"""TVSD: averages and single trials of a stand-in in the real files' layout, and the real list of images."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from tvsd_stand_in import StandIn, make

from bridge.data import dataset
from bridge.data.tvsd import area_of
from bridge.data.tvsd.averages import pair_reliability
from bridge.data.tvsd.images import ids_of, list_file, shown
from bridge.data.tvsd.trials import open_trials, read_table, trials_a_block, window_means
from bridge.errors import ConfigError, InputError, UnreachableError
from bridge.recordings import Recordings, load
from bridge.recordings.tvsd import TVSDRecordings
from bridge.stimuli import load as load_stimuli
from bridge.stimuli.stimulus_set import StimulusSet


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return make(tmp_path_factory.mktemp("tvsd"))


def images(stand_in: StandIn, **fields: Any) -> StimulusSet:
    listed = stand_in.folder / "monkeyF" / "_logs" / "things_imgs.mat"
    return load_stimuli({"kind": "tvsd", "things": str(stand_in.things), "images": str(listed), **fields})


def read(stand_in: StandIn, stimuli: StimulusSet | None = None, **fields: Any) -> Recordings:
    spec = {"kind": "tvsd", "folder": str(stand_in.folder), "monkeys": ["F"], **fields}
    (found,) = load(spec, images(stand_in, split=fields.get("split", "test")) if stimuli is None else stimuli)
    assert isinstance(found, Recordings)
    return found


def physical_means(stand_in: StandIn, windows: dict[str, tuple[float, float]]) -> np.ndarray:
    """Means over each electrode's window, [trial, electrode], from the stand-in's own arrays."""
    areas, times = np.array(area_of("F")), stand_in.times
    out = np.empty(stand_in.physical.shape[1:])
    for area, (start, end) in windows.items():
        gate = (times > start) & (times <= end)
        out[:, areas == area] = stand_in.physical[gate][:, :, areas == area].mean(axis=0, dtype=np.float64)
    return out


def test_the_real_list_of_images_is_read() -> None:
    path = list_file()
    test, train = shown(path, "test"), shown(path, "train")
    assert (len(test), len(train)) == (100, 22248)
    assert train[0] == "aardvark/aardvark_01b.jpg"
    assert test[0] == "alligator/alligator_14n.jpg"
    ids = ids_of(test + train)
    assert len(set(ids)) == len(ids)  # names of files alone tell images apart
    with h5py.File(path) as file:  # the folder is the object, which is its class
        for row in (0, 5000, 22247):
            label = file[file["train_imgs/class"][row, 0]][:].tobytes().decode("utf-16-le")
            assert train[row].split("/")[0] == label


def test_averages_are_by_repetition_image_and_electrode(stand_in: StandIn) -> None:
    found = read(stand_in)
    with h5py.File(stand_in.folder / "monkeyF" / "THINGS_normMUA.mat") as file:
        repeated, reliability = file["test_MUA_reps"][:], file["reliab"][:].mean(axis=0)
    keep = reliability >= 0.3
    assert found.data.shape == (4, 12, keep.sum())
    np.testing.assert_allclose(found.data, repeated[:, :, keep], rtol=1e-6)
    assert found.stimulus_ids == tuple(stand_in.test)
    assert found.simultaneous
    assert found.name == "TVSD F"
    assert list(found.neuroids["electrode"]) == list(np.flatnonzero(keep) + 1)
    assert stand_in.dead + 1 not in set(found.neuroids["electrode"])
    np.testing.assert_allclose(found.neuroids["reliability"], reliability[keep])
    variance = repeated.var(axis=0, ddof=1).mean(axis=0)[keep]
    np.testing.assert_allclose(found.neuroids["noise_variance"], variance, rtol=1e-6)
    for area, low, high in (("V1", 1, 512), ("IT", 513, 832), ("V4", 833, 1024)):
        mine = found.neuroids["electrode"][found.neuroids["region"] == area]
        assert low <= mine.min() <= mine.max() <= high
    assert f"{(~keep).sum()} of 1024 electrodes with a reliability below 0.3 (V1 " in found.dropped[0]
    assert "V2: not in these recordings" in found.dropped
    assert "Papale" in found.citation


def test_train_images_were_shown_once(stand_in: StandIn) -> None:
    found = read(stand_in, split="train", regions=["IT", "V2"])
    with h5py.File(stand_in.folder / "monkeyF" / "THINGS_normMUA.mat") as file:
        train = file["train_MUA"][:]
    assert found.data.shape[:2] == (1, 20)
    at = found.neuroids["electrode"].to_numpy() - 1
    np.testing.assert_allclose(found.data[0], train[:, at], rtol=1e-6)
    assert found.regions == ("IT",)
    few = read(stand_in, images(stand_in, split="train", limit=5), split="train")
    assert few.stimulus_ids == tuple(stand_in.train[k] for k in (0, 4, 8, 12, 16))


@pytest.mark.parametrize("megabytes", [1, 256])
def test_trials_give_what_the_authors_made_of_them(stand_in: StandIn, megabytes: int) -> None:
    """Windows, normalisation by day and re-mapping are those of norm_MUA.m, whatever the size of a block."""
    ours = read(stand_in, source="trials", block_megabytes=megabytes)
    theirs = read(stand_in)
    assert list(ours.neuroids["electrode"]) == list(theirs.neuroids["electrode"])
    np.testing.assert_allclose(ours.neuroids["reliability"], theirs.neuroids["reliability"], atol=1e-5)
    np.testing.assert_allclose(ours.data, theirs.data, rtol=2e-4, atol=2e-5)
    assert ours.trial_ids is not None
    test, day = stand_in.table[:, 2], stand_in.table[:, -1]
    at = np.flatnonzero(test == 3)
    assert list(ours.trial_ids[:, 2]) == [f"{day[k]:.0f}:{k + 1}" for k in at]
    train = read(stand_in, source="trials", split="train", block_megabytes=megabytes)
    np.testing.assert_allclose(train.data, read(stand_in, split="train").data, rtol=2e-4, atol=2e-5)


def test_windows_and_time_bins_are_chosen(stand_in: StandIn) -> None:
    windows = {"V1": (25, 125), "V4": (100, 140), "IT": (75, 175)}
    found = read(
        stand_in,
        source="trials",
        normalise="none",
        windows={"V4": [100, 140]},
        time_bins=[[70, 100], [150, 190]],
        reliability=-0.9,
    )
    assert found.time_bins == ((70, 100), (150, 190))
    at = np.flatnonzero(stand_in.table[:, 2] == 1)
    electrodes = found.neuroids["electrode"].to_numpy() - 1
    assert len(electrodes) == 1023  # all but the dead one, whose reliability does not exist
    np.testing.assert_allclose(found.data[:, 0], physical_means(stand_in, windows)[at][:, electrodes], rtol=1e-5)
    late = physical_means(stand_in, dict.fromkeys(windows, (150, 190)))
    np.testing.assert_allclose(found.at(1).data[:, 0], late[at][:, electrodes], rtol=1e-5)


def test_single_trials_share_noise_between_areas(stand_in: StandIn) -> None:
    """What P2 stands on: the stand-in's shared noise is seen across areas within trials, and gone across them."""
    found = read(stand_in, source="trials")
    residual = found.data - found.data.mean(axis=0)
    v1, it = (residual[:, :, (found.neuroids["region"] == area).to_numpy()].mean(axis=2) for area in ("V1", "IT"))
    assert np.corrcoef(v1.ravel(), it.ravel())[0, 1] > 0.9
    assert abs(np.corrcoef(v1.ravel(), np.roll(it, 1, axis=0).ravel())[0, 1]) < 0.6


def test_incorrect_trials_are_left_out_and_counted(stand_in: StandIn, tmp_path: Path) -> None:
    folder = copied(stand_in, tmp_path)
    with h5py.File(folder / "monkeyF" / "THINGS_MUA_trials.mat", "a") as file:
        first = np.flatnonzero(stand_in.table[:, 2] == 1)[0]
        table = file["ALLMAT"][:]
        table[5, first] = 0
        file["ALLMAT"][:] = table
    found = read(stand_in, folder=str(folder), source="trials")
    assert "1 of 48 trials, which were not correct" in found.dropped
    assert np.isnan(found.data[3, 0]).all()
    assert np.isfinite(found.data[:3, 0]).all()
    assert found.trial_ids is not None
    assert found.trial_ids[3, 0] == ""


def copied(stand_in: StandIn, target: Path) -> Path:
    import shutil

    return Path(shutil.copytree(stand_in.folder, target / "copy"))


def test_a_wrong_mapping_is_found_out(stand_in: StandIn, tmp_path: Path) -> None:
    folder = copied(stand_in, tmp_path)
    mapping = folder / "monkeyF" / "_logs" / "1024chns_mapping_20220105.mat"
    scipy.io.savemat(mapping, {"mapping": np.argsort(stand_in.mapping)[None] + 1.0})  # the other direction
    with pytest.raises(InputError, match="re-mapped, do not agree"):
        read(stand_in, folder=str(folder), source="trials")
    scipy.io.savemat(mapping, {"mapping": np.ones((1, 1024))})
    with pytest.raises(InputError, match="each of the channels 1 to 1024 once"):
        read(stand_in, folder=str(folder), source="trials")


def test_what_does_not_fit_is_one_sentence(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No electrode of monkey F has a reliability of 0\.9999"):
        read(stand_in, reliability=0.99999)
    with pytest.raises(InputError, match=r"No time point .* 300-400 ms .*another window for V1"):
        read(stand_in, source="trials", windows={"V1": [300, 400]})
    with pytest.raises(ConfigError, match="`source: trials`"):
        read(stand_in, time_bins=[[70, 100]])
    with pytest.raises(ConfigError, match="TVSD has no region 'V3'"):
        read(stand_in, regions=["V3"])
    with pytest.raises(InputError, match=r"holds no monkeyN/THINGS_normMUA\.mat; put there what lies at https"):
        read(stand_in, monkeys=["N"])
    with pytest.raises(InputError, match="12 test images and the list names 100"):
        read(stand_in, images_list=str(list_file()))
    broken = tmp_path / "monkeyF"
    broken.mkdir()
    (broken / "THINGS_normMUA.mat").write_bytes(b"no")
    with pytest.raises(InputError, match=r"is not TVSD's THINGS_normMUA\.mat"):
        read(stand_in, folder=str(tmp_path))


def test_things_is_the_users_own(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stimuli = images(stand_in)
    assert stimuli.ids == tuple(stand_in.test)
    assert stimuli.table["object_name"].iloc[2] == "zucchini_flower"
    assert stimuli.image(0).shape == (32, 32, 3)
    assert stimuli.degrees == 18
    monkeypatch.setenv("VENTRAL_THINGS", str(stand_in.things / "object_images"))
    listed = str(stand_in.folder / "monkeyF" / "_logs" / "things_imgs.mat")
    again = load_stimuli({"kind": "tvsd", "images": listed})
    assert again.content_hash == stimuli.content_hash
    monkeypatch.delenv("VENTRAL_THINGS")
    with pytest.raises(ConfigError, match=r"things-initiative\.org.*VENTRAL_THINGS"):
        load_stimuli({"kind": "tvsd"})
    with pytest.raises(InputError, match=r"does not hold the image alligator/alligator_14n\.jpg"):
        load_stimuli({"kind": "tvsd", "things": str(tmp_path)})


def test_what_was_read_is_recorded_by_its_hash(stand_in: StandIn, tmp_path: Path) -> None:
    spec = TVSDRecordings(folder=stand_in.folder, monkeys=("F",))
    before = spec.fingerprint()
    assert before["files"]["averages_F"].startswith("sha256:")
    folder = copied(stand_in, tmp_path)
    moved = TVSDRecordings(folder=folder, monkeys=("F",))
    assert moved.fingerprint() == before  # the place does not matter
    with h5py.File(folder / "monkeyF" / "THINGS_normMUA.mat", "a") as file:
        file["train_MUA"][0, 0] = 1
    assert moved.fingerprint() != before
    absent = TVSDRecordings(monkeys=("N",), source="trials")
    assert absent.fingerprint()["files"] == {"trials_N": None, "mapping_N": None}
    assert all(entry.sha256 is None for entry in dataset("tvsd").files)


def test_large_files_are_identified_by_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge.data import fetching

    monkeypatch.setattr(fetching, "SAMPLED_BYTES", 2**20)
    monkeypatch.setattr(fetching, "_SAMPLE_BYTES", 2**10)
    path = tmp_path / "large.mat"
    path.write_bytes(b"\0" * 2**21)
    first = fetching.identity(path)
    assert first.startswith("sampled-sha256:")
    with open(path, "r+b") as file:
        file.seek(2**21 - 1)
        file.write(b"\1")
    assert fetching.identity(path) != first


def test_without_a_network_the_address_and_the_place_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    monkeypatch.delenv("VENTRAL_DATA", raising=False)

    def refuse(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "head", refuse)
    with pytest.raises(
        UnreachableError, match=r"THINGS_normMUA\.mat would have to be fetched, and https.*VENTRAL_DATA"
    ):
        TVSDRecordings().check_reachable()
    with pytest.raises(UnreachableError, match=r"too large; its address is https.*THINGS_MUA_trials\.mat"):
        TVSDRecordings(source="trials").prepare()


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Trials are read in blocks: four times the trials take the same memory, far below the file's size."""
    areas = np.array(area_of("F"))
    channels = {area: np.flatnonzero(areas == area) for area in dict.fromkeys(areas)}
    windows = [dict.fromkeys(channels, (0.0, 100.0))]
    peaks, budget = [], 8 * 2**20
    for trials in (100, 400):
        path = tmp_path / f"{trials}.mat"
        with h5py.File(path, "w") as file:
            file.create_dataset("ALLMUA", (30, trials, 1024), "f8", chunks=(30, 4, 1024), fillvalue=1.0)
            file["ALLMUA"][:, ::3] = 2.0
            file["ALLMAT"] = np.ones((7, trials))
            file["tb"] = np.arange(-100.0, 200, 10)[:, None]
        gc.collect()
        tracemalloc.start()
        with open_trials(path) as file:
            assert len(read_table(file, path)) == trials
            total = 0
            for rows, means, _ in window_means(file, windows, channels, np.arange(trials), budget):
                total += len(rows)
                assert means.shape == (1, len(rows), 1024)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert total == trials
    assert path.stat().st_size > 8 * budget
    assert max(peaks) < 1.5 * budget
    assert peaks[1] < 1.1 * peaks[0]
    assert trials_a_block(1000, 100, 8) == 1
    assert trials_a_block(10, 1000, 8) == 96


def test_reliability_is_the_mean_over_pairs_of_repetitions() -> None:
    from scipy.spatial.distance import pdist

    values = np.random.default_rng(0).standard_normal((5, 9, 3))
    expected = [np.mean(1 - pdist(values[:, :, k], "correlation")) for k in range(3)]
    np.testing.assert_allclose(pair_reliability(values), expected)
    values[:, :, 1] = 1
    assert np.isnan(pair_reliability(values)[1])
