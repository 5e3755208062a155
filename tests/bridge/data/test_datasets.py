"""What is declared of every public data set, and the real files read against published numbers."""

from __future__ import annotations

import pickle
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from bridge.data import all_datasets, dataset
from bridge.errors import ConfigError, InputError, UnreachableError
from bridge.recordings import load
from bridge.recordings.recordings import Recordings, RegionRDMs


def test_every_file_of_the_folder_that_declares_a_data_set_is_registered() -> None:
    assert set(all_datasets()) == {
        "algonauts2019_92",
        "cowley2023_v4",
        "henaff2021_v1",
        "kriegeskorte2008_92",
        "resnet_cifar10",
        "tvsd",
        "zhang_desimone_it",
    }


@pytest.mark.parametrize("name", all_datasets())
def test_declarations_are_complete(name: str) -> None:
    data = dataset(name)
    assert data.title
    assert data.licence
    assert data.citation
    assert data.description
    keys = [entry.key for entry in data.files]
    assert len(set(keys)) == len(keys)
    for entry in data.files:
        assert entry.path.startswith(f"{name}/")
        if entry.sha256 is None:  # its source declares none, and none is invented
            assert "declares no hashes" in data.description
            assert entry.address is not None
            continue
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        # An address is pinned to a commit; without one the data set says why it cannot be fetched.
        if entry.address is None:
            assert data.local_only
        else:
            assert re.match(r"https://raw\.githubusercontent\.com/[\w.-]+/[\w.-]+/[0-9a-f]{40}/", entry.address)
    assert set(data.fingerprint()["sha256"]) == set(keys)


def test_unknown_names_keys_and_options_get_the_nearest_valid_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'kriegeskorte2008_92'"):
        dataset("kriegeskorte_92")
    with pytest.raises(ConfigError, match="did you mean 'resnet20'"):
        dataset("resnet_cifar10").entry("resnet-20")
    with pytest.raises(ConfigError, match="did you mean 'sessions'"):
        dataset("cowley2023_v4").recordings(session="210325")
    with pytest.raises(ConfigError, match="no session '1'"):
        dataset("cowley2023_v4").recordings(sessions=["1"])
    with pytest.raises(InputError, match="has no recordings"):
        dataset("resnet_cifar10").recordings()
    with pytest.raises(ConfigError, match="kind of its own; give `kind: tvsd`"):
        load({"kind": "dataset", "name": "tvsd"}, dataset("zhang_desimone_it").stimuli())


def test_a_data_set_that_is_not_public_in_its_form_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VENTRAL_DATA", raising=False)
    with pytest.raises(UnreachableError, match="published nowhere"):
        dataset("henaff2021_v1").file("ay2_u003")


def rdms(name: str, region: str) -> RegionRDMs:
    found = dataset(name).recordings()
    return next(r for r in found if isinstance(r, RegionRDMs) and r.region == region)


@pytest.mark.data
def test_every_declared_sha256_is_that_of_the_file(data_folder: Path) -> None:
    for data in all_datasets().values():
        if any(entry.sha256 is None for entry in data.files):
            continue
        assert data.available()
        assert data.fetch() == [data_folder / entry.path for entry in data.files]


@pytest.mark.data
def test_the_92_images_and_their_categories(data_folder: Path) -> None:
    stimuli = dataset("kriegeskorte2008_92").stimuli()
    assert stimuli.ids[0] == "kriegeskorte92-001"
    assert len(stimuli) == 92
    assert stimuli.table["category"].value_counts().to_dict() == {
        "natural inanimate": 23,
        "artificial inanimate": 21,
        "human bodypart": 12,
        "human face": 12,
        "nonhuman bodypart": 12,
        "nonhuman face": 12,
    }
    assert stimuli.table["text"].iloc[0] == "human body part"
    assert stimuli.image(0).shape == (175, 175, 3)
    assert stimuli.image(0).dtype == np.uint8
    # A source goes to workers as paths, and reads the same there.
    packed = pickle.dumps(stimuli.source)
    assert len(packed) < 1000
    np.testing.assert_array_equal(pickle.loads(packed).image(91), stimuli.image(91))
    assert dataset("algonauts2019_92").stimuli().content_hash == stimuli.content_hash


@pytest.mark.data
@pytest.mark.parametrize(("region", "lower", "upper"), [("EVC", 0.24, 0.39), ("IT", 0.45, 0.54)])
def test_ceilings_of_fifteen_subjects(data_folder: Path, region: str, lower: float, upper: float) -> None:
    ranks = rankdata(rdms("algonauts2019_92", region).rdms, axis=1)
    assert ranks.shape == (15, 92 * 91 // 2)
    total = ranks.sum(0)
    assert np.mean([spearmanr(one, total - one)[0] for one in ranks]) == pytest.approx(lower, abs=0.005)
    assert np.mean([spearmanr(one, total)[0] for one in ranks]) == pytest.approx(upper, abs=0.005)


@pytest.mark.data
@pytest.mark.parametrize(
    ("reference", "evc", "it"),
    [("Silhouette", 0.214, 0.135), ("animacy", 0.020, 0.255), ("kriegeskorte2008-monkey", 0.080, 0.272)],
)
def test_references_against_human_regions(data_folder: Path, reference: str, evc: float, it: float) -> None:
    data = dataset("kriegeskorte2008_92")
    model = next(r for r in [*data.references(), *data.recordings()] if r.name == reference)
    assert isinstance(model, RegionRDMs)
    for region, expected in (("EVC", evc), ("IT", it)):
        human = rdms("algonauts2019_92", region).aligned_to(model.stimulus_ids)
        mean = np.mean([spearmanr(model.rdms[0], one)[0] for one in human.rdms])
        assert mean == pytest.approx(expected, abs=0.0006)


@pytest.mark.data
def test_human_and_monkey_it_of_2008(data_folder: Path) -> None:
    human, monkey = dataset("kriegeskorte2008_92").recordings()
    assert isinstance(human, RegionRDMs)
    assert isinstance(monkey, RegionRDMs)
    assert human.subjects == ("BE", "KO", "SN", "TI")
    assert "sessions" in human.dropped[0]
    assert len(monkey.subjects) == 1
    # The mean over subjects and sessions is the RDM of the paper's figure 1, so nothing is out of order.
    import scipy.io

    figure = scipy.io.loadmat(dataset("kriegeskorte2008_92").file("stimuli"))["RDMs_mIT_hIT_fig1"][0, 1]["RDM"]
    np.testing.assert_allclose(np.corrcoef(human.rdms.mean(0), figure.ravel())[0, 1], 1, atol=1e-6)
    names = {reference.name for reference in dataset("kriegeskorte2008_92").references()}
    assert names >= {"animacy", "Silhouette", "HMAX", "V1", "EVA", "RADON", "monkeyIT", "FaceBodyManmadeNatobj"}


@pytest.mark.data
def test_v4_trials_agree_with_their_average_and_their_images(data_folder: Path) -> None:
    data = dataset("cowley2023_v4")
    (trials,) = data.recordings(sessions=["210325"])
    assert isinstance(trials, Recordings)
    assert trials.data.shape == (10, 640, 50)
    assert np.isnan(trials.data).any()
    averaged = np.load(data.file("averaged_210325"))
    np.testing.assert_allclose(np.nanmean(trials.data, axis=0), averaged.T, atol=1e-12)
    stimuli = data.stimuli(sessions=["210325", "190925"])
    assert stimuli.ids[:640] == trials.stimulus_ids
    assert stimuli.image(640).shape == (112, 112, 3)
    # The archive of 190925 is out of order; its images are taken by sorted name.
    names = [name for _, name in stimuli.source.members[640:]]  # type: ignore[union-attr]
    assert all(a < b for a, b in pairwise(names))
    assert names[0] == "image0001.jpg"


@pytest.mark.data
def test_v4_reliability_is_the_known_one(data_folder: Path) -> None:
    """Spearman-Brown median .76 over neurons, repetitions split at random halves."""
    (trials,) = dataset("cowley2023_v4").recordings(sessions=["210325"])
    assert isinstance(trials, Recordings)
    rng = np.random.default_rng(0)
    values = []
    for _ in range(5):
        keyed = rng.random(trials.data.shape[:2])
        keyed[np.isnan(trials.data[:, :, 0])] = 2  # repetitions that were not shown come last
        place = np.argsort(np.argsort(keyed, axis=0), axis=0)
        shown = (~np.isnan(trials.data[:, :, 0])).sum(0)
        first = (place < shown // 2)[:, :, None]
        second = ((place >= shown // 2) & (place < shown))[:, :, None]
        a = np.nanmean(np.where(first, trials.data, np.nan), axis=0)
        b = np.nanmean(np.where(second, trials.data, np.nan), axis=0)
        r = np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])
        values.append(np.median(2 * r / (1 + r)))
    assert np.mean(values) == pytest.approx(0.76, abs=0.02)


@pytest.mark.data
def test_v4_sessions_align_with_their_images(data_folder: Path) -> None:
    data = dataset("cowley2023_v4")
    known = set(data.stimuli().ids)
    recordings = data.recordings()
    assert len(recordings) == 9
    for one in recordings:
        assert known.issuperset(one.stimulus_ids)
    assert len(known) == sum(len(one.stimulus_ids) for one in recordings)


@pytest.mark.data
def test_v1_populations_have_about_fifty_repetitions_and_no_images(data_folder: Path) -> None:
    data = dataset("henaff2021_v1")
    stimuli = data.stimuli()
    assert len(stimuli) == 660
    with pytest.raises(InputError, match="no images: what was shown is not public"):
        stimuli.image(0)
    found = data.recordings()
    assert [one.data.shape[2] for one in found if isinstance(one, Recordings)] == [39, 53, 66, 49]
    for one in found:
        assert isinstance(one, Recordings)
        assert not one.images
        assert one.simultaneous
        assert one.regions == ("V1",)
        assert set(stimuli.ids) > set(one.stimulus_ids)
        assert "176 of 660 conditions" in one.dropped[0]
        shown = np.isfinite(one.data).sum(axis=0)
        assert 24 <= shown.min() <= shown.max() <= 50
    # An id stands for its place in the file: movie 3, category 2, scale 1, frame 5.
    counts = np.load(data.file("ay2_u003"))["counts"]
    first = found[0]
    assert isinstance(first, Recordings)
    at = first.stimulus_ids.index("henaff2021-movie03-category2-scale1-frame05")
    np.testing.assert_array_equal(first.data[:, at], counts[:, :, 4, 2, 1, 0])


@pytest.mark.data
def test_v1_trials_are_simultaneous_by_their_residuals(data_folder: Path) -> None:
    (first, *_) = dataset("henaff2021_v1").recordings()
    assert isinstance(first, Recordings)
    residual = first.data - np.nanmean(first.data, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):  # some units never fire in a condition
        residual /= np.nanstd(first.data, axis=0)
    residual = np.where(np.isfinite(residual), residual, 0)
    summed = [
        (residual[:, :, :20].sum(2) * np.roll(residual[:, :, 20:].sum(2), shift, axis=0)).mean() for shift in (0, 7)
    ]
    scale = np.mean([(half.sum(2) ** 2).mean() for half in (residual[:, :, :20], residual[:, :, 20:])])
    assert summed[0] / scale > 0.5
    assert abs(summed[1] / scale) < 0.05


@pytest.mark.data
def test_it_single_trials_are_counts_of_neurons_recorded_one_by_one(data_folder: Path) -> None:
    data = dataset("zhang_desimone_it")
    (one,) = data.recordings()
    assert isinstance(one, Recordings)
    assert one.data.shape == (20, 21, 132)
    assert one.stimulus_ids == data.stimuli().ids
    assert np.isnan(one.data).sum() == 7
    np.testing.assert_array_equal(one.data[np.isfinite(one.data)] % 1, 0)
    assert not one.simultaneous
    assert not one.images
    rates = np.load(data.file("trials"))["rates"]
    np.testing.assert_allclose(one.data[:, one.stimulus_ids.index("zhang-face-middle"), 5] / 400, rates[5, 2, 1])
