"""Folders, zips, texts and named data sets."""

import io
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from bridge.errors import ConfigError, InputError
from bridge.stimuli import AnyStimuli, load, zips


def spec(**fields):
    return TypeAdapter(AnyStimuli).validate_python({"name": "s", **fields})


def png(value, size=5):
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    (root / "faces").mkdir(parents=True)
    for number in (1, 2, 10):
        (root / "faces" / f"f{number}.png").write_bytes(png(number))
    (root / "blank.png").write_bytes(png(128))
    (root / ".hidden.png").write_bytes(b"")
    (root / "notes.txt").write_text("no image")
    return root


def test_a_folder_is_read_in_natural_order(folder):
    stimuli = spec(kind="folder", path=folder, degrees=4).load()
    assert stimuli.ids == ("blank", "faces/f1", "faces/f2", "faces/f10")
    assert [int(stimuli.image(row)[0, 0, 0]) for row in range(4)] == [128, 1, 2, 10]
    assert stimuli.degrees == 4
    again = pickle.loads(pickle.dumps(stimuli.source))
    np.testing.assert_array_equal(again.image(3), stimuli.image(3))


def test_a_folder_is_known_by_its_content_and_not_its_place(folder, tmp_path):
    before, content = spec(kind="folder", path=folder).fingerprint(), load_hash(folder)
    moved = folder.rename(tmp_path / "elsewhere")
    assert spec(kind="folder", path=moved).fingerprint() == before
    assert load_hash(moved) == content
    (moved / "blank.png").write_bytes(png(127, size=6))
    assert spec(kind="folder", path=moved).fingerprint() != before
    assert load_hash(moved) != content


def load_hash(folder):
    return spec(kind="folder", path=folder).load().content_hash


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_gives_order_ids_and_factors(folder, suffix):
    table = pd.DataFrame({"stimulus_id": ["007", "8"], "filename": ["faces/f10.png", "blank.png"], "age": [3, 4]})
    path = folder / f"table{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    made = spec(kind="folder", path=folder, table=f"table{suffix}")
    stimuli = made.load()
    assert stimuli.ids == ("007", "8")
    assert stimuli.image(0)[0, 0, 0] == 10
    assert list(stimuli.table.age) == [3, 4]
    before = made.fingerprint()
    (folder / "faces" / "f1.png").write_bytes(png(77, size=7))  # not in the table
    assert made.fingerprint() == before
    (folder / "faces" / "f10.png").write_bytes(png(77, size=7))
    assert made.fingerprint() != before


def test_faults_of_tables_are_one_sentence(folder):
    (folder / "t.csv").write_text("stimulus_id,file\na,b\n")
    with pytest.raises(InputError, match="no column 'filename'"):
        spec(kind="folder", path=folder, table="t.csv").load()
    (folder / "t.csv").write_text("stimulus_id,filename\na,blank.png\na,blank.png\n")
    with pytest.raises(InputError, match="duplicate ids"):
        spec(kind="folder", path=folder, table="t.csv").load()
    (folder / "t.csv").write_text("stimulus_id,filename\na,blank.png\nb,gone.png\n")
    with pytest.raises(InputError, match=r"1 of 2 images .* b \(no such file\)"):
        spec(kind="folder", path=folder, table="t.csv").load()
    with pytest.raises(InputError, match="no such file"):
        spec(kind="folder", path=folder, table="gone.csv").load()


def test_unreadable_images_stop_or_are_dropped_and_listed(folder):
    whole = (folder / "faces" / "f2.png").read_bytes()
    (folder / "faces" / "f2.png").write_bytes(whole[:40])
    (folder / "empty.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"2 of 5 images of 's' cannot be read: empty .*faces/f2 .*skip"):
        spec(kind="folder", path=folder).load()
    stimuli = spec(kind="folder", path=folder, unreadable="skip").load()
    assert stimuli.ids == ("blank", "faces/f1", "faces/f10")
    assert stimuli.image(2)[0, 0, 0] == 10
    assert [entry.split(" (")[0] for entry in stimuli.dropped] == ["empty", "faces/f2"]
    assert stimuli.select([0]).dropped == stimuli.dropped


def test_an_empty_or_missing_folder_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "gone"):
        for work in ("load", "fingerprint"):
            with pytest.raises(InputError, match="folder"):
                getattr(spec(kind="folder", path=path), work)()


def test_two_images_of_one_stem_are_duplicates(folder):
    Image.new("RGB", (4, 4)).save(folder / "blank.jpg")
    with pytest.raises(InputError, match="duplicate ids \\('blank'"):
        spec(kind="folder", path=folder).load()


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_zips_are_read_by_sorted_names(tmp_path):
    one = write_zip(tmp_path / "a.zip", {"im/0002.png": png(2), "im/0001.png": png(1), "__MACOSX/im/0001.png": b"x"})
    two = write_zip(tmp_path / "b.zip", {"0001.png": png(3), ".DS_Store.png": b"x", "readme.txt": b"x"})
    made = spec(kind="zip", paths=[one, two])
    stimuli = made.load()
    assert stimuli.ids == ("a/0001", "a/0002", "b/0001")
    again = pickle.loads(pickle.dumps(stimuli.source))
    assert [int(again.image(row)[0, 0, 0]) for row in range(3)] == [1, 2, 3]
    before = made.fingerprint()
    write_zip(two, {"0001.png": png(4)})
    assert made.fingerprint() != before


def test_zip_bombs_and_broken_zips_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "LARGEST", 1000)
    bomb = write_zip(tmp_path / "bomb.zip", {"a.png": b"\0" * 100_000})
    with pytest.raises(InputError, match="unpacks to"):
        spec(kind="zip", paths=[bomb]).load()
    data = bytearray(bomb.read_bytes())
    for sign, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):  # a bomb that lies about its size
        start = data.find(sign) + place
        data[start : start + 4] = (10).to_bytes(4, "little")
    lying = tmp_path / "lying.zip"
    lying.write_bytes(data)
    with pytest.raises(InputError, match="1 of 1 images"):
        spec(kind="zip", paths=[lying]).load()
    for name, content in {"broken": b"PK no zip", "none": None}.items():
        path = tmp_path / f"{name}.zip"
        if content:
            path.write_bytes(content)
        with pytest.raises(InputError, match=str(path)):
            spec(kind="zip", paths=[path]).load()
    with pytest.raises(InputError, match="no images"):
        spec(kind="zip", paths=[write_zip(tmp_path / "e.zip", {"x.txt": b""})]).load()


def test_an_unreadable_image_in_a_zip_is_skipped(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"1.png": png(1), "2.png": png(2)[:30]})
    stimuli = spec(kind="zip", paths=[path], unreadable="skip").load()
    assert stimuli.ids == ("a/1",)
    assert len(stimuli.dropped) == 1


def test_texts(tmp_path):
    stimuli = spec(kind="texts", texts={"dog": "a dog", "cat": "a cat"}).load()
    assert stimuli.ids == ("dog", "cat")
    assert list(stimuli.table.text) == ["a dog", "a cat"]
    assert stimuli.source is None
    (tmp_path / "t.txt").write_text("one\n\nthree\n")
    lines = spec(kind="texts", path=tmp_path / "t.txt")
    assert lines.load().ids == ("line-0001", "line-0003")
    (tmp_path / "t.csv").write_text("stimulus_id,text,length\n1,one,3\n")
    table = spec(kind="texts", path=tmp_path / "t.csv").load()
    assert table.ids == ("1",)
    assert lines.fingerprint() != spec(kind="texts", path=tmp_path / "t.csv").fingerprint()
    with pytest.raises(ValidationError, match="either `texts` or `path`"):
        spec(kind="texts")
    with pytest.raises(InputError, match="empty"):
        spec(kind="texts", texts={}).load()


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ConfigError, match="did you mean"):
        spec(kind="dataset", name="cowley2023_v5").fingerprint()


@pytest.mark.data
def test_the_v4_session_by_name_equals_its_zip(data_folder):
    named = load({"kind": "dataset", "name": "cowley2023_v4", "options": {"sessions": ["210325"]}})
    path = data_folder / "cowley2023_v4" / "images" / "images_210325.zip"
    zipped = load({"kind": "zip", "name": "v4", "paths": [path]})
    assert len(named) == len(zipped)
    for row in (0, 1, 9, 10, 99):
        np.testing.assert_array_equal(named.image(row), zipped.image(row))
