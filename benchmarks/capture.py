"""Capture against the bare forward pass, against other ways of reading, and against other extractors.

    python benchmarks/capture.py [--quick] [--json FILE] [--only NAME ...] [--repeats N]

Every row is two sides timed in this run, turn about, with the same batch, type, threads and images; what is printed is
the median time of each, the median of the ratios of neighbouring turns (by the clock, and by CPU seconds, which say
more on a machine that others use too), and the largest difference of their values.
Capture reads JPEG files, prepares them and writes to disk; the bare forward pass gets prepared tensors and keeps
nothing. It runs in a process of its own that never captures, so that it is torch as torch comes: capture keeps the heap
(bridge.heap), and something of that outlasts it. Networks have random weights: their values do not change the time.

How far channels_last alone carries depends on the page faults of the bare pass. On two cores of a virtual machine
(EPYC, AVX-512; batch 32 of ResNet-50, seconds a batch, least of four):

                              not channels_last   channels_last   ratio
    torch as it comes                      2.71            1.91    1.42
    BatchNorm folded                       2.54            1.65    1.54
    heap kept                              1.59            1.41    1.13
    heap kept and BatchNorm folded         1.53            1.31    1.17

Keeping the heap removes most of what channels_last saved, and more than it; so the ratio of capture with and without
channels_last stays below 1.5, and capture with its defaults is about twice as fast as torch's default.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("RESULTCACHING_DISABLE", "1")
os.environ.setdefault("BS_INSTALL_DEPENDENCIES", "no")
os.environ.setdefault("TQDM_DISABLE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

BATCH = 32
POST = "blocks.*.hook_resid_post"
Side = Callable[[], Any]


class Elsewhere:
    """A side that runs in a process of its own: a call of one of this file's functions."""

    def __init__(self, function: str, *given: Any, **options: Any):
        self.call = (function, given, options)
        self.clock = self.cpu = 0.0

    def __call__(self) -> None:
        pipe = other_process()
        pipe.send(self.call)
        self.clock, self.cpu = pipe.recv()


@cache
def other_process() -> Any:
    """The pipe to a process that answers calls with their seconds."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=serve, args=(theirs, str(folder())), daemon=True).start()
    return ours


def serve(pipe: Any, shared: str) -> None:
    """What the other process does until this one ends."""
    os.environ["CAPTURE_FOLDER"] = shared
    while True:
        try:
            function, given, options = pipe.recv()
        except EOFError:
            return
        if function == "bare":
            prepared(*given)
        start, used = time.perf_counter(), time.process_time()
        globals()[function](*given, **options)
        pipe.send((time.perf_counter() - start, time.process_time() - used))


@dataclass
class Row:
    """One comparison. `ratio` is of times, worded by `target`; `difference` of values, relative to the largest."""

    name: str
    ours: float | None
    theirs: float | None
    ratio: float | None
    target: str
    difference: float | None = None
    cpu: float | None = None
    met: bool | None = None
    note: str = ""


@dataclass
class Setting:
    images: int
    repeats: int
    quick: bool
    forms: list[str] | None = None


@dataclass
class Times:
    """Median seconds of both sides, and medians of ours / theirs over neighbouring turns: by the clock and by CPU."""

    ours: float
    theirs: float
    ratio: float
    cpu: float


def timed(ours: Side, theirs: Side, repeats: int) -> tuple[Times, Any, Any]:
    """Both sides turn about, after one turn that warms up; and what each returned last."""
    clock: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])
    last: list[Any] = [None, None]
    for turn in range(repeats + 1):
        for which in (0, 1) if turn % 2 else (1, 0):
            start, used = time.perf_counter(), time.process_time()
            side = (ours, theirs)[which]
            last[which] = side()
            spent = time.perf_counter() - start, time.process_time() - used
            if turn or repeats == 1:
                elapsed, worked = (side.clock, side.cpu) if isinstance(side, Elsewhere) else spent
                clock[which].append(elapsed)
                cpu[which].append(worked)
        if repeats == 1:
            break
    median = statistics.median
    ratio, cpu_ratio = (median(a / b for a, b in zip(*both, strict=True)) for both in (clock, cpu))
    return Times(median(clock[0]), median(clock[1]), ratio, cpu_ratio), last[0], last[1]


def faster(name: str, times: Times, least: float | None, difference: float | None = None, note: str = "") -> Row:
    """A row that says how many times faster ours is."""
    ratio, target = 1 / times.ratio, "reported" if least is None else f">= {least:g}"
    met = None if least is None else ratio >= least
    return Row(name, times.ours, times.theirs, ratio, target, difference, 1 / times.cpu, met, note)


def at_most(name: str, times: Times, most: float | None, difference: float | None = None, note: str = "") -> Row:
    """A row that says what share of theirs ours takes."""
    target = "reported" if most is None else f"<= {most:.2f}"
    met = None if most is None else times.ratio <= most
    return Row(name, times.ours, times.theirs, times.ratio, target, difference, times.cpu, met, note)


# ------------------------------------------------------------------------------------------ networks, images, sides


@cache
def network(name: str) -> Any:
    from bridge.models import load

    specs = {
        "resnet50": {"kind": "torchvision", "architecture": "resnet50"},
        "vit": {"kind": "timm", "architecture": "vit_base_patch16_224"},
        "small": {"kind": "cifar-resnet"},
    }
    return load({"name": name, **specs[name]})


def ready(name: str, n: int) -> None:
    """Make the network and the images before the first turn, which counts if it is the only one."""
    _ = network(name).sites, stimuli(n)


class Jpegs:
    """Files as a stimulus set's source."""

    def __init__(self, paths: list[Path]):
        self.paths = paths

    def image(self, index: int) -> np.ndarray:
        from PIL import Image

        with Image.open(self.paths[index]) as image:
            return np.asarray(image.convert("RGB"))

    def fingerprint(self) -> str:
        return "benchmark"


@cache
def folder() -> Path:
    import atexit

    if "CAPTURE_FOLDER" in os.environ:
        return Path(os.environ["CAPTURE_FOLDER"])
    path = Path(tempfile.mkdtemp(prefix="capture-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@cache
def stimuli(n: int) -> Any:
    """n JPEG files of 500 x 375 pixels with the spectrum of natural images."""
    import pandas as pd
    from PIL import Image

    from bridge.stimuli.stimulus_set import StimulusSet

    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(375)[:, None, None], np.fft.rfftfreq(500)[None, :, None]) + 1 / 500
    paths = []
    for index in range(n):
        path = folder() / f"{index:04d}.jpg"
        paths.append(path)
        if not path.exists():
            spectrum = rng.standard_normal((375, 251, 3)) * np.exp(2j * np.pi * rng.random((375, 251, 3))) / frequency
            image = np.fft.irfft2(spectrum, (375, 500), axes=(0, 1))
            image = np.clip(128 + 48 * image / image.std(), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(path, quality=90)
    table = pd.DataFrame(index=pd.Index([path.stem for path in paths], name="stimulus_id"))
    return StimulusSet("jpegs", table, Jpegs(paths))


@cache
def prepared(name: str, n: int) -> Any:
    import torch

    backbone = network(name)
    rows = [backbone.preprocessing(stimuli(n).image(row)) for row in range(n)]
    return torch.from_numpy(np.stack(rows))


def captured(name: str, n: int, sites: Any = POST, **options: Any) -> Any:
    """Capture into a new folder, which is deleted unless `keep`."""
    from bridge.activations import capture

    keep = options.pop("keep", False)
    into = Path(tempfile.mkdtemp(dir=folder()))
    found = capture(network(name), stimuli(n), sites, into, **{"batch_size": BATCH, **options})
    if not keep:
        shutil.rmtree(into)
    return found


def bare(name: str, n: int, *, channels_last: bool = False, compute: str = "float32", device: str = "cpu") -> None:
    """Forward passes over prepared tensors that keep nothing."""
    from contextlib import nullcontext

    import torch

    module = network(name).module.to(device)
    formats = torch.channels_last if channels_last else torch.contiguous_format
    module.to(memory_format=formats)
    casting = torch.autocast(device, torch.bfloat16) if compute == "bfloat16" else nullcontext()
    with torch.inference_mode(), casting:
        for start in range(0, n, BATCH):
            inputs = prepared(name, n)[start : start + BATCH].to(device)
            module(inputs.contiguous(memory_format=formats))
    if device != "cpu":
        torch.cuda.synchronize()
    module.to("cpu", memory_format=torch.contiguous_format)


# ------------------------------------------------------------------------------------------------- the comparisons


def against_forward(setting: Setting) -> Iterator[Row]:
    """(a) All resid_post sites; 1.10x of the bare forward pass with the same batch and type."""
    n = setting.images
    forms: list[tuple[Any, str]] = [("mean", "float32"), (16, "float32"), ("all", "float16"), ("all", "float32")]
    for name, conv in (("resnet50", True), ("vit", False)):
        for tokens, dtype in [form for form in forms if not setting.quick or form[1] == "float32"]:
            if setting.forms and f"{name}-{tokens}" not in setting.forms:
                continue
            ready(name, n)
            times, _, _ = timed(
                lambda name=name, tokens=tokens, dtype=dtype: captured(name, n, tokens=tokens, dtype=dtype),
                Elsewhere("bare", name, n, channels_last=conv),
                setting.repeats,
            )
            label = f"{tokens} tokens" if tokens in ("all", "mean") else f"{tokens} patches"
            note = f"{n} images, {n / times.ours:.1f} images/s"
            yield at_most(f"(a) {name}, {label} as {dtype} / bare forward", times, 1.10, note=note)


def memory_format(setting: Setting) -> Iterator[Row]:
    """(b) channels_last against not: through capture, of the bare forward pass, and torch's default against capture."""
    n = min(setting.images, 128)
    ready("resnet50", n)
    times, a, b = timed(
        lambda: captured("resnet50", n, tokens="mean", channels_last=True, keep=True),
        lambda: captured("resnet50", n, tokens="mean", channels_last=False, keep=True),
        setting.repeats,
    )
    yield faster("(b) resnet50, not channels_last / channels_last", times, 1.5, differences(a, b), note=f"{n} images")
    sides = [Elsewhere("bare", "resnet50", n, channels_last=last) for last in (True, False)]
    times, _, _ = timed(*sides, setting.repeats)
    yield faster("(b) the same of the bare forward pass", times, None, note=f"{n} images")
    times, _, _ = timed(lambda: captured("resnet50", n, tokens="mean"), sides[1], setting.repeats)
    yield faster("(b) torch's default forward pass / capture", times, None, note=f"{n} images")
    times, a, b = timed(
        lambda: captured("resnet50", n, tokens="mean", keep=True),
        lambda: captured("resnet50", n, tokens="mean", fold_batchnorm=False, keep=True),
        setting.repeats,
    )
    yield faster("(b) BatchNorm as it is / folded", times, None, differences(a, b), note=f"{n} images")


def lower_precision(setting: Setting) -> Iterator[Row]:
    """(c) bfloat16 against float32, through capture."""
    from bridge.activations import has_bfloat16

    if not has_bfloat16("cpu"):
        yield Row("(c) bfloat16", None, None, None, "reported", note="this processor has no bfloat16")
        return
    n = min(setting.images, 128)
    for name in ("resnet50", "vit"):
        ready(name, n)
        times, a, b = timed(
            lambda name=name: captured(name, n, tokens="mean", compute="bfloat16", keep=True),
            lambda name=name: captured(name, n, tokens="mean", keep=True),
            setting.repeats,
        )
        yield faster(f"(c) {name}, float32 / bfloat16", times, None, differences(a, b), note=f"{n} images")


def pass_a_site(setting: Setting) -> Iterator[Row]:
    """(d) All sites in one pass against a pass a site (each stopping at its site)."""
    n = 32
    for name in ("resnet50", "vit"):
        ready(name, n)
        sites = [site for site in network(name).sites if site.endswith("hook_resid_post")]

        def one_by_one(name: str = name, sites: list[str] = sites) -> list[Any]:
            return [captured(name, n, site, tokens="mean", keep=True) for site in sites]

        times, a, b = timed(
            lambda name=name: captured(name, n, tokens="mean", keep=True), one_by_one, min(setting.repeats, 3)
        )
        yield faster(
            f"(d) {name}, a pass a site / one pass",
            times,
            2,
            max(differences(part, a) for part in b),
            note=f"{n} images",
        )


def early_stop(setting: Setting) -> Iterator[Row]:
    """(e) Block 6 of 12 against all 12 blocks."""
    n, site = min(setting.images, 96), "blocks.5.hook_resid_post"
    ready("vit", n)
    times, a, b = timed(
        lambda: captured("vit", n, site, tokens="mean", keep=True),
        lambda: captured("vit", n, tokens="mean", keep=True),
        setting.repeats,
    )
    yield at_most("(e) vit, capture of block 6 / capture of all 12", times, 0.60, differences(a, b), note=f"{n} images")
    times, _, _ = timed(lambda: captured("vit", n, site, tokens="mean"), Elsewhere("bare", "vit", n), setting.repeats)
    yield at_most("(e) vit, capture of block 6 / bare forward", times, 0.60, note=f"{n} images")


def other_extractors(setting: Setting) -> Iterator[Row]:
    """(f) Brain-Score's own extractor, and thingsvision where it is installed: same layers, images, preprocessing."""
    n = 64
    for name in ("resnet50", "vit"):
        backbone = network(name)
        layers = [block.module for block in backbone.blocks]
        sites = [f"blocks.{index}.hook_resid_post" for index in range(len(layers))]

        def brainscore(backbone: Any = backbone, layers: list[str] = layers) -> Any:
            from brainscore_vision.model_helpers.activations.pytorch import PytorchWrapper

            def prepare(paths: list[str]) -> np.ndarray:
                return np.stack([backbone.preprocessing(Jpegs([Path(path)]).image(0)) for path in paths])

            wrapper = PytorchWrapper(backbone.module, prepare, identifier=False, batch_size=BATCH)
            return wrapper.from_paths([str(path) for path in stimuli(n).source.paths], layers)

        def ours_read(name: str = name) -> Any:
            found = captured(name, n, tokens="all", keep=True)
            values = [found.read(site) for site in found.sites]
            shutil.rmtree(found.folder)
            return values

        times, values, assembly = timed(ours_read, brainscore, min(setting.repeats, 2))
        worst = 0.0
        for layer, site, mine in zip(layers, sites, values, strict=True):
            other = assembly.values[:, (assembly["layer"] == layer).values]
            if not backbone.sites[site].prefix:
                mine = mine.transpose(0, 2, 1)  # theirs is channel by channel
            worst = max(worst, float(np.abs(mine.reshape(n, -1) - other).max() / np.abs(other).max()))
        note = f"{n} images, all tokens, written and read back"
        yield faster(f"(f) {name}, Brain-Score's PytorchWrapper / capture", times, 1, worst, note)
    try:
        import thingsvision  # noqa: F401

        note = "installed; not measured"
    except ImportError:
        note = "not installed"
    yield Row("(f) thingsvision", None, None, None, ">= 1", note=note)


MEMORY = """
import resource, sys, tempfile, numpy as np, pandas as pd, torch
sys.path.insert(0, {root!r})
from bridge.activations import capture
from bridge.models import load
from bridge.stimuli.stimulus_set import StimulusSet
class Drawn:
    def image(self, index): return np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    def fingerprint(self): return "drawn"
table = pd.DataFrame(index=pd.Index([f"s{{i}}" for i in range({n})], name="stimulus_id"))
with tempfile.TemporaryDirectory(dir={folder!r}) as into:
    capture(load({{"kind": "cifar-resnet", "name": "small"}}), StimulusSet("drawn", table, Drawn()),
            "blocks.*.hook_resid_post", into, tokens={tokens!r}, dtype="float16")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def memory(setting: Setting) -> Iterator[Row]:
    """(g) Peak memory (MB) of a process that captures 10,000 images against one that captures 1,000."""
    tokens: Any = 16 if setting.quick else "all"
    root, peaks = str(Path(__file__).resolve().parent.parent), []
    for n in (10_000, 1_000):
        script = MEMORY.format(root=root, n=n, folder=str(folder()), tokens=tokens)
        peaks.append(float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout))
    ratio = peaks[0] / peaks[1]
    note = f"MB; ResNet-20, tokens {tokens}, float16"
    yield Row("(g) peak memory, 10,000 / 1,000 images", *peaks, ratio, "<= 1.10", met=ratio <= 1.1, note=note)


def cuda(setting: Setting) -> Iterator[Row]:
    """(h) Images a second and share of the bare forward pass on a CUDA device."""
    import torch

    if not torch.cuda.is_available():
        yield Row("(h) CUDA", None, None, None, "reported", note="no device")
        return
    n = setting.images
    for name, conv in (("resnet50", True), ("vit", False)):
        for compute in ("float32", "bfloat16"):
            options = {"device": "cuda", "compute": compute}
            times, _, _ = timed(
                lambda name=name, options=options: captured(name, n, tokens="mean", workers=8, **options),
                Elsewhere("bare", name, n, channels_last=conv, **options),
                setting.repeats,
            )
            speed = f"{n / times.ours:.0f} images/s; bare {n / times.theirs:.0f}"
            note = f"{n} images, {speed}; {torch.cuda.get_device_name()}"
            yield at_most(f"(h) {name}, {compute}, capture / bare forward", times, None, note=note)


def reading(setting: Setting) -> Iterator[Row]:
    """(i) Images made ahead by threads against in line; shuffled tokens against rows copied one by one."""
    import torch

    from bridge.readers import shuffled_tokens

    n = min(setting.images, 128)
    options = {"tokens": "mean", "compute": "bfloat16", "keep": True}
    times, a, b = timed(
        lambda: captured("resnet50", n, workers=2, **options),
        lambda: captured("resnet50", n, workers=0, **options),
        setting.repeats,
    )
    yield faster("(i) resnet50 bfloat16, images in line / by 2 threads", times, None, differences(a, b), f"{n} images")

    found = captured("vit", 64, "blocks.0.hook_resid_post", keep=True)
    (site,) = found.sites
    found.read(site)  # every shard is checked once
    pieces = [found.shard(number, site).values(site) for number in range(len(found.manifest["shards"]))]
    stored = found.shape(site)[1]
    per_shard = len(pieces[0])

    def shuffled() -> int:
        return sum(len(batch[site]) for batch in shuffled_tokens(found, site, batch=4096, seed=0))

    def copied() -> int:
        order = np.random.default_rng(0).permutation(len(found) * stored)
        for start in range(0, len(order), 4096):
            batch = torch.empty(min(4096, len(order) - start), 768)
            for row, source in enumerate(order[start : start + 4096]):
                stimulus, token = divmod(source, stored)
                piece, within = divmod(stimulus, per_shard)
                batch[row] = torch.from_numpy(np.array(pieces[piece][within, token]))
        return len(order)

    times, tokens, _ = timed(shuffled, copied, setting.repeats)
    note = f"64 images, {tokens / times.ours:.0f} tokens/s of width 768"
    yield faster("(i) shuffled tokens, row by row / reservoir", times, None, note=note)


def differences(a: Any, b: Any) -> float:
    """The largest difference at the sites of `a`, relative to the largest value there."""
    worst = 0.0
    for site in a.sites:
        mine, other = a.read(site), b.read(site)
        worst = max(worst, float(np.abs(mine - other).max() / np.abs(other).max()))
    return worst


PARTS = {
    "forward": against_forward,
    "channels_last": memory_format,
    "bfloat16": lower_precision,
    "passes": pass_a_site,
    "stop": early_stop,
    "extractors": other_extractors,
    "memory": memory,
    "cuda": cuda,
    "reading": reading,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="64 images instead of 128, fewer forms")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--images", type=int, help="another number of images (512: hours, on two cores)")
    parser.add_argument("--forms", nargs="+", help="of `forward`: some of its forms, as NETWORK-TOKENS")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="some of the comparisons")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side")
    given = parser.parse_args()
    images = given.images or (64 if given.quick else 128)
    setting = Setting(images, given.repeats, given.quick, given.forms)

    import torch

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {setting.images} images, batch {BATCH}")
    print(f"{'':58} {'ours':>8} {'theirs':>8} {'ratio':>7} {'by CPU':>7}  {'target':8} {'difference':>10}")
    rows: list[Row] = []
    for name in given.only or PARTS:
        for row in PARTS[name](setting):
            rows.append(row)
            numbers = ["" if value is None else f"{value:.2f}" for value in (row.ours, row.theirs, row.ratio, row.cpu)]
            difference = "" if row.difference is None else f"{row.difference:.1e}"
            verdict = {None: "", True: "met", False: "NOT MET"}[row.met]
            print(
                f"{row.name:58} {numbers[0]:>8} {numbers[1]:>8} {numbers[2]:>7} {numbers[3]:>7}  {row.target:8} "
                f"{difference:>10} {verdict} {row.note}",
                flush=True,
            )
            if given.json:
                given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
