"""A user's own RDMs from every format, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist, squareform

from bridge.errors import ConfigError, InputError
from bridge.recordings import RegionRDMs, load
from bridge.stimuli.stimulus_set import StimulusSet

IDS = ("b", "a", "c", "d")
PAIRS = np.stack([pdist(np.random.default_rng(seed).standard_normal((4, 5)), "correlation") for seed in range(2)])
SQUARES = np.stack([squareform(one) for one in PAIRS])
STIMULI = StimulusSet("shown", pd.DataFrame(index=pd.Index(sorted(IDS), name="stimulus_id")), None)


def read(path: Path, **fields: Any) -> list[RegionRDMs]:
    found = load({"kind": "rdms", "name": "mine", "path": str(path), **fields}, STIMULI)
    assert all(isinstance(one, RegionRDMs) for one in found)
    return found  # type: ignore[return-value]


def saved(folder: Path, name: str, array: np.ndarray) -> Path:
    np.save(folder / name, array)
    return folder / name


def check(one: RegionRDMs, rdms: np.ndarray = SQUARES) -> None:
    """The RDMs stand in the order of the stimuli, whose ids are those of the file."""
    order = [IDS.index(name) for name in sorted(IDS)]
    np.testing.assert_allclose([squareform(pairs) for pairs in one.rdms], rdms[:, order][:, :, order])
    assert one.stimulus_ids == tuple(sorted(IDS))


def test_arrays_with_ids_beside_them(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    more = {"region": "IT", "ids": str(tmp_path / "ids.txt")}
    for array in (SQUARES, PAIRS):
        (one,) = read(saved(tmp_path, "a.npy", array), **more)
        check(one)
        assert one.subjects == ("subject 01", "subject 02")
    (one,) = read(saved(tmp_path, "a.npy", SQUARES[0]), **more, subjects=["pooled"])
    check(one, SQUARES[:1])
    assert one.subjects == ("pooled",)


def test_npz_names_its_regions(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, V1=SQUARES, IT=PAIRS, stimulus_ids=np.array(IDS), subjects=np.array(["m", "n"]))
    v1, it = read(path)
    check(v1)
    check(it)
    assert (v1.region, it.region, it.subjects) == ("V1", "IT", ("m", "n"))
    (only,) = read(path, regions=["IT", "V4"])
    assert only.dropped == ("V4: not in these recordings",)
    with pytest.raises(ConfigError, match="no region 'V11'"):
        read(path, regions=["V11"])


def test_csv_holds_its_ids(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    pd.DataFrame(SQUARES[0], index=IDS, columns=IDS).to_csv(path)
    (one,) = read(path, region="V4")
    check(one, SQUARES[:1])
    pd.DataFrame(SQUARES[0], index=IDS, columns=sorted(IDS)).to_csv(path)
    with pytest.raises(InputError, match="other stimuli in its first column"):
        read(path, region="V4")


def test_rsatoolbox_files(tmp_path: Path) -> None:
    from rsatoolbox.rdm import RDMs

    rdms = RDMs(
        np.concatenate([PAIRS, PAIRS]),
        rdm_descriptors={"subject": ["m", "n"] * 2, "region": ["V1"] * 2 + ["IT"] * 2},
        pattern_descriptors={"stimulus_id": list(IDS)},
    )
    rdms.save(str(tmp_path / "a.h5"), file_type="hdf5")
    v1, it = read(tmp_path / "a.h5")
    check(v1)
    check(it)
    assert (it.region, it.subjects) == ("IT", ("m", "n"))
    with pytest.raises(InputError, match="no pattern descriptor 'conds'"):
        read(tmp_path / "a.h5", pattern="conds")


def test_what_is_no_rdm_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    more = {"region": "IT", "ids": str(tmp_path / "ids.txt")}
    skewed = SQUARES.copy()
    skewed[0, 0, 1] += 0.1
    for array, said in (
        (skewed, "not symmetric"),
        (1 - SQUARES, "look like similarities"),
        (np.where(SQUARES > 1, np.nan, SQUARES), "not finite"),
        (SQUARES[:, :3], "no squares"),
        (PAIRS[:, :5], "2 subjects and 4 stimuli need"),
        (np.array(["x"]), "expected \\[subject, n, n\\]"),
    ):
        with pytest.raises(InputError, match=said):
            read(saved(tmp_path, "a.npy", array), **more)
    path = saved(tmp_path, "a.npy", SQUARES)
    with pytest.raises(InputError, match="no stimulus ids"):
        read(path, region="IT")
    with pytest.raises(InputError, match="does not name the region"):
        read(path, ids=more["ids"])
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "gone.npz")
    (tmp_path / "a.mat").write_bytes(b"")
    with pytest.raises(InputError, match=r"ends in '\.mat'"):
        read(tmp_path / "a.mat", region="IT")
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "o.npy", region="IT")
    (tmp_path / "ids.txt").write_text("a\nb\nc\nx")
    with pytest.raises(InputError, match="not in the RDMs"):
        read(path, **more)
