"""Recordings of public data sets, brought to the stimuli of a comparison by id."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from bridge.data import dataset
from bridge.errors import ConfigError, InputError
from bridge.recordings import Recordings, RegionRDMs, load
from bridge.recordings.dataset import DatasetRecordings
from bridge.recordings.selection import shown_among
from bridge.stimuli.stimulus_set import StimulusSet


def named(*ids: str) -> StimulusSet:
    return StimulusSet("given", pd.DataFrame(index=pd.Index(ids, name="stimulus_id")), None)


def small(*ids: str) -> Recordings:
    neuroids = pd.DataFrame({"neuroid_id": ["a", "b"], "region": ["V1", "IT"], "subject": "m"})
    return Recordings("small", np.arange(2.0 * len(ids)).reshape(1, len(ids), 2), ids, neuroids)


def test_responses_are_kept_for_the_stimuli_that_are_shown() -> None:
    kept = shown_among(small("x", "y", "z"), named("z", "q", "x"))
    assert kept.stimulus_ids == ("x", "z")
    np.testing.assert_array_equal(kept.data, [[[0, 1], [4, 5]]])
    assert "1 of 3 recorded stimuli" in kept.dropped[0]
    whole = small("x", "y")
    assert shown_among(whole, named("y", "x")) is whole
    with pytest.raises(InputError, match="None of the 2 stimuli"):
        shown_among(whole, named("other"))


def test_unknown_names_are_refused_when_the_config_is_read() -> None:
    with pytest.raises(ValidationError, match="did you mean 'algonauts2019_92'"):
        DatasetRecordings(name="algonauts_92")
    with pytest.raises(ValidationError, match="has no recordings"):
        DatasetRecordings(name="resnet_cifar10")


def test_the_fingerprint_names_the_bytes_and_reads_none() -> None:
    fingerprint = DatasetRecordings(name="algonauts2019_92", regions=("IT",)).fingerprint()
    assert fingerprint["data"]["sha256"] == {"rdms": dataset("algonauts2019_92").entry("rdms").sha256}
    assert fingerprint != DatasetRecordings(name="algonauts2019_92", regions=("EVC",)).fingerprint()


def test_reading_a_config_imports_nothing_heavy() -> None:
    code = (
        "import sys, bridge.recordings, bridge.data; bridge.data.all_datasets(); "
        "heavy = {'torch', 'pandas', 'scipy', 'h5py', 'requests', 'pooch', 'PIL', 'sklearn'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.data
def test_regions_are_chosen_and_rdms_brought_to_the_order_of_the_stimuli(data_folder: Path) -> None:
    stimuli = dataset("algonauts2019_92").stimuli()
    (it,) = load({"kind": "dataset", "name": "algonauts2019_92", "regions": ["IT"]}, stimuli)
    assert isinstance(it, RegionRDMs)
    (turned,) = load(
        {"kind": "dataset", "name": "algonauts2019_92", "regions": ["IT"]}, stimuli.select(np.arange(92)[::-1])
    )
    assert isinstance(turned, RegionRDMs)
    np.testing.assert_array_equal(turned.rdms[:, 0], it.rdms[:, -1])
    np.testing.assert_array_equal(turned.aligned_to(stimuli.ids).rdms, it.rdms)
    with pytest.raises(ConfigError, match="no region 'EVQ'; did you mean 'EVC'"):
        load({"kind": "dataset", "name": "algonauts2019_92", "regions": ["EVQ"]}, stimuli)
    with pytest.raises(InputError, match="not in the RDMs"):
        load({"kind": "dataset", "name": "algonauts2019_92"}, named("x", "y"))


@pytest.mark.data
def test_options_reach_the_data_set(data_folder: Path) -> None:
    stimuli = dataset("cowley2023_v4").stimuli(sessions=["210325"])
    (one,) = load(
        {"kind": "dataset", "name": "cowley2023_v4", "regions": ["V4"], "options": {"sessions": ["210325"]}}, stimuli
    )
    assert isinstance(one, Recordings)
    assert one.stimulus_ids == stimuli.ids
    assert one.data.shape == (10, 640, 50)
