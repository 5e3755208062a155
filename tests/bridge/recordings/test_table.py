"""A user's own recordings in a table, and what is wrong with one in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bridge.errors import ConfigError, InputError
from bridge.recordings import Recordings, load
from bridge.recordings.table import TableRecordings
from bridge.stimuli.stimulus_set import StimulusSet

COLUMNS = {"stimulus_id": "image", "neuroid_id": "unit", "region": "area", "subject": "monkey", "value": "spikes"}
STIMULI = StimulusSet("shown", pd.DataFrame(index=pd.Index(["001", "002"], name="stimulus_id")), None)
Write = Callable[..., dict[str, Any]]


def trials() -> pd.DataFrame:
    """Two images, 2 and 3 presentations, three units in two areas of one monkey: a row a value."""
    rng = np.random.default_rng(0)
    rows = []
    for trial, (image, presentation) in enumerate([("001", 1), ("002", 1), ("002", 2), ("001", 2), ("002", 3)]):
        for unit, area, layer in (("u1", "V1", "5"), ("u2", "V1", ""), ("u9", "IT", "2/3")):
            rows.append([image, presentation, f"t{trial}", unit, area, layer, "m", "s1", rng.poisson(4)])
    names = ["image", "presentation", "trial", "unit", "area", "layer", "monkey", "day", "spikes"]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A table and its description in files; the spec that reads them."""

    def written(table: pd.DataFrame, suffix: str = ".csv", **described: Any) -> dict[str, Any]:
        path = tmp_path / f"responses{suffix}"
        if suffix == ".parquet":
            table.to_parquet(path)
        else:
            table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
        (tmp_path / "responses.yaml").write_text(yaml.safe_dump({**COLUMNS, **described}))
        return {"kind": "table", "name": "lab", "path": str(path)}

    return written


def one(spec: dict[str, Any], stimuli: StimulusSet = STIMULI) -> Recordings:
    (found,) = load(spec, stimuli)
    assert isinstance(found, Recordings)
    return found


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_long_table(write: Write, suffix: str) -> None:
    table = trials()
    found = one(write(table, suffix, repetition="presentation", layer="layer", session="day", citation="us"))
    assert found.data.shape == (3, 2, 3)
    assert found.stimulus_ids == ("001", "002")
    for row in table.itertuples():
        at = found.stimulus_ids.index(row.image), list(found.neuroids["neuroid_id"]).index(row.unit)
        assert found.data[row.presentation - 1, at[0], at[1]] == row.spikes
    assert np.isnan(found.data[2, 0]).all()
    assert list(found.neuroids["region"]) == ["V1", "V1", "IT"]
    assert list(found.neuroids["layer"]) == ["5", "", "2/3"]
    assert list(found.neuroids["session"]) == ["s1"] * 3
    assert found.citation == "us"
    assert not found.simultaneous
    assert found.dropped == ("V2: not in these recordings", "V4: not in these recordings")


def test_the_order_of_rows_does_not_matter_where_repetitions_are_numbered(write: Write) -> None:
    straight = one(write(trials(), repetition="presentation"))
    turned = one(write(trials()[::-1], repetition="presentation"))
    order = [turned.stimulus_ids.index(name) for name in straight.stimulus_ids]
    units = [list(turned.neuroids["neuroid_id"]).index(unit) for unit in straight.neuroids["neuroid_id"]]
    np.testing.assert_array_equal(turned.select(stimuli=np.array(order), neuroids=np.array(units)).data, straight.data)
    unnumbered = one(write(trials()))
    np.testing.assert_array_equal(unnumbered.data, straight.data)


def test_trials_are_simultaneous_only_if_each_holds_every_neuroid(write: Write) -> None:
    found = one(write(trials(), trial_id="trial", repetition="presentation"))
    assert found.simultaneous
    np.testing.assert_array_equal(found.trial_ids, [["t0", "t1"], ["t3", "t2"], ["", "t4"]])
    own = trials().assign(trial=lambda t: t["unit"] + t["trial"])  # every unit has trials of its own
    apart = one(write(own, trial_id="trial"))
    assert not apart.simultaneous
    assert "not taken as simultaneous: 15 of 15 trials" in apart.dropped[-1]
    two = pd.concat([trials(), trials().assign(monkey="n")])
    both = load(write(two, trial_id="trial"), STIMULI)
    assert [part.name for part in both] == ["lab m", "lab n"]
    assert all(part.simultaneous for part in both if isinstance(part, Recordings))
    together = one(write(two))
    assert not together.simultaneous
    assert list(together.neuroids["neuroid_id"])[-1] == "n-u9"


def test_time_bins(write: Write) -> None:
    early, late = trials().assign(on=70, off=100), trials().assign(on=150, off=200, spikes=1.0)
    found = one(write(pd.concat([late, early]), time_bin=["on", "off"], repetition="presentation"))
    assert found.time_bins == ((70, 100), (150, 200))
    np.testing.assert_array_equal(found.at(0).data, one(write(trials(), repetition="presentation")).data)
    assert np.nanmax(np.abs(found.at(1).data - 1)) == 0
    np.testing.assert_array_equal(found.data, found.binned.mean(axis=0))


def test_a_wide_table(write: Write, tmp_path: Path) -> None:
    flat = trials()
    table = flat.pivot(index=["image", "presentation", "trial"], columns="unit", values="spikes").reset_index()
    pd.DataFrame({"unit": ["u1", "u9", "u2"], "area": ["V1", "IT", "V1"], "depth": 3}).to_csv(tmp_path / "units.csv")
    described = {"form": "wide", "neuroids": "units.csv", "constants": {"subject": "m"}}
    found = one(write(table, **described, trial_id="trial", repetition="presentation"))
    assert found.simultaneous
    long = one(write(flat, trial_id="trial", repetition="presentation"))
    np.testing.assert_array_equal(found.data, long.data[:, :, [0, 2, 1]])
    np.testing.assert_array_equal(found.trial_ids, long.trial_ids)
    with pytest.raises(InputError, match="no column for 1 of 3 neuroids"):
        load(write(table.drop(columns="u9"), **described), STIMULI)
    doubled = pd.concat([table, table[:1]])
    with pytest.raises(InputError, match="2 values for stimulus '001', neuroid 'all neuroids', repetition '1'"):
        load(write(doubled, **described, repetition="presentation"), STIMULI)
    with pytest.raises(ConfigError, match="wide table needs `neuroids`"):
        load(write(table, form="wide"), STIMULI)


def test_what_is_wrong_is_one_sentence(write: Write, tmp_path: Path) -> None:
    table = trials()

    def refused(said: str, given: pd.DataFrame, error: type[Exception] = InputError, **described: Any) -> None:
        with pytest.raises(error, match=said) as raised:
            load(write(given, **described), STIMULI)
        assert "\n" not in str(raised.value)

    twice = pd.concat([table, table[4:5]])
    refused(r"2 values for stimulus '002', neuroid 'u2', repetition '1'", twice, repetition="presentation")
    refused(r"2 values for stimulus '002', neuroid 'u2', trial 't1'", twice, trial_id="trial")
    refused("has 'many' as 'spikes' in row 3", table.assign(spikes=["1", "2", "many", *["4"] * 12]))
    refused(r"has inf as 'spikes'", table.assign(spikes=np.inf))
    refused("no column 'spikes'; did you mean 'spike'", table.rename(columns={"spikes": "spike"}))
    refused("no column 'area'", table.drop(columns="area"))
    refused("None of the 2 stimuli", table.assign(image=table["image"] + "x"))
    refused("neuroid 'u1' in region 'V1' and in 'V2'", table.assign(area=["V1", "V1", "IT"] * 4 + ["V2", "V1", "IT"]))
    refused("trial 't' with two stimuli", table.assign(trial="t"), trial_id="trial")
    refused("no rows with a value", table.assign(spikes=np.nan))
    refused("ends before it starts", table.assign(a=5, b=5), time_bin=["a", "b"])
    refused("there is no such key; did you mean 'region'", table, ConfigError, regoin="area")
    refused("constants has 'area'", table, ConfigError, constants={"area": "V1"})
    spec = write(table)
    (tmp_path / "responses.yaml").unlink()
    with pytest.raises(InputError, match=r"description .*responses\.yaml of .*\(no such file\)"):
        load(spec, STIMULI)
    (tmp_path / "responses.yaml").write_text("- a\n- b")
    with pytest.raises(ConfigError, match="holds list"):
        load(spec, STIMULI)


def test_empty_values_and_unknown_ids_are_counted(write: Write) -> None:
    table = trials()
    table.loc[0, "spikes"] = np.nan
    found = one(write(table, repetition="presentation"))
    assert found.dropped[0] == "1 of 15 rows, whose value is empty"
    assert np.isnan(found.data[0, 0, list(found.neuroids["neuroid_id"]).index("u1")])
    assert np.isnan(found.data).sum() == 1 + 3  # and the third presentation, which the first image did not have
    few = StimulusSet("few", pd.DataFrame(index=pd.Index(["002"], name="stimulus_id")), None)
    assert "1 of 2 recorded stimuli" in one(write(trials()), few).dropped[-1]


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(write: Write, tmp_path: Path) -> None:
    spec = TableRecordings.model_validate(write(trials()))
    before = spec.fingerprint()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("responses.csv", "responses.yaml"):
        (moved / name).write_bytes((tmp_path / name).read_bytes())
    assert spec.model_copy(update={"path": moved / "responses.csv"}).fingerprint() == before
    assert TableRecordings.model_validate(write(trials()[:-1])).fingerprint() != before
    assert not TableRecordings.model_validate(write(trials(), images=False)).images()
