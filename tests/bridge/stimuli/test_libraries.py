"""Hugging Face `datasets` and Brain-Score."""

import pickle

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from bridge.errors import ConfigError, InputError, UnreachableError
from bridge.stimuli import AnyStimuli, load
from bridge.stimuli.brainscore import from_brainscore, identifiers, to_brainscore
from bridge.stimuli.stimulus_set import ArraySource, StimulusSet

datasets = pytest.importorskip("datasets")


def spec(**fields):
    return TypeAdapter(AnyStimuli).validate_python({"name": "s", "kind": "hf-dataset", **fields})


@pytest.fixture(scope="module")
def rows():
    images = [Image.fromarray(np.full((6, 6, 3), value, np.uint8)) for value in (10, 20, 30)]
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "key": datasets.Value("string"),
            "caption": datasets.Value("string"),
            "box": datasets.Sequence(datasets.Value("int32")),
        }
    )
    columns = {
        "photo": images,
        "label": [0, 1, 0],
        "key": ["a", "b", "c"],
        "caption": ["x", "y", "z"],
        "box": [[1]] * 3,
    }
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.fixture
def parquet(rows, tmp_path):
    path = tmp_path / "rows.parquet"
    rows.to_parquet(str(path))
    return path


@pytest.mark.parametrize("streaming", [False, True])
def test_a_parquet_file(parquet, streaming):
    made = spec(path=str(parquet), image="photo", id="key", streaming=streaming, limit=2)
    stimuli = made.load()
    assert stimuli.ids == ("a", "b")
    assert list(stimuli.table.label) == ["cat", "dog"]
    assert "box" not in stimuli.table
    again = pickle.loads(pickle.dumps(stimuli.source))
    assert [int(again.image(row)[0, 0, 0]) for row in range(2)] == [10, 20]
    assert made.load().content_hash == stimuli.content_hash


def test_a_saved_folder_and_a_text_column(rows, tmp_path):
    datasets.DatasetDict({"test": rows}).save_to_disk(str(tmp_path / "saved"))
    stimuli = spec(path=str(tmp_path / "saved"), split="test", text="caption").load()
    assert stimuli.ids == ("test-000000", "test-000001", "test-000002")
    assert list(stimuli.table.text) == ["x", "y", "z"]
    assert stimuli.source is None
    both = spec(path=str(tmp_path / "saved"), split="test", text="caption", image="photo").load()
    assert both.image(2)[0, 0, 0] == 30
    with pytest.raises(ConfigError, match="no split 'train'"):
        spec(path=str(tmp_path / "saved"), text="caption").load()


def test_a_folder_of_images(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "d" / label).mkdir(parents=True)
        Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / "d" / label / "1.png")
    stimuli = spec(path=str(tmp_path / "d"), image="image").load()
    assert list(stimuli.table.label) == ["cat", "dog"]
    assert stimuli.image(1)[0, 0, 0] == 9


def test_broken_images_are_dropped_or_stop(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "n": datasets.Value("int32")})
    good = {"bytes": None, "path": str(tmp_path / "1.png")}
    Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
    broken = datasets.Dataset.from_dict(
        {"image": [good, {"bytes": b"no", "path": None}, None], "n": [1, 2, 3]}, features
    )
    broken.to_parquet(str(tmp_path / "b.parquet"))
    with pytest.raises(InputError, match="2 of 3 images"):
        spec(path=str(tmp_path / "b.parquet"), image="image").load()
    for streaming in (False, True):
        stimuli = spec(
            path=str(tmp_path / "b.parquet"), image="image", unreadable="skip", streaming=streaming, limit=3
        ).load()
        assert list(stimuli.table.n) == [1]
        assert len(stimuli.dropped) == 2
        assert stimuli.image(0).shape == (4, 4, 3)


def test_mistakes_are_one_sentence(parquet, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'photo'"):
        spec(path=str(parquet), image="photos").load()
    with pytest.raises(InputError, match="no file or folder"):
        spec(path=str(tmp_path / "gone.parquet"), image="photo").fingerprint()
    with pytest.raises(ConfigError, match="40 hexadecimal"):
        spec(path="mnist", image="image").fingerprint()
    with pytest.raises(ConfigError, match="revision 'main'"):
        spec(path="ylecun/mnist", image="image", revision="main").load()
    with pytest.raises(ValidationError, match="limit"):
        spec(path=str(parquet), image="photo", streaming=True)
    with pytest.raises(ValidationError, match="`image` or `text`"):
        spec(path=str(parquet))
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read"):
        spec(path=str(tmp_path / "x.parquet"), image="photo").load()


def test_without_a_network_the_hub_is_one_sentence(monkeypatch):
    made = spec(path="ylecun/mnist", image="image", revision="0" * 40)
    assert made.fingerprint()["revision"] == "0" * 40

    def refuse(*args, **kwargs):
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(UnreachableError, match="connect to the network"):
        made.load()


def test_brainscore_there_and_back(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 7, 5, 3), dtype=np.uint8)
    table = load({"kind": "texts", "name": "t", "texts": {"a/1": "x", "b": "y", "c": "z"}}).table
    original = StimulusSet("mine", table.assign(object_name=["cat", "dog", "cat"]), ArraySource(images), degrees=8.0)
    converted = to_brainscore(original, tmp_path / "files")
    assert converted.identifier == "mine"
    assert converted.get_stimulus("a/1").is_file()
    assert type(converted).__module__.startswith("brainscore")
    back = from_brainscore(converted)
    assert back.ids == original.ids
    assert back.degrees == 8.0
    assert list(back.table.object_name) == ["cat", "dog", "cat"]
    for row in range(3):
        np.testing.assert_array_equal(back.image(row), images[row])


def test_brainscore_reads_what_was_written_by_its_own_loader(tmp_path):
    original = load({"kind": "battery", "name": "e", "families": ["edges"], "limit": {"edges": 3}, "size": 32})
    converted = to_brainscore(original, tmp_path)
    converted.to_csv(tmp_path / "table.csv", index=False)
    read = type(converted).from_files(tmp_path / "table.csv", tmp_path)
    assert from_brainscore(read, "e").ids == original.ids


def test_brainscore_names():
    assert {"hvm-public", "FreemanZiemba2013.aperture-public"} <= set(identifiers())
    made = TypeAdapter(AnyStimuli).validate_python({"kind": "brainscore", "name": "m", "identifier": "hvm-publi"})
    with pytest.raises(ConfigError, match="did you mean 'hvm-public'"):
        made.load()
