"""Training and applying sparse autoencoders, against SAELens and against the encoder's matrix product.

    python benchmarks/sae_training.py [--quick] [--json FILE] [--only NAME ...] [--steps N]

Both sides train TopK dictionaries (8,192 latents, k = 32) on the same batches in this run, one side after the other,
with AuxK and the tracking of dead latents on; none is dead after so few steps, so the auxiliary loss itself costs
neither side. What is printed is the median time of a step, the ratio theirs / ours, and, as the difference, how far
ours is from theirs in the share of variance left unexplained on other tokens after the same number of steps, relative
to theirs (below 0: ours explains more); neither has converged by then. "Limit" is the encoder's matrix product alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
warnings.filterwarnings("ignore")

LATENTS, K, POOL = 8192, 32, 2**16


@dataclass
class Row:
    """One comparison: times in ms a step and theirs / ours, unless the name says otherwise."""

    name: str
    ours: float | None
    theirs: float | None
    ratio: float | None
    target: str
    difference: float | None = None
    met: bool | None = None
    note: str = ""


@dataclass
class Setting:
    steps: int
    quick: bool
    device: str


@cache
def tokens(d: int) -> torch.Tensor:
    """POOL tokens and some more that are not trained on: sums of few of 4,096 directions, noise and a mean."""
    n, draw = POOL + 4096, torch.Generator().manual_seed(0)
    directions = torch.randn(4096, d, generator=draw)
    directions /= directions.norm(dim=1, keepdim=True)
    frequency = 1 / torch.arange(1, 4097).float()
    chosen = torch.multinomial(frequency, n * 24, replacement=True, generator=draw).view(n, 24)
    weights = torch.rand(n, 24, generator=draw) + 0.5
    x = torch.nn.functional.embedding_bag(chosen, directions, mode="sum", per_sample_weights=weights)
    return x + 0.1 * torch.randn(n, d, generator=draw) / d**0.5 + torch.randn(d, generator=draw)


def batches(d: int, batch: int, steps: int) -> list[torch.Tensor]:
    """The batches of a run; tokens are used again where they run out."""
    pool = tokens(d)[:POOL]
    draw = torch.Generator().manual_seed(1)
    order = torch.cat([torch.randperm(len(pool), generator=draw) for _ in range(-(-steps * batch // len(pool)))])
    return [pool[part] for part in order.split(batch)[:steps]]


def held_out(d: int) -> torch.Tensor:
    return tokens(d)[POOL:]


def unexplained(reconstruct: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> float:
    """Squared error as a share of the variance about the mean vector."""
    with torch.no_grad():
        error = torch.cat([part - reconstruct(part).cpu() for part in x.split(1024)])
    return float(error.double().square().sum() / (x - x.mean(0)).double().square().sum())


# ------------------------------------------------------------------------------------------------------ both sides


def ours(d: int, batch: int, data: list[torch.Tensor], precision: str, device: str) -> tuple[list[float], float]:
    """Seconds of each step, and the unexplained share."""
    from saes.settings import Training
    from saes.trainee import Trainee

    settings: Any = {"architecture": {"kind": "topk", "latents": LATENTS, "k": K}, "batch": batch, "decay": 0}
    training = Training(**settings, precision=precision, lr=LR, warm_up=0)
    sample = tokens(d)[:8192]
    trainee = Trainee("ours", training, sample, None, dead_after=10_000_000, steps=len(data), device=device)
    seconds = []
    for x in data:
        start = time.perf_counter()
        outcome = trainee.step(x)
        float(outcome.share)  # the progress that a training reports
        seconds.append(time.perf_counter() - start)
    return seconds, unexplained(trainee.finished({}), held_out(d))


LR = 3e-4


def saelens(d: int, batch: int, data: list[torch.Tensor], device: str) -> tuple[list[float], float]:
    """The same by SAELens's trainer, at its defaults."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(0)
    pool = tokens(d)[:8192]
    mean = pool.mean(0)
    scale = (pool - mean).square().sum(1).mean().sqrt() / d**0.5  # activations of norm sqrt(d), as SAELens has them
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d, d_sae=LATENTS, k=K, device=device))
    config = SAETrainerConfig(
        n_checkpoints=0,
        checkpoint_path=None,
        save_final_checkpoint=False,
        total_training_samples=len(data) * batch,
        device=device,
        autocast=False,
        lr=LR,
        lr_end=LR,
        lr_scheduler_name="constant",
        lr_warm_up_steps=0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        lr_decay_steps=0,
        n_restart_cycles=1,
        train_batch_size_samples=batch,
        dead_feature_window=1000,
        feature_sampling_window=2000,
        logger=LoggingConfig(log_to_wandb=False),
    )
    stamps = []

    def provider() -> Iterator[torch.Tensor]:
        for x in data:
            stamps.append(time.perf_counter())
            yield ((x - mean) / scale).to(device)
        while True:
            yield ((data[-1] - mean) / scale).to(device)

    trainer = SAETrainer(cfg=config, sae=sae, data_provider=provider(), save_checkpoint_fn=None)
    trained = trainer.fit()
    stamps.append(time.perf_counter())
    seconds = [later - sooner for sooner, later in pairwise(stamps)]
    return seconds, unexplained(
        lambda x: trained.decode(trained.encode(((x - mean) / scale).to(device))).cpu() * scale + mean, held_out(d)
    )


def product(d: int, batch: int, precision: str, device: str) -> float:
    """Seconds of the encoder's matrix product, the least of several: batch x d by d x latents, and the bias."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    x, weight = (torch.randn(*shape, device=device).to(kind) for shape in ((batch, d), (LATENTS, d)))
    bias = torch.zeros(LATENTS, dtype=kind, device=device)
    out = torch.empty(batch, LATENTS, dtype=kind, device=device)
    found = []
    for _ in range(7):
        start = time.perf_counter()
        torch.addmm(bias, x, weight.t(), out=out)
        if device != "cpu":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found)


# ----------------------------------------------------------------------------------------------------- comparisons


def precisions(device: str) -> list[str]:
    from bridge.activations import has_bfloat16

    return ["fp32", "bf16"] if has_bfloat16(device) else ["fp32"]


def steps(setting: Setting) -> list[Row]:
    """(a) A training step against SAELens's, and against the product alone."""
    rows = []
    forms = [(512, 4096), (512, 1024), (768, 4096), (768, 1024)]
    for d, batch in forms[:2] if setting.quick else forms:
        data = batches(d, batch, setting.steps)
        theirs, their_error = saelens(d, batch, data, setting.device)
        for precision in precisions(setting.device):
            before = product(d, batch, precision, setting.device)
            mine, error = ours(d, batch, data, precision, setting.device)
            limit = min(before, product(d, batch, precision, setting.device))
            a, b = statistics.median(mine), statistics.median(theirs)
            least = 4 if precision == "fp32" else 8
            difference = error / their_error - 1
            note = f"{batch / a:,.0f} tokens/s; unexplained {error:.4f} / {their_error:.4f} after {len(data)} steps"
            name = f"(a) d {d}, batch {batch}, {precision}: SAELens / ours, ms a step"
            met = b / a >= least and difference <= 0.005
            rows.append(Row(name, a * 1e3, b * 1e3, b / a, f">= {least}", difference, met, note))
            share, least_share = limit / a, 0.65 if precision == "fp32" else 0.5
            name = f"(b) d {d}, batch {batch}, {precision}: share of the product's limit"
            rows.append(Row(name, a * 1e3, limit * 1e3, share, f">= {least_share}", None, share >= least_share))
    if "bf16" not in precisions(setting.device):
        rows.append(Row("(a) bf16", None, None, None, ">= 8", note="this processor has no bfloat16 instructions"))
    return rows


def encoding(setting: Setting) -> list[Row]:
    """(c) Encoding: share of the product's limit, and against SAELens's encode."""
    from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig

    from saes.sae import SAEConfig, SparseAutoencoder

    rows = []
    for d in (512,) if setting.quick else (512, 768):
        x = tokens(d)[:4096].to(setting.device)
        theirs = TopKSAE(TopKSAEConfig(d_in=d, d_sae=LATENTS, k=K, device=setting.device))
        mine = SparseAutoencoder(
            SAEConfig(architecture="topk", d_in=d, d_sae=LATENTS, k=K), dict(theirs.named_parameters())
        )
        limit = product(d, 4096, "fp32", setting.device)
        times: tuple[list[float], list[float]] = ([], [])
        with torch.no_grad():
            for _ in range(5):
                for side, call in enumerate((mine.encode_sparse, theirs.encode)):
                    start = time.perf_counter()
                    codes: Any = call(x)
                    if setting.device != "cpu":
                        torch.cuda.synchronize()
                    times[side].append(time.perf_counter() - start)
            difference = float((mine.encode_sparse(x).dense() - codes).abs().max())
        limit = min(limit, product(d, 4096, "fp32", setting.device))
        a, b = (statistics.median(side) for side in times)
        rows.append(Row(f"(c) encoding, d {d}: SAELens / ours, ms", a * 1e3, b * 1e3, b / a, "reported", difference))
        share = limit / a
        rows.append(
            Row(f"(c) encoding, d {d}: share of the limit", a * 1e3, limit * 1e3, share, ">= 0.85", None, share >= 0.85)
        )
    return rows


MEMORY = """
import sys, torch
sys.path.insert(0, {root!r})
from saes.settings import Training
from saes.trainee import Trainee
import saes.auxk
def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))
sizes = {sizes!r}
def made(d, batch, latents):
    training = Training(architecture=dict(kind="topk", latents=latents, k=32), batch=batch)
    sample = torch.randn(2048, d)
    return Trainee("t", training, sample, None, dead_after=10**9, steps=100)
small = made(16, 64, 256)
for _ in range(3): small.step(torch.randn(64, 16))
before = status("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts anew
d, batch, latents = sizes
trainee = made(d, batch, latents)
for _ in range(3): trainee.step(torch.randn(batch, d), in_place=True)
print(status("VmHWM") - before)
"""


def memory(setting: Setting) -> list[Row]:
    """(d) Peak memory (MB) of training, beyond what the libraries take, against tensors, Adam's moments and a batch."""
    if not Path("/proc/self/clear_refs").exists():
        return [Row("(d) peak memory", None, None, None, "<= 1.3", note="measured on Linux only")]
    rows: list[Row] = []
    root = str(Path(__file__).resolve().parent.parent)
    for d, batch in ((512, 4096), (768, 4096)):
        script = MEMORY.format(root=root, sizes=(d, batch, LATENTS))
        # Freed blocks go back to the system at once, so that the peak is of what is in use.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
        ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, env=environment)
        peak = float(ran.stdout)
        counted = (3 * (2 * LATENTS * d + LATENTS + d) + batch * d) * 4 / 2**20
        ratio = peak / counted
        name = f"(d) d {d}, batch {batch}: peak MB / tensors, moments and one batch"
        rows.append(Row(name, peak, counted, ratio, "<= 1.3", None, ratio <= 1.3))
    return rows


def from_disk(setting: Setting) -> list[Row]:
    """(e) Training from captured shards against training from memory, the same tokens."""
    import numpy as np
    import pandas as pd

    from bridge.activations import capture
    from bridge.models import load
    from bridge.stimuli.stimulus_set import StimulusSet
    from saes.settings import Training
    from saes.sources import ArrayTokens, ShardTokens
    from saes.training import Job, train

    class Drawn:
        def image(self, index: int) -> Any:
            return np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)

        def fingerprint(self) -> str:
            return "drawn"

    rows = []
    n, site = (512 if setting.quick else 2048), "blocks.5.hook_resid_post"
    table = pd.DataFrame(index=pd.Index([f"s{i}" for i in range(n)], name="stimulus_id"))
    with tempfile.TemporaryDirectory() as folder:
        network = load({"kind": "cifar-resnet", "name": "small"})
        found = capture(network, StimulusSet("drawn", table, Drawn()), site, Path(folder) / "a")
        training = Training.model_validate(
            {"architecture": {"kind": "topk", "expansion": 16, "k": 8}, "epochs": 1, "batch": 4096}
        )
        shards = ShardTokens(found, [site])
        arrays = ArrayTokens({site: torch.from_numpy(found.read(site)).flatten(0, 1)})
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(3):
            for side, source in enumerate((shards, arrays)):
                start = time.perf_counter()
                train([Job("t", (site,), training)], source)
                times[side].append(time.perf_counter() - start)
    a, b = (statistics.median(side) for side in times)
    note = f"{shards.tokens / a:,.0f} tokens/s, d {shards.widths[site]}"
    rows.append(Row("(e) training from disk / from memory, s", a, b, a / b, "<= 1.1", None, a / b <= 1.1, note))
    return rows


PARTS: dict[str, Callable[[Setting], list[Row]]] = {
    "steps": steps,
    "encoding": encoding,
    "memory": memory,
    "disk": from_disk,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer forms and steps")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="some of the comparisons")
    parser.add_argument("--steps", type=int, help="training steps of each side (default 40, quick 8)")
    given = parser.parse_args()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {LATENTS} latents, k {K}")
    print(f"{'':62} {'ours':>9} {'theirs':>9} {'ratio':>7}  {'target':8} {'difference':>10}")
    rows: list[Row] = []
    for device in devices:
        setting = Setting(given.steps or (8 if given.quick else 40), given.quick, device)
        for name in given.only or PARTS:
            if device != "cpu" and name in ("memory", "disk"):
                continue
            for row in PARTS[name](setting):
                if device != "cpu":
                    row.name += f" ({torch.cuda.get_device_name()})"
                rows.append(row)
                numbers = ["" if value is None else f"{value:.2f}" for value in (row.ours, row.theirs, row.ratio)]
                difference = "" if row.difference is None else f"{row.difference:+.1e}"
                verdict = {None: "", True: "met", False: "NOT MET"}[row.met]
                print(
                    f"{row.name:62} {numbers[0]:>9} {numbers[1]:>9} {numbers[2]:>7}  {row.target:8} {difference:>10} "
                    f"{verdict} {row.note}",
                    flush=True,
                )
            if given.json:
                given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
