"""Runs that are killed, run out of disk, meet wrong clocks, damage and each other: the numbers are the same."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forked import Run, numbers
from forked import ventral as start
from store_files import files

from bridge.errors import InputError
from bridge.readers import Activations

CONFIG = """
name: hard
stimuli: {kind: battery, name: few, families: [gratings, textures], limit: {gratings: 16, textures: 8}, size: 32}
models:
  - {name: residual, kind: demo, network: residual}
  - {name: untrained, kind: demo, network: residual, untrained: true}
saes:
  - kind: train
    name: topk
    models: [residual]
    sites: ["blocks.1.hook_resid_post"]
    tokens: 16
    training: {batch: 64, epochs: 10, architecture: {kind: topk, expansion: 2, k: 8}}
recordings:
  - {kind: simulated, name: brain, subjects: 2, simple_dimensions: 2, complex_dimensions: 2}
capture: {workers: 1, batch_size: 4, device: cpu}
comparisons:
  - {kind: rsa, sites: ["blocks.[159].hook_resid_post", "blocks.1.hook_resid_post/topk"], draws: 20}
  - {kind: encoding, sites: ["blocks.[19].hook_resid_post"], models: [residual]}
"""


class Bench:
    """A folder with a config, and runs of it in processes of their own."""

    def __init__(self, folder: Path):
        self.folder, self.config, self.started = folder, folder / "config.yaml", 0
        self.config.write_text(CONFIG)

    def start(self, out: str, cache: str, *more: object, **limits: Any) -> Run:
        self.started += 1
        said = self.folder / f"said {self.started}"
        return start(
            "run", self.config, "--out", self.folder / out, *more, cache=self.folder / cache, said=said, **limits
        )

    def whole(self, out: str, cache: str) -> str:
        """The numbers of a run that is let alone."""
        run = self.start(out, cache)
        assert run.wait(300) == 0, run.output
        return numbers(self.folder / out)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@dataclass(frozen=True)
class Whole:
    """A run that was let alone: its numbers, what it left in the cache, and how long it took."""

    numbers: str
    cache: dict[str, str]
    seconds: float


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    bench = Bench(tmp_path_factory.mktemp("whole"))
    began = time.monotonic()
    found = bench.whole("out", "cache")
    return Whole(found, files(bench.folder / "cache"), time.monotonic() - began)


@pytest.mark.parametrize(
    ("kills", "seed"), [pytest.param(1, 0, id="short"), pytest.param(60, 1, id="long", marks=pytest.mark.slow)]
)
def test_killed_at_random_points_a_run_ends_with_the_same_numbers(
    bench: Bench, whole: Whole, kills: int, seed: int
) -> None:
    """SIGKILL to the process group at drawn moments; whenever a run gets to its end, it starts from nothing again."""
    draws = random.Random(seed)
    killed = ended = 0
    while killed < kills or not ended:
        run = bench.start("out", "cache")
        code = run.wait(draws.uniform(0.02, 0.7) * whole.seconds if killed < kills else 300)
        if code is None:
            run.kill()
            killed += 1
            if (bench.folder / "out" / "results.json").exists():  # written last: the kill came between it and the end
                assert numbers(bench.folder / "out") == whole.numbers
            continue
        assert code == 0, run.output
        ended += 1
        assert numbers(bench.folder / "out") == whole.numbers
        assert files(bench.folder / "cache") == whole.cache
        shutil.rmtree(bench.folder / "out")
        shutil.rmtree(bench.folder / "cache")
    assert killed == kills


@pytest.mark.parametrize(
    "largest", [pytest.param(size, marks=[] if size == 2_000 else pytest.mark.slow) for size in
                (0, 200, 2_000, 10_000, 30_000, 100_000, 300_000)],
)  # fmt: skip
def test_a_disk_that_takes_no_more_is_one_sentence_and_loses_nothing(bench: Bench, whole: Whole, largest: int) -> None:
    """The system refuses to write beyond `largest` bytes to a file, as a full disk does in the middle of one."""
    run = bench.start("out", "cache", largest_file=largest)
    code = run.wait(300)
    assert code in (0, 5), run.output
    assert "Traceback" not in run.output
    if code == 5:
        errors = [line for line in run.output.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, run.output
        assert "Cannot write to" in errors[0]
        assert not (bench.folder / "out" / "results.json").exists()
    assert bench.whole("out", "cache") == whole.numbers


@pytest.mark.slow
def test_two_processes_on_one_run_compute_every_stage_once(bench: Bench, whole: Whole) -> None:
    runs = [bench.start("out", "cache") for _ in range(2)]
    for run in runs:
        assert run.wait(300) == 0, run.output
        assert "Traceback" not in run.output
    lines = [line for run in runs for line in run.output.splitlines() if line.startswith("      ")]
    computed = [line.rpartition(": ")[0].strip() for line in lines if re.search(r": [\d.]+ s$", line)]
    made = list((bench.folder / "cache").glob("*/*/artefact.json"))
    looked_at = [path for path in made if path.parent.parent.name == "sites"]  # while planning
    assert sorted(computed) == sorted(set(computed))
    assert len(computed) == len(made) - len(looked_at)
    assert numbers(bench.folder / "out") == whole.numbers
    assert files(bench.folder / "cache") == whole.cache


@pytest.mark.slow
def test_clocks_that_were_set_change_nothing(bench: Bench, whole: Whole) -> None:
    """Files of the future and of the past, finished and not: nothing is taken for newer or older than it is."""
    run = bench.start("out", "cache")
    while not list((bench.folder / "cache").glob("activations/*/artefact.json")):
        assert run.wait(0.05) is None, run.output
    run.kill()
    draws = random.Random(0)
    years = 365 * 86400
    for path in (bench.folder / "cache").rglob("*"):
        moment = time.time() + draws.choice([-30, -1, 1, 30]) * years
        os.utime(path, (moment, moment))
    assert bench.whole("out", "cache") == whole.numbers
    (bench.folder / "out" / "results.json").unlink()
    again = bench.start("out", "cache")
    assert again.wait(300) == 0
    assert "0 of " in again.output


@pytest.mark.slow
def test_a_damaged_shard_is_named_or_made_again(bench: Bench) -> None:
    """Small artefacts are hashed before they are used; what is too large for that is checked when it is read."""
    expected = bench.whole("out", "cache")
    shard = next((bench.folder / "cache").glob("activations/*/00000.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-100] ^= 1
    shard.write_bytes(content)
    captured = Activations(shard.parent)
    with pytest.raises(InputError, match="damaged"):
        captured.read(next(reversed(captured.sites)))
    for made in (bench.folder / "cache").glob("*/*/results.json"):
        made.unlink()  # all that was computed from the captures is needed again
    for name in ("rdms", "codes", "saes", "encoding"):
        shutil.rmtree(bench.folder / "cache" / name, ignore_errors=True)
    assert bench.whole("again", "cache") == expected
