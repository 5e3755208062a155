"""Files that are not what they say: one sentence each; nothing is executed and nothing written."""

from __future__ import annotations

import io
import json
import pickle
import random
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing import damaged, header_mutated, mutated, tried
from PIL import Image
from safetensors.torch import save_file

from bridge.activations import capture
from bridge.errors import InputError
from bridge.models.checkpoints import load_weights, read_tensors
from bridge.readers import Activations
from bridge.shards import MANIFEST, Shard, manifest_sha256
from bridge.stimuli.battery import Battery
from bridge.stimuli.zips import LARGEST, Zips
from bridge.store import RECORD, Store, intact

ROUNDS = 400


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bridge.models.demo import DemoNetwork

    stimuli = Battery(name="few", families=["gratings"], limit={"gratings": 6}, size=32).load()
    backbone = DemoNetwork(name="net", network="residual", untrained=True).load()
    folder = tmp_path_factory.mktemp("captured") / "activations"
    capture(backbone, stimuli, ["blocks.[01].hook_resid_post"], folder, workers=0, shard_bytes=1)
    return folder


def read_all(folder: Path) -> None:
    found = Activations(folder)
    for site in found.sites:
        found.read(site)
        list(found.rows(site))


def test_manifests(captured: Path, tmp_path: Path) -> None:
    """Changed at random, then sealed again: the checksum alone is no protection against who wrote the file."""
    draws = random.Random(0)
    content = json.loads((captured / MANIFEST).read_bytes())
    folder = tmp_path / "copy"
    folder.mkdir()
    for shard in captured.glob("*.safetensors"):
        (folder / shard.name).write_bytes(shard.read_bytes())
    refused = 0
    for _ in range(ROUNDS):
        changed = mutated(content, draws)
        if isinstance(changed, dict) and draws.random() < 0.8:
            changed["sha256"] = manifest_sha256(changed)
        (folder / MANIFEST).write_text(json.dumps(changed))
        refused += tried(lambda: read_all(folder)) is not None
    for _ in range(ROUNDS):
        (folder / MANIFEST).write_bytes(damaged((captured / MANIFEST).read_bytes(), draws))
        refused += tried(lambda: read_all(folder)) is not None
    assert refused > ROUNDS
    (folder / MANIFEST).write_text(json.dumps(content))
    read_all(folder)


def test_a_manifest_names_no_file_outside_its_folder(captured: Path) -> None:
    content = json.loads((captured / MANIFEST).read_bytes())
    content["shards"][0]["file"] = f"../{captured.name}/{content['shards'][0]['file']}"
    content["sha256"] = manifest_sha256(content)
    other = captured.parent / "other"
    other.mkdir(exist_ok=True)
    (other / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(InputError, match="damaged"):
        read_all(other)


def test_headers_of_shards(captured: Path, tmp_path: Path) -> None:
    draws = random.Random(1)
    data = (captured / "00000.safetensors").read_bytes()
    path = tmp_path / "00000.safetensors"

    def read() -> None:
        shard = Shard.open(path)
        for site in shard.shapes:
            shard.check(site)
            assert shard.values(site).nbytes <= len(data)

    refused = 0
    for number in range(2 * ROUNDS):
        path.write_bytes((header_mutated if number % 2 else damaged)(data, draws))
        refused += tried(read) is not None
    assert refused > ROUNDS


def test_headers_of_checkpoints(tmp_path: Path) -> None:
    draws = random.Random(2)
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    save_file(network.state_dict(), tmp_path / "whole.safetensors")
    data = (tmp_path / "whole.safetensors").read_bytes()
    path = tmp_path / "changed.safetensors"
    refused = 0
    for number in range(2 * ROUNDS):
        path.write_bytes((header_mutated if number % 2 else damaged)(data, draws))
        refused += tried(lambda: load_weights(network, path, "net")) is not None
    assert refused > ROUNDS / 2


class Executed(Exception):
    """Raised when a pickle's code runs."""


class Bomb:
    def __reduce__(self) -> Any:
        return (_explode, ())


def _explode() -> None:
    raise Executed


def test_torch_files_are_never_executed(tmp_path: Path) -> None:
    draws = random.Random(3)
    torch.save({"weight": torch.ones(3)}, tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    path = tmp_path / "changed.pt"
    for _ in range(ROUNDS // 2):
        path.write_bytes(damaged(data, draws))
        tried(lambda: read_tensors(path))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps({"weight": Bomb()}, protocol=protocol))
        assert tried(lambda: read_tensors(path))
    torch.save({"weight": Bomb()}, path)
    said = tried(lambda: read_tensors(path))
    assert said is not None
    assert "pickled Python objects" in said


def test_a_torch_file_that_is_a_bomb(tmp_path: Path) -> None:
    """torch stores its records as they are; a file whose records are compressed can be small and unpack to anything."""
    torch.save({"weight": torch.zeros(2**20)}, tmp_path / "whole.pt")
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(tmp_path / "whole.pt") as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info))
    assert path.stat().st_size < 2**20
    said = tried(lambda: read_tensors(path))
    assert said is not None
    assert "compressed" in said


def png(size: tuple[int, int] = (8, 8)) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def load_all(path: Path) -> None:
    stimuli = Zips(name="zip", paths=(path,)).load()
    for row in range(len(stimuli)):
        stimuli.image(row)


def files_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged at random; nothing is written anywhere by reading them."""
    draws = random.Random(4)
    place = tmp_path / "deep" / "inside"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    with zipfile.ZipFile("whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.png", "b.png", "folder/c.png"):
            archive.writestr(name, png())
    data = Path("whole.zip").read_bytes()
    before = files_under(tmp_path)
    refused = 0
    for number in range(ROUNDS):
        path = Path(f"changed{number}.zip")  # archives stay open by name
        path.write_bytes(damaged(data, draws))
        refused += tried(lambda path=path: load_all(path)) is not None
        path.unlink()
    assert refused > ROUNDS / 2
    assert files_under(tmp_path) == before


def test_archives_that_reach_out_of_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "deep" / "inside"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    names = ["../../escaped.png", "/escaped.png", "..\\..\\escaped2.png", "folder/../../escaped3.png"]
    with zipfile.ZipFile("traversal.zip", "w") as archive:
        for name in names:
            archive.writestr(name, png())
    before = files_under(tmp_path)
    tried(lambda: load_all(Path("traversal.zip")))
    assert files_under(tmp_path) == before
    assert not Path("/escaped.png").exists()


def test_archives_with_links(tmp_path: Path) -> None:
    """A link is read as what it is in the archive, a few bytes of text: never followed."""
    (tmp_path / "secret.png").write_bytes(png())
    path = tmp_path / "links.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, str(tmp_path / "secret.png"))
    said = tried(lambda: load_all(path))
    assert said is not None
    assert "links/link" in said


def test_archives_that_unpack_to_very_much(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb.png", "w") as file:
        for _ in range(LARGEST // 2**20 + 1):
            file.write(bytes(2**20))
    said = tried(lambda: load_all(path))
    assert said is not None
    assert "are unpacked" in said
    lying = bytearray(path.read_bytes())  # the directory claims that it is small
    true, claimed = (LARGEST + 2**20).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    (tmp_path / "lying.zip").write_bytes(bytes(lying).replace(true, claimed))
    assert tried(lambda: load_all(tmp_path / "lying.zip"))


def test_images_that_unpack_to_very_much(tmp_path: Path) -> None:
    """A PNG of 900 million pixels in a megabyte."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = 30_000
    head = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    rows = zlib.compressobj(9)
    body = b"".join(rows.compress(bytes(side + 1) * 100) for _ in range(side // 100)) + rows.flush()
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    assert len(data) < 2**21
    with zipfile.ZipFile(tmp_path / "image.zip", "w") as archive:
        archive.writestr("large.png", data)
    said = tried(lambda: load_all(tmp_path / "image.zip"))
    assert said is not None
    assert "image/large" in said


def test_records_of_artefacts(tmp_path: Path) -> None:
    """A record that is damaged, or names files elsewhere, makes no artefact intact; it is made again."""
    draws = random.Random(5)
    store = Store(tmp_path / "store")

    def build(folder: Path) -> None:
        (folder / "values").write_text("1")

    folder = store.obtain("kind", {}, build)
    whole = json.loads((folder / RECORD).read_bytes())
    for number in range(ROUNDS):
        changed = mutated(whole, draws) if number % 2 else None
        data = json.dumps(changed).encode() if number % 2 else damaged(json.dumps(whole).encode(), draws)
        (folder / RECORD).write_bytes(data)
        assert intact(folder) in (True, False)
    assert (store.obtain("kind", {}, build) / "values").read_text() == "1"
