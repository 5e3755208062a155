"""Brain-Score's assemblies, built with its real classes, in and out; and its real loader on files of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from brainscore_stand_in import Storage, assembly_class, images, install

from bridge import brainscore
from bridge.errors import ConfigError, InputError, UnreachableError
from bridge.recordings import Recordings, load
from bridge.recordings.assembly import from_assembly, repetition_index, to_assembly
from bridge.stimuli.brainscore import to_brainscore
from bridge.stimuli.stimulus_set import ArraySource, StimulusSet


def made(*, bins: int = 0, subjects: tuple[str, ...] = ("a", "a", "b"), **presentation: Any) -> Any:
    """Five presentations of two stimuli, out of order, with three neuroids."""
    rng = np.random.default_rng(0)
    shown = {"stimulus_id": ["x", "y", "y", "x", "y"], "repetition": [1, 0, 2, 0, 1], **presentation}
    coords: dict[str, Any] = {key: ("presentation", values) for key, values in shown.items()}
    coords |= {
        "neuroid_id": ("neuroid", [0, 1, 0] if len(set(subjects)) > 1 else [0, 1, 2]),
        "region": ("neuroid", ["V1", "V2", "V1"]),
        "animal": ("neuroid", list(subjects)),
        "depth": ("neuroid", [0.5, 1.0, 2.0]),
    }
    dims = ["presentation", "neuroid"]
    data = rng.standard_normal((5, 3))
    if bins:
        dims.append("time_bin")
        data = rng.standard_normal((5, 3, bins))
        coords["time_bin_start"] = ("time_bin", [50 * k for k in range(bins)])
        coords["time_bin_end"] = ("time_bin", [50 * (k + 1) for k in range(bins)])
    return assembly_class()(data, coords=coords, dims=dims)


def test_repetitions_come_first_and_unequal_ones_are_padded() -> None:
    assembly = made()
    found = from_assembly(assembly.transpose("neuroid", "presentation"), "mine")
    assert found.stimulus_ids == ("x", "y")
    assert found.data.shape == (3, 2, 3)
    values = assembly.values
    np.testing.assert_array_equal(found.data[0], values[[3, 1]])
    np.testing.assert_array_equal(found.data[1], values[[0, 4]])
    np.testing.assert_array_equal(found.data[2, 1], values[2])
    assert np.isnan(found.data[2, 0]).all()
    assert list(found.neuroids["neuroid_id"]) == ["a-0", "a-1", "b-0"]
    assert list(found.neuroids["depth"]) == [0.5, 1.0, 2.0]
    assert not found.simultaneous


def test_presentations_are_one_moment_only_where_a_trial_id_says_so() -> None:
    ids = {"trial_id": ["t5", "t1", "t2", "t3", "t4"]}
    assert not from_assembly(made(**ids), "two animals").simultaneous
    found = from_assembly(made(subjects=("a",) * 3, **ids), "one animal")
    assert found.simultaneous
    assert found.trial_ids is not None
    np.testing.assert_array_equal(found.trial_ids, [["t3", "t1"], ["t5", "t4"], ["", "t2"]])


def test_windows_average_the_time_bins_inside_them() -> None:
    assembly = made(bins=4)
    found = from_assembly(assembly, "mine", time_window=(50, 200), time_bins=[(0, 50), (50, 150)])
    values = assembly.values
    np.testing.assert_allclose(found.data[0, 0], values[3, :, 1:].mean(axis=1))
    assert found.time_bins == ((0, 50), (50, 150))
    np.testing.assert_array_equal(found.at(0).data[0, 1], values[1, :, 0])
    np.testing.assert_allclose(found.at(1).data[0, 1], values[1, :, 1:3].mean(axis=1))
    assert found.region("V1").at(1).data.shape == (3, 2, 2)
    with pytest.raises(InputError, match="no time bin inside 60-90 ms; theirs span 0-200"):
        from_assembly(assembly, "mine", time_window=(60, 90))
    with pytest.raises(InputError, match="not resolved in time"):
        from_assembly(made(), "mine", time_window=(60, 90))
    with pytest.raises(InputError, match="2 time bins, and bin 2"):
        found.at(2)


def test_what_an_assembly_lacks_is_one_sentence() -> None:
    cls = assembly_class()
    with pytest.raises(InputError, match="expected presentation and neuroid"):
        from_assembly(cls(np.zeros((2, 2)), dims=["a", "b"]), "mine")
    with pytest.raises(InputError, match="no coordinate stimulus_id"):
        from_assembly(
            cls(np.zeros((1, 1)), dims=["presentation", "neuroid"], coords={"rep": ("presentation", [0])}), "m"
        )
    shown = {"stimulus_id": ("presentation", ["x"]), "repetition": ("presentation", [0])}
    with pytest.raises(InputError, match="no coordinate region"):
        from_assembly(
            cls(
                np.zeros((1, 1)),
                dims=["presentation", "neuroid"],
                coords={**shown, "neuroid_id": ("neuroid", [1]), "animal": ("neuroid", ["m"])},
            ),
            "m",
        )
    two = {"neuroid_id": ("neuroid", [1, 1]), "region": ("neuroid", ["V1", "V1"])}
    with pytest.raises(InputError, match="'unknown-1' twice"):
        from_assembly(cls(np.zeros((1, 2)), dims=["presentation", "neuroid"], coords={**shown, **two}), "m")


@pytest.mark.parametrize("bins", [0, 3])
def test_there_and_back(bins: int) -> None:
    rng = np.random.default_rng(1)
    data = rng.poisson(3, (4, 3, 2)).astype(np.float32)
    data[2:, 1] = np.nan
    data[0, 0, 1] = np.nan  # one neuroid of a trial
    binned = np.stack([data + k for k in range(bins)]) if bins else None
    neuroids = pd.DataFrame({"neuroid_id": ["u1", "u2"], "region": ["V4", "IT"], "subject": "m", "layer": ["5", ""]})
    trials = np.array([[f"{r}-{s}" for s in range(3)] for r in range(4)])
    trials[2:, 1] = ""
    original = Recordings(
        "mine",
        data if binned is None else binned.mean(axis=0),
        ("q", "r", "s"),
        neuroids,
        simultaneous=True,
        trial_ids=trials,
        time_bins=tuple((float(k), k + 1.0) for k in range(bins)),
        binned=binned,
    )
    back = from_assembly(to_assembly(original), "mine", time_bins=original.time_bins)
    np.testing.assert_allclose(back.data, original.data, rtol=1e-6)
    assert back.data.dtype == np.float32
    assert back.stimulus_ids == original.stimulus_ids
    assert back.simultaneous
    np.testing.assert_array_equal(back.trial_ids, trials)
    for column in neuroids:
        assert list(back.neuroids[column]) == list(neuroids[column])
    if binned is not None:
        np.testing.assert_array_equal(back.binned, binned)


def test_the_index_of_a_repetition_counts_within_each_stimulus() -> None:
    rng = np.random.default_rng(2)
    stimulus = rng.integers(0, 7, 100)
    expected = pd.Series(stimulus).groupby(stimulus).cumcount()
    np.testing.assert_array_equal(repetition_index(stimulus), expected)
    turned = repetition_index(stimulus, -np.arange(100))
    np.testing.assert_array_equal(turned, pd.Series(stimulus[::-1]).groupby(stimulus[::-1]).cumcount()[::-1])


# ------------------------------------------------------------------------------------- through Brain-Score's loader


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StimulusSet:
    """hvm-public and MajajHong2015.public replaced by files of our own, which Brain-Score's own loaders read."""
    stimuli = images(["x", "y"], 8.0, 0, size=8)
    install(tmp_path, monkeypatch, "hvm-public", "MajajHong2015.public", stimuli, made(bins=1))
    return stimuli


def test_recordings_and_stimuli_through_brainscores_own_loaders(packaged: StimulusSet) -> None:
    from bridge.stimuli import load as load_stimuli

    stimuli = load_stimuli({"kind": "brainscore", "name": "hvm", "identifier": "hvm-public"})
    assert stimuli.ids == packaged.ids
    assert stimuli.degrees == 8
    np.testing.assert_array_equal(stimuli.image(1), packaged.image(1))
    spec = {"kind": "brainscore", "name": "hong", "identifier": "MajajHong2015.public", "regions": ["V1"]}
    (found,) = load(spec, stimuli)
    assert isinstance(found, Recordings)
    assert found.regions == ("V1",)
    assert found.stimulus_ids == ("x", "y")
    np.testing.assert_allclose(found.data[0, 0], made(bins=1).values[3, [0, 2], 0])
    assert "Majaj" in found.citation
    assert not found.simultaneous
    with pytest.raises(ConfigError, match="no region 'FFA'"):
        load({**spec, "regions": ["FFA"]}, stimuli)
    (both,) = load({**spec, "regions": ["V1", "IT"]}, stimuli)
    assert "IT: not in these recordings" in both.dropped
    brainscore.check_reachable(["MajajHong2015.public", "hvm-public"])  # they lie in the cache


def test_brainscores_own_client_fetches_from_a_server(
    packaged: StimulusSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is in its cache: its client asks a loopback server, without credentials, and checks the sha1."""
    from brainscore_core.supported_data_standards.brainio import fetch

    from bridge.stimuli import load as load_stimuli

    with Storage(tmp_path / "brainio") as storage:
        monkeypatch.setenv("BRAINIO_HOME", str(tmp_path / "empty"))
        monkeypatch.setattr(fetch, "_local_data_path", None)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", storage.address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        stimuli = load_stimuli({"kind": "brainscore", "name": "hvm", "identifier": "hvm-public"})
        assert stimuli.ids == packaged.ids
        (found,) = load({"kind": "brainscore", "name": "hong", "identifier": "MajajHong2015.public"}, stimuli)
        assert isinstance(found, Recordings)
        np.testing.assert_allclose(found.data[0, 0], made(bins=1).values[3, :, 0])
        assert {name.rpartition(".")[2] for name in storage.asked} == {"csv", "zip", "nc"}
        name = next(name for name in storage.files if name.endswith(".nc"))
        storage.files[name] = storage.files[name][:-1] + b"?"
        monkeypatch.setenv("BRAINIO_HOME", str(tmp_path / "again"))
        monkeypatch.setattr(fetch, "_local_data_path", None)
        with pytest.raises(InputError, match="SHA1 mismatch"):
            load({"kind": "brainscore", "name": "hong", "identifier": "MajajHong2015.public"}, stimuli)


def test_several_stimulus_sets_are_shown_one_after_the_other(
    packaged: StimulusSet, tmp_path: Path, monkeypatch
) -> None:
    import brainscore_vision

    other = StimulusSet(
        "other",
        pd.DataFrame(index=pd.Index(["z"], name="stimulus_id")),
        ArraySource(np.zeros((1, 4, 4, 3), np.uint8)),
        degrees=4.0,
    )
    from brainscore_core.plugin_management.import_plugin import import_plugin

    import_plugin("brainscore_vision", "data", "FreemanZiemba2013.public")
    name = "FreemanZiemba2013.aperture-public"
    monkeypatch.setitem(
        brainscore_vision.stimulus_set_registry, name, lambda: to_brainscore(other, tmp_path / "other images")
    )
    from bridge.stimuli import load as load_stimuli

    both = load_stimuli({"kind": "brainscore", "name": "both", "identifier": [name, "hvm-public"]})
    assert both.ids == ("z", "x", "y")
    assert both.degrees is None
    assert list(both.table["degrees"]) == [4, 8, 8]
    assert list(both.table["stimulus_set"]) == [name, "hvm-public", "hvm-public"]
    np.testing.assert_array_equal(both.image(0), other.image(0))
    np.testing.assert_array_equal(both.image(2), packaged.image(1))
    again = load_stimuli({"kind": "brainscore", "name": "b", "identifier": ["hvm-public", name]})
    assert both.content_hash != again.content_hash


def test_brainscore_without_a_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from brainscore_core.supported_data_standards.brainio import fetch

    monkeypatch.setenv("BRAINIO_HOME", str(tmp_path))
    monkeypatch.setattr(fetch, "_local_data_path", None)
    monkeypatch.setattr(brainscore, "STORAGE", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(UnreachableError, match=r"'MajajHong2015\.public' would have to be fetched.*BRAINIO_HOME"):
        brainscore.check_reachable(["MajajHong2015.public"])

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(fetch.BotoFetcher, "download_boto_config", refuse)
    empty = StimulusSet("none", pd.DataFrame(index=pd.Index([], name="stimulus_id")), None)
    with pytest.raises(UnreachableError, match="cannot be fetched") as error:
        load({"kind": "brainscore", "name": "m", "identifier": "MajajHong2015.public"}, empty)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"did you mean 'MajajHong2015\.public'"):
        load({"kind": "brainscore", "name": "m", "identifier": "MajajHong2015.publi"}, empty)
    with pytest.raises(ConfigError, match="ends before it starts"):
        load({"kind": "brainscore", "name": "m", "identifier": "x", "time_window": [100, 50]}, empty)
