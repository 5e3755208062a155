"""Capture, its format, and the readers: same bytes after any interruption, damage named, values equal to `read`."""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import os
import random
import runpy
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from bridge import activations as module_under_test
from bridge.activations import Activations, capture, sampled_positions
from bridge.errors import ConfigError, InputError, StorageError
from bridge.models.base import Backbone, Preprocessing
from bridge.readers import shuffled_tokens
from bridge.shards import MANIFEST, Shard
from bridge.stimuli.stimulus_set import ArraySource, StimulusSet
from bridge.store import Store
from bridge.streams import BlockMap, read

POST = "blocks.*.hook_resid_post"


# ------------------------------------------------------------------------------------------- small nets and stimuli


class ConvBlock(nn.Module):
    def __init__(self, before: int, after: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, stride, 1)
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1, stride)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return (self.conv(x) + self.skip(x)).relu_()


class ConvNet(nn.Module):
    """[batch, 3, 16, 16] -> 4 channels of 16 x 16 -> 4 of 16 x 16 -> 6 of 8 x 8."""

    limit: int | None = None
    complaint: type[BaseException] = torch.OutOfMemoryError

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 1, 1)
        self.blocks = nn.Sequential(ConvBlock(4, 4), ConvBlock(4, 6, 2))

    def forward(self, x):
        if self.limit is not None and len(x) > self.limit:
            raise self.complaint("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return self.blocks(self.stem(x)).mean((2, 3))


class TokenBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.Linear(5, 5)

    def forward(self, x):
        return x + self.mlp(x)


class TokenNet(nn.Module):
    """[batch, 3, 16, 16] -> a class token and 4 x 4 patches, of 5 values."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 5, 4, 4)
        self.prefix = nn.Parameter(torch.randn(1, 1, 5))
        self.blocks = nn.Sequential(TokenBlock(), TokenBlock())

    def forward(self, x):
        patches = self.embed(x).flatten(2).transpose(1, 2)
        return self.blocks(torch.cat([self.prefix.expand(len(x), -1, -1), patches], 1))


def conv_net() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ConvNet().eval()
    maps = [
        BlockMap(f"blocks.{i}", 1 + i, write=f"blocks.{i}.conv", skip=f"blocks.{i}.skip", act=True, projected=i > 0)
        for i in range(2)
    ]
    return Backbone("small", net, maps, Preprocessing(size=16, squash=True))


def token_net() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TokenNet().eval()
    maps = [BlockMap(f"blocks.{i}", 1, write=f"blocks.{i}.mlp") for i in range(2)]
    return Backbone("tokens", net, maps, Preprocessing(size=16, squash=True), layout="btc", prefix=1)


class TextNet(nn.Module):
    """input_ids [batch, 6] -> a stream of 6 tokens of 5 values."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 5)
        self.blocks = nn.Sequential(TokenBlock(), TokenBlock())

    def forward(self, input_ids, attention_mask):
        return self.blocks(self.embed(input_ids))


def text_net() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TextNet().eval()

    def letters(texts: list[str]) -> dict[str, torch.Tensor]:
        ids = torch.zeros(len(texts), 6, dtype=torch.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor([1 + ord(letter) % 19 for letter in text])
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}

    maps = [BlockMap(f"blocks.{i}", 1, write=f"blocks.{i}.mlp") for i in range(2)]
    return Backbone("texts", net, maps, None, layout="btc", example=letters(["abcdef"]), tokenizer=letters)


def stimuli_of(n: int, source=None) -> StimulusSet:
    table = pd.DataFrame(index=pd.Index([f"s{i:04d}" for i in range(n)], name="stimulus_id"))
    images = np.random.default_rng(0).integers(0, 256, (n, 20, 20, 3), dtype=np.uint8)
    return StimulusSet("noise", table, source or ArraySource(images))


def reference(backbone: Backbone, stimuli: StimulusSet, sites) -> dict[str, np.ndarray]:
    inputs = backbone.prepare([stimuli.image(row) for row in range(len(stimuli))])
    return {name: value.numpy() for name, value in read(backbone, inputs, sites).items()}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Activations:
    """50 stimuli in seven shards of at most 8."""
    return capture(conv_net(), stimuli_of(50), POST, tmp_path_factory.mktemp("done"), batch_size=12, shard_bytes=46_000)


def copy_of(done: Activations, folder: Path) -> Path:
    folder.mkdir()
    for name, content in files_of(done.folder).items():
        (folder / name).write_bytes(content)
    return folder


# ----------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("channels_last", [None, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_values_are_those_of_read(tmp_path, channels_last, workers):
    backbone, stimuli = conv_net(), stimuli_of(30)
    found = capture(
        backbone, stimuli, "*", tmp_path, batch_size=8, channels_last=channels_last, workers=workers, shard_bytes=60_000
    )
    expected = reference(backbone, stimuli, backbone.sites)
    assert list(found.sites) == list(backbone.sites)
    assert len(found.manifest["shards"]) > 3
    for name, values in expected.items():
        assert found.shape(name) == values.shape
        np.testing.assert_allclose(found.read(name), values, atol=1e-5)
        assert found.sites[name] == backbone.sites[name]


def test_reading_is_by_id(done):
    site = "blocks.1.hook_resid_post"
    everything = done.read(site)
    ids = ["s0049", "s0003", "s0017", "s0003"]
    np.testing.assert_array_equal(done.read(site, ids), everything[[49, 3, 17, 3]])
    np.testing.assert_array_equal(done.read(site, rows=[5, 40]), everything[[5, 40]])
    assert done.read(site, []).shape == (0, 64, 6)
    blocks = list(done.rows(site, block=3))
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in blocks]), np.arange(50))
    np.testing.assert_array_equal(np.concatenate([values for _, values in blocks]), everything)
    with pytest.raises(InputError, match=r"1 of 2 stimulus ids.*'x'"):
        done.read(site, ["s0001", "x"])
    with pytest.raises(ConfigError, match=r"did you mean 'blocks\.1\.hook_resid_post'"):
        done.read("blocks.1.hook_resid_pots")


@pytest.mark.parametrize("tokens", ["all", "patches", "class", "mean", 3, 99])
def test_token_choices(tmp_path, tokens):
    backbone, stimuli = token_net(), stimuli_of(10)
    found = capture(backbone, stimuli, POST, tmp_path, tokens=tokens, seed=4, batch_size=4)
    for name, values in reference(backbone, stimuli, list(found.sites)).items():
        expected = {
            "all": values,
            "patches": values[:, 1:],
            "class": values[:, :1],
            "mean": values[:, 1:].mean(1, keepdims=True),
            99: values[:, 1:],
            3: np.stack([values[i, 1 + sampled_positions(f"s{i:04d}", 16, 3, seed=4)] for i in range(10)]),
        }[tokens]
        np.testing.assert_allclose(found.read(name), expected, atol=1e-5)


def test_sampled_positions_depend_on_the_stimulus_alone(tmp_path):
    backbone, stimuli = conv_net(), stimuli_of(20)
    whole = capture(backbone, stimuli, POST, tmp_path / "a", tokens=5, batch_size=7)
    few = capture(backbone, stimuli.select([13, 2]), POST, tmp_path / "b", tokens=5)
    for name in whole.sites:
        np.testing.assert_allclose(few.read(name), whole.read(name, ["s0013", "s0002"]), atol=1e-5)
    drawn = [tuple(sampled_positions(f"s{i}", 64, 5, 0)) for i in range(200)]
    assert len(set(drawn)) > 190
    assert all(len(set(p)) == 5 and list(p) == sorted(p) for p in drawn)
    assert np.bincount(np.ravel(drawn), minlength=64).min() > 4  # expected 15.6
    assert tuple(sampled_positions("s0", 64, 5, 1)) != drawn[0]


WORDS = ["a", "cat", "doggy", "horses", "it"]


@pytest.mark.parametrize("tokens", ["all", "mean", "last"])
def test_texts_without_their_padding(tmp_path, tokens):
    backbone = text_net()
    table = pd.DataFrame({"text": WORDS}, index=pd.Index(WORDS, name="stimulus_id"))
    found = capture(backbone, StimulusSet("words", table, None), POST, tmp_path, tokens=tokens, batch_size=2)
    for site in found.sites:
        whole = read(backbone, backbone.prepare_texts(WORDS), [site])[site].numpy()
        for word, values, padded in zip(WORDS, found.read(site), whole, strict=True):
            real = padded[: len(word)]
            expected = {"mean": real.mean(0, keepdims=True), "last": real[-1:]}.get(tokens, real)
            np.testing.assert_allclose(values[: len(expected)], expected, atol=1e-6)
            assert not values[len(expected) :].any()
    if tokens == "all":
        site = next(iter(found.sites))
        given = np.concatenate([b[site].numpy() for b in shuffled_tokens(found, site, batch=4, seed=0, reservoir=9)])
        expected = np.concatenate([v[: len(w)] for w, v in zip(WORDS, found.read(site), strict=True)])
        np.testing.assert_array_equal(given[np.lexsort(given.T)], expected[np.lexsort(expected.T)])


def test_a_set_with_images_and_texts_serves_both_kinds_of_network(tmp_path):
    both = stimuli_of(len(WORDS))
    both.table["text"] = WORDS
    words = StimulusSet("words", both.table, None)
    from_both = capture(text_net(), both, POST, tmp_path / "both")
    from_words = capture(text_net(), words, POST, tmp_path / "words")
    for site in from_both.sites:
        np.testing.assert_array_equal(from_both.read(site), from_words.read(site))
    assert capture(conv_net(), both, POST, tmp_path / "images").sites


def test_texts_and_images_are_not_confused(tmp_path):
    table = pd.DataFrame({"text": WORDS}, index=pd.Index(WORDS, name="stimulus_id"))
    words = StimulusSet("words", table, None)
    with pytest.raises(ConfigError, match="texts reads texts, and stimulus set 'noise' has no column `text`"):
        capture(text_net(), stimuli_of(2), POST, tmp_path)
    with pytest.raises(ConfigError, match="small reads images, and stimulus set 'words' has none"):
        capture(conv_net(), words, POST, tmp_path)
    with pytest.raises(ConfigError, match="Tokens 4 are for images"):
        capture(text_net(), words, POST, tmp_path, tokens=4)


@pytest.mark.parametrize(("dtype", "kind"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)])
def test_stored_types_round_as_torch_does(tmp_path, dtype, kind):
    backbone, stimuli = conv_net(), stimuli_of(9)
    exact = capture(backbone, stimuli, POST, tmp_path / "a")
    found = capture(backbone, stimuli, POST, tmp_path / "b", dtype=dtype)
    for name in found.sites:
        expected = torch.from_numpy(exact.read(name)).to(kind).float().numpy()
        np.testing.assert_array_equal(found.read(name), expected)


def test_shards_are_safetensors(done):
    from safetensors.torch import load_file

    first = load_file(done.folder / "00000.safetensors")
    assert list(first) == list(done.sites)
    for name, value in first.items():
        np.testing.assert_array_equal(value.numpy(), done.read(name, rows=range(len(value))))
        assert Shard.open(done.folder / "00000.safetensors").starts[name] % 4 == 0


def test_float16_does_not_overflow_silently(tmp_path):
    backbone = conv_net()
    with torch.no_grad():
        backbone.module.stem.weight.mul_(1e7)
    with pytest.raises(InputError, match=r"blocks\.0\.hook_resid_post holds values beyond float16"):
        capture(backbone, stimuli_of(4), POST, tmp_path, dtype="float16")


def test_batch_size_changes_noise_only(tmp_path):
    backbone, stimuli = conv_net(), stimuli_of(23)
    one = capture(backbone, stimuli, POST, tmp_path / "a", batch_size=1)
    other = capture(backbone, stimuli, POST, tmp_path / "b", batch_size=10)
    for name in one.sites:
        np.testing.assert_allclose(one.read(name), other.read(name), atol=1e-5)


def test_bfloat16_compute(tmp_path):
    backbone, stimuli = conv_net(), stimuli_of(6)
    if not module_under_test.has_bfloat16("cpu"):
        with pytest.raises(ConfigError, match="no bfloat16 arithmetic"):
            capture(backbone, stimuli, POST, tmp_path / "a", compute="bfloat16")
        return
    found = capture(backbone, stimuli, POST, tmp_path / "a", compute="bfloat16")
    for name, values in reference(backbone, stimuli, list(found.sites)).items():
        difference = np.abs(found.read(name) - values).max() / np.abs(values).max()
        assert 0 < difference < 0.02


def test_the_network_is_left_as_it_was(tmp_path):
    backbone = conv_net()
    backbone.module.blocks[0].train()
    before = {name: value.stride() for name, value in backbone.module.named_parameters()}
    backbone.module.blocks[1].calls = 0
    capture(backbone, stimuli_of(3), "blocks.0.hook_resid_post", tmp_path)
    assert backbone.module.blocks[1].calls <= 1  # at most the pass that measures the sites: the others stop before
    assert backbone.module.blocks[0].training
    assert not backbone.module.blocks[1].training
    assert {name: value.stride() for name, value in backbone.module.named_parameters()} == before
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in backbone.module.modules())


# ---------------------------------------------------------------------------------------------- wrong requests


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"tokens": "meen"}, "did you mean 'mean'"),
        ({"tokens": 0}, "at least 1"),
        ({"tokens": "class"}, "no class token at blocks.0.hook_resid_post"),
        ({"tokens": "last"}, "for texts"),
        ({"dtype": "float64"}, "stored type"),
        ({"compute": "float8"}, "compute type"),
        ({"batch_size": 0}, "batch size"),
        ({"sites": "blocks.0.hook_resid_pots"}, "did you mean 'blocks.0.hook_resid_post'"),
    ],
)
def test_wrong_choices_write_nothing(tmp_path, choice, message):
    with pytest.raises(ConfigError, match=message):
        capture(conv_net(), stimuli_of(3), **{"sites": POST, "folder": tmp_path / "new", **choice})
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_absent_device(tmp_path):
    with pytest.raises(ConfigError, match="no CUDA device"):
        capture(conv_net(), stimuli_of(3), POST, tmp_path, device="cuda")


def test_empty_and_duplicate_stimuli(tmp_path):
    with pytest.raises(InputError, match="is empty"):
        capture(conv_net(), stimuli_of(0), POST, tmp_path)
    with pytest.raises(InputError, match="duplicate ids"):
        stimuli_of(3).select([0, 0])


def test_folder_of_another_capture(done, tmp_path):
    folder = copy_of(done, tmp_path / "a")
    with pytest.raises(StorageError, match="another capture"):
        capture(conv_net(), stimuli_of(51), POST, folder, shard_bytes=46_000)
    (folder / MANIFEST).unlink()
    with pytest.raises(StorageError, match="another capture"):
        capture(conv_net(), stimuli_of(50), POST, folder, shard_bytes=46_000, dtype="float16")


# ------------------------------------------------------------------------------------------------ out of memory


@pytest.mark.parametrize("complaint", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_out_of_memory_halves_the_batch(tmp_path, complaint):
    backbone, stimuli = conv_net(), stimuli_of(30)
    backbone.module.complaint = complaint
    whole = capture(backbone, stimuli, POST, tmp_path / "a", batch_size=16)
    backbone.module.limit = 5
    with pytest.warns(UserWarning, match="does not fit in memory; going on with") as notices:
        halved = capture(backbone, stimuli, POST, tmp_path / "b", batch_size=16)
    assert [str(notice.message).split(" does")[0] for notice in notices] == ["A batch of 16", "A batch of 8"]
    for name in whole.sites:
        np.testing.assert_allclose(halved.read(name), whole.read(name), atol=1e-5)


def test_out_of_memory_with_one_stimulus(tmp_path):
    backbone = conv_net()
    backbone.sites  # noqa: B018 (measured before memory runs out)
    backbone.module.limit = 0
    with (
        pytest.warns(UserWarning, match="halved|going on"),
        pytest.raises(ConfigError, match="One stimulus alone does not fit"),
    ):
        capture(backbone, stimuli_of(3), POST, tmp_path)


def test_other_runtime_errors_are_not_swallowed(tmp_path):
    backbone = conv_net()
    backbone.blocks[0] = BlockMap("blocks.0", 1)
    backbone.sites["blocks.0.hook_resid_post"].__dict__["width"] = 9
    with pytest.raises(InputError, match="shape"):
        capture(backbone, stimuli_of(3), POST, tmp_path)


# ------------------------------------------------------------------------------------------------- interruptions


class Files:
    """Images from files, one of them cut short."""

    def __init__(self, folder: Path, n: int, broken: int):
        for i in range(n):
            data = io.BytesIO()
            Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(data, "png")
            (folder / f"{i}.png").write_bytes(data.getvalue()[: 900 if i == broken else None])
        self.folder = folder

    def image(self, index):
        path = self.folder / f"{index}.png"
        try:
            return np.asarray(Image.open(path).convert("RGB"))
        except OSError as error:
            raise InputError(f"The image {path} is truncated.") from error

    def fingerprint(self):
        return "files"


def test_truncated_image_in_the_middle(tmp_path):
    (tmp_path / "images").mkdir()
    stimuli = stimuli_of(40, Files(tmp_path / "images", 40, broken=30))
    with pytest.raises(InputError, match=r"30\.png is truncated"):
        capture(conv_net(), stimuli, POST, tmp_path / "out", batch_size=4, shard_bytes=46_000)
    assert sorted(files_of(tmp_path / "out")) == [f"{i:05d}.safetensors" for i in range(3)]  # rows 0 to 23
    Files(tmp_path / "images", 40, broken=-1)  # mended: only what is missing is read
    seen = []
    source = Files(tmp_path / "images", 40, broken=-1)
    source.image = lambda index: seen.append(index) or Files.image(source, index)
    capture(conv_net(), stimuli_of(40, source), POST, tmp_path / "out", batch_size=4, shard_bytes=46_000)
    assert sorted(seen) == list(range(24, 40))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_disk_full(tmp_path, monkeypatch, code):
    request = {"backbone": conv_net(), "stimuli": stimuli_of(50), "sites": POST, "batch_size": 4, "shard_bytes": 46_000}
    whole = capture(folder=tmp_path / "whole", **request)
    pwrite, calls = os.pwrite, []

    def full(*given):
        calls.append(given)
        if len(calls) > 20:
            raise OSError(code, os.strerror(code))
        return pwrite(*given)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match=f"Cannot write to .*{os.strerror(code)}"):
        capture(folder=tmp_path / "full", **request)
    left = files_of(tmp_path / "full")
    assert 0 < len(left) < 7
    assert all(name.endswith(".safetensors") and not name.startswith(".") for name in left)
    monkeypatch.undo()
    again = capture(folder=tmp_path / "full", **request)
    assert files_of(again.folder) == files_of(whole.folder)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write"):
        capture(conv_net(), stimuli_of(3), POST, tmp_path / "file" / "folder")


def capture_killed(folder: str, at: int | None, large: bool = False) -> None:
    """Capture into twelve shards; the process is killed in the middle of its `at`-th call that changes the disk.

    With `large`, the shards are written as large ones are.
    """
    from bridge import shards

    torch.set_num_threads(1)
    shards.LARGE = 0 if large else shards.LARGE
    calls = 0

    def counted(name: str):
        call = getattr(os, name)

        def counting(*given):
            nonlocal calls
            calls += 1
            if calls == at:
                if name == "pwrite":
                    call(given[0], given[1][: len(given[1]) // 2], given[2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*given)

        setattr(os, name, counting)

    for name in ("pwrite", "fsync", "replace", "unlink"):
        counted(name)
    capture(conv_net(), stimuli_of(120), POST, folder, batch_size=7, shard_bytes=8_000, tokens=20)


def capture_much(folder: str, n: int) -> None:
    torch.set_num_threads(1)
    rows = np.zeros((1, 20, 20, 3), np.uint8)
    images = np.broadcast_to(rows, (n, 20, 20, 3))
    with_much = stimuli_of(0)
    table = pd.DataFrame(index=pd.Index([f"s{i}" for i in range(n)], name="stimulus_id"))
    source = type("Same", (), {"image": lambda self, i: images[0], "fingerprint": lambda self: "same"})()
    capture(conv_net(), StimulusSet(with_much.name, table, source), "*", folder)
    import resource

    Path(folder, "peak").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def child(task: str, **given) -> multiprocessing.process.BaseProcess:
    """This file run again in a process of its own, with torch loaded beforehand."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch", "pandas", "pytest", "PIL.Image", "bridge.activations", "bridge.models.base"]
    )
    process = context.Process(target=runpy.run_path, args=(__file__, {"GIVEN": given}, task))
    process.start()
    return process


@pytest.mark.parametrize("large", [False, True])
def test_killed_and_resumed_to_the_same_bytes(tmp_path, large):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    first = child("capture_killed", folder=str(whole), at=None)
    first.join()
    expected = files_of(whole)
    assert len(expected) == 13
    seen = []
    draw = random.Random(0)
    for _ in range(3):
        run = child("capture_killed", folder=str(killed), at=draw.randint(4, 25), large=large)
        run.join()
        assert run.exitcode == -signal.SIGKILL
        left = {name: content for name, content in files_of(killed).items() if not name.startswith(".")}
        assert all(expected[name] == content for name, content in left.items())
        seen.append(len(left))
    last = child("capture_killed", folder=str(killed), at=None, large=large)
    last.join()
    assert seen == sorted(seen)
    assert 0 < seen[-1] < 12
    assert last.exitcode == 0
    assert files_of(killed) == expected


def test_memory_does_not_grow_with_the_stimuli(tmp_path):
    peaks = []
    for n in (300, 3000):  # 28 KB a stimulus at all sites: 8 MB and 84 MB
        run = child("capture_much", folder=str(tmp_path / str(n)), n=n)
        run.join()
        peaks.append(int((tmp_path / str(n) / "peak").read_text()))
    assert peaks[1] < 1.1 * peaks[0]


def test_store_resumes_and_reuses(tmp_path):
    store, calls = Store(tmp_path), []

    def build(folder: Path) -> None:
        calls.append(sorted(path.name for path in folder.iterdir()))

        def stop(done: int, total: int) -> None:
            if len(calls) == 1 and done > 24:
                raise KeyboardInterrupt

        capture(conv_net(), stimuli_of(50), POST, folder, batch_size=4, shard_bytes=46_000, progress=stop)

    with pytest.raises(KeyboardInterrupt):
        store.obtain("activations", {"of": "test"}, build, resumable=True)
    folder = store.obtain("activations", {"of": "test"}, build, resumable=True)
    assert store.obtain("activations", {"of": "test"}, build, resumable=True) == folder
    assert [len(found) for found in calls] == [0, 3]
    assert len(Activations(folder)) == 50


# ------------------------------------------------------------------------------------------------------- damage


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def test_a_flipped_bit_is_named_and_not_used(done, tmp_path):
    folder = copy_of(done, tmp_path / "a")
    site, other = "blocks.1.hook_resid_post", "blocks.0.hook_resid_post"
    flip(folder / "00002.safetensors", Shard.open(folder / "00002.safetensors").starts[site] + 1001)
    found = Activations(folder)
    with pytest.raises(InputError, match=r"00002\.safetensors is damaged \(wrong checksum of blocks\.1"):
        found.read(site)
    with pytest.raises(InputError, match=r"00002\.safetensors is damaged"):
        list(shuffled_tokens(found, site, batch=8, seed=0))
    np.testing.assert_array_equal(found.read(site, rows=range(14)), done.read(site, rows=range(14)))
    np.testing.assert_array_equal(found.read(other), done.read(other))


@pytest.mark.parametrize("harm", ["header", "truncated", "missing", "swapped", "manifest", "unfinished", "version"])
def test_other_damage_is_named(done, tmp_path, harm):
    folder = copy_of(done, tmp_path / "a")
    shard, manifest = folder / "00001.safetensors", folder / MANIFEST
    if harm == "header":
        flip(shard, 10)
    elif harm == "truncated":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif harm == "missing":
        shard.unlink()
    elif harm == "swapped":
        shard.write_bytes((folder / "00002.safetensors").read_bytes())
    elif harm == "manifest":
        manifest.write_text(manifest.read_text().replace("s0007", "s0008", 1))
    elif harm == "unfinished":
        manifest.unlink()
    elif harm == "version":
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 2}))
    named = "00001.safetensors" if harm in ("header", "truncated", "missing", "swapped") else "manifest.json"
    with pytest.raises(InputError, match=named):
        Activations(folder).read("blocks.0.hook_resid_post")


def test_a_damaged_shard_of_an_interrupted_capture_is_made_again(done, tmp_path):
    folder = copy_of(done, tmp_path / "a")
    (folder / MANIFEST).unlink()
    (folder / "00003.safetensors").unlink()
    flip(folder / "00001.safetensors", -5)
    with pytest.warns(UserWarning, match=r"00001\.safetensors is damaged.*captured again"):
        capture(conv_net(), stimuli_of(50), POST, folder, batch_size=12, shard_bytes=46_000)
    assert files_of(folder) == files_of(done.folder)


# ---------------------------------------------------------------------------------------------- shuffled tokens


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("reservoir", [1, 300, 10**6])
def test_every_token_once_an_epoch(tmp_path, dtype, reservoir):
    found = capture(conv_net(), stimuli_of(37), POST, tmp_path, dtype=dtype, tokens=9, shard_bytes=2_000)
    site = "blocks.0.hook_resid_post"
    batches = [b[site] for b in shuffled_tokens(found, site, batch=32, seed=1, reservoir=reservoir)]
    assert [len(b) for b in batches] == [32] * 10 + [13]
    assert all(b.dtype is torch.float32 for b in batches)
    expected = found.read(site).reshape(-1, 4)
    given = torch.cat(batches).numpy()
    assert not np.array_equal(given, expected)
    np.testing.assert_array_equal(given[np.lexsort(given.T)], expected[np.lexsort(expected.T)])


def test_shuffling_mixes_stimuli_and_follows_seed_and_epoch(tmp_path):
    found = capture(conv_net(), stimuli_of(60), POST, tmp_path, tokens=8, shard_bytes=4_000)
    a, b = found.sites
    # Make each value say where it came from, by looking it up.
    row_of = {value.tobytes(): i for i, value in enumerate(found.read(a).reshape(-1, 4))}

    def rows(**given):
        stream = shuffled_tokens(found, [a], batch=40, reservoir=240, **given)
        return [[row_of[value.tobytes()] for value in batch[a].numpy()] for batch in stream]

    first = rows(seed=0)
    assert first == rows(seed=0)
    assert first != rows(seed=1)
    assert first != rows(seed=0, epoch=1)
    assert first[7:] == rows(seed=0, start=7)
    assert rows(seed=0, start=99) == []
    assert len({row // 8 for row in first[0]}) > 15  # stimuli in one batch of 40
    # Several sites go together: the same tokens, in the same order.
    for batch in shuffled_tokens(found, [a, b], batch=40, seed=0, reservoir=240):
        assert [row_of[value.tobytes()] for value in batch[a].numpy()] == first.pop(0)


def test_sites_of_unequal_grids_are_not_shuffled_together(done):
    with pytest.raises(ConfigError, match="64, 256 tokens a stimulus"):
        next(shuffled_tokens(done, list(done.sites), batch=4, seed=0))


if __name__ in ("capture_killed", "capture_much"):
    globals()[__name__](**GIVEN)  # noqa: F821 (given by `child`)
