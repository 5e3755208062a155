"""RDMs and RSA inference against rsatoolbox: both sides in one run, on the same numbers and the same draws.

    python benchmarks/rsa.py [--quick] [--json FILE] [--only TEXT ...] [--repeats N]

Times are medians over repeats; `cpu` is the ratio of CPU seconds, which says more where others use the machine, too.
Where rsatoolbox would take minutes, it is timed on a few of the draws and its time is scaled to all of them; the row
says so. `difference` is the largest one over everything that both sides computed (evaluations and noise ceilings of
every shared draw, or dissimilarities). Both sides use the same threads.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MODELS, SUBJECTS, DRAWS = 5, 15, 1000


@dataclass
class Row:
    """Seconds of both sides, theirs over ours by the clock and by CPU seconds, and the largest difference."""

    name: str
    ours: float
    theirs: float | None
    ratio: float | None
    difference: float | None
    target: str
    met: bool | None
    note: str = ""
    cpu: float | None = None


@dataclass
class Timed:
    """Median seconds of a call by the clock and of CPU, and what it returned last."""

    clock: float
    cpu: float
    value: Any


def timed(call: Callable[[], Any], repeats: int) -> Timed:
    clock, cpu = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        value = call()
        clock.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return Timed(statistics.median(clock), statistics.median(cpu), value)


def compared(
    name: str,
    ours: Timed,
    theirs: Timed,
    scale: float,
    difference: float,
    at_least: float,
    below: float,
    note: str = "",
) -> Row:
    """The row of both sides, where theirs stands for `scale` times as much work as was timed."""
    if scale != 1:
        note = f"theirs: {DRAWS / scale:g} draws timed, scaled to {DRAWS}{note}"
    ratio = theirs.clock * scale / ours.clock
    return Row(
        name,
        ours.clock,
        theirs.clock * scale,
        ratio,
        difference,
        f">= {at_least:g}x, < {below:g}",
        ratio >= at_least and difference < below,
        note,
        theirs.cpu * scale / ours.cpu,
    )


def rdms(n: int, subjects: int = SUBJECTS) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shared = rng.random(n * (n - 1) // 2)
    region = shared + rng.random((subjects, shared.size))
    return 0.5 * shared + rng.random((MODELS, shared.size)), region


def rsatoolbox_dual(models: np.ndarray, region: np.ndarray, measure: str, draws: Any) -> Any:
    """Its dual bootstrap on given draws, without its progress bar and warnings."""
    import rsatoolbox.inference.evaluate as module
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    at = iter(range(len(draws)))

    def sample(data: Any, **_: Any) -> Any:
        row = next(at)
        subjects, stimuli = draws.subjects[row], draws.stimuli[row]
        return data.subsample("index", subjects).subsample_pattern("index", stimuli), subjects, stimuli

    def sample_stimuli(data: Any, *_: Any) -> Any:
        stimuli = draws.stimuli[next(at)]
        return data.subsample_pattern("index", stimuli), stimuli

    class Silent:
        trange = staticmethod(range)

    module.tqdm, module.bootstrap_sample, module.bootstrap_sample_pattern = Silent, sample, sample_stimuli
    fixed = [ModelFixed(str(index), rdm) for index, rdm in enumerate(models)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if draws.subjects is None:
            return module.eval_bootstrap_pattern(
                fixed, RDMs(region), method=measure, N=len(draws), boot_noise_ceil=False
            )
        return module.eval_dual_bootstrap(fixed, RDMs(region), method=measure, N=len(draws))


def dual(measure: str, n: int, theirs_draws: int, at_least: float, tolerance: float, repeats: int) -> Row:
    """One dual bootstrap with ceilings: 5 models, 15 subjects, 1,000 draws."""
    from comparisons.rsa import evaluate
    from comparisons.rsa.bootstrap import Draws

    models, region = rdms(n)
    draws = Draws.make("dual", DRAWS, n, SUBJECTS, seed=0)
    few = Draws(draws.stimuli[:theirs_draws], draws.subjects[:theirs_draws])
    evaluate(models, region, measure=measure, draws=2)
    ours = timed(lambda: evaluate(models, region, measure=measure, replay=draws), repeats)
    theirs = timed(lambda: rsatoolbox_dual(models, region, measure, few), 1)
    found, oracle = ours.value.resampled, theirs.value
    here = found.evaluations[:, :theirs_draws], found.ceilings[:, :theirs_draws]
    there = oracle.evaluations[:, :, 0, 0].transpose(2, 0, 1), oracle.noise_ceiling[:, :, 0].transpose(2, 1, 0)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(here, there, strict=True))
    name = f"dual bootstrap, {measure}, {n} stimuli"
    return compared(name, ours, theirs, DRAWS / theirs_draws, difference, at_least, tolerance)


def whitened_alone(repeats: int) -> Row:
    from comparisons.rsa import evaluate

    models, region = rdms(500)
    ours = timed(lambda: evaluate(models, region, measure="corr_cov", draws=DRAWS), repeats).clock
    note = "theirs raises here"
    return Row("dual bootstrap, corr_cov, 500 stimuli", ours, None, None, None, "< 10 s", ours < 10, note)


def tau(theirs_draws: int, repeats: int) -> Row:
    from comparisons.rsa import evaluate
    from comparisons.rsa.bootstrap import Draws

    models, region = rdms(92)
    draws = Draws.make("stimuli", DRAWS, 92, SUBJECTS, seed=0)
    few = Draws(draws.stimuli[:theirs_draws], None)
    evaluate(models, region, measure="tau-a", draws=2)
    ours = timed(lambda: evaluate(models, region, measure="tau-a", replay=draws), repeats)
    theirs = timed(lambda: rsatoolbox_dual(models, region, "tau-a", few), 1)
    difference = float(np.abs(ours.value.resampled.evaluations[0, :theirs_draws] - theirs.value.evaluations).max())
    name, note = "stimulus bootstrap, tau-a, 92 stimuli", "; no ceilings on either side"
    return compared(name, ours, theirs, DRAWS / theirs_draws, difference, 5, 1e-12, note)


def correlation(n: int, features: int, repeats: int) -> Row:
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    from comparisons.rdms import correlation_rdm

    patterns = np.random.default_rng(0).standard_normal((n, features))
    ours = timed(lambda: correlation_rdm(patterns), repeats)
    theirs = timed(lambda: calc_rdm(Dataset(patterns), method="correlation").dissimilarities[0], 1)
    difference = float(np.abs(ours.value - theirs.value).max())
    return compared(f"correlation RDM, {n} x {features}", ours, theirs, 1, difference, 15, 1e-10)


def crossnobis(repeats: int) -> Row:
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    from comparisons.crossvalidated_rdms import crossnobis_rdm

    n, features, folds = 500, 2048, 4
    repetitions = np.random.default_rng(0).standard_normal((folds, n, features))
    data = Dataset(
        repetitions.reshape(-1, features),
        obs_descriptors={"stimulus": np.tile(np.arange(n), folds), "fold": np.repeat(np.arange(folds), n)},
    )
    ours = timed(lambda: crossnobis_rdm(repetitions), repeats)
    theirs = timed(
        lambda: calc_rdm(data, method="crossnobis", descriptor="stimulus", cv_descriptor="fold").dissimilarities[0],
        repeats,
    )
    difference = float(np.abs(ours.value - theirs.value).max())
    return compared(f"crossnobis, {n} x {features}, {folds} folds", ours, theirs, 1, difference, 5, 1e-10)


def memory() -> Row:
    """1,000 draws of a 10,000-stimulus comparison in a process of its own, whose largest memory is read at the end."""
    code = """
import resource, sys, time
import numpy as np
sys.path.insert(0, sys.argv[1])
from comparisons.rsa import evaluate
rng = np.random.default_rng(0)
rdms = rng.random((2, 10_000 * 9_999 // 2))
start = time.perf_counter()
evaluate(rdms[:1], rdms[1:], measure="corr", draws=1000)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
    root = str(Path(__file__).resolve().parent.parent)
    out = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=True).stdout
    seconds, gigabytes = (float(value) for value in out.split())
    note = f"largest memory {gigabytes:.1f} GiB"
    return Row("1,000 draws, corr, 10,000 stimuli", seconds, None, None, None, "< 8 GiB", gigabytes < 8, note)


def rows(quick: bool, repeats: int) -> dict[str, Callable[[], Row]]:
    few = 2 if quick else 10
    found: dict[str, Callable[[], Row]] = {
        "corr 92": lambda: dual("corr", 92, 20 if quick else 200, 300, 1e-9, repeats),
        "corr 500": lambda: dual("corr", 500, few, 100, 1e-9, repeats),
        "spearman 92": lambda: dual("spearman", 92, few, 50, 1e-12, repeats),
        "rho-a 92": lambda: dual("rho-a", 92, few, 50, 1e-12, repeats),
        "corr_cov 92": lambda: dual("corr_cov", 92, 1 if quick else 3, 2000, 1e-9, repeats),
        "corr_cov 500": lambda: whitened_alone(1),
        "tau-a 92": lambda: tau(few, 1),
        "correlation RDM 2000": lambda: correlation(2000, 2048, repeats),
        "crossnobis": lambda: crossnobis(repeats),
    }
    if not quick:
        found["correlation RDM 3200"] = lambda: correlation(3200, 10_000, 1)
        found["memory"] = memory
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few draws of rsatoolbox, and no large row")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose name holds one of these")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    import rsatoolbox.inference
    import rsatoolbox.rdm  # noqa: F401  (so that no import is timed)

    done = []
    for name, row in rows(given.quick, given.repeats).items():
        if not any(text in name for text in given.only):
            continue
        result = row()
        done.append(result)
        theirs = "-" if result.theirs is None else f"{result.theirs:.3g} s"
        ratio = "-" if result.ratio is None else f"{result.ratio:.0f}x (cpu {result.cpu:.0f}x)"
        difference = "-" if result.difference is None else f"{result.difference:.1e}"
        print(
            f"{result.name:40} ours {result.ours:.3g} s  theirs {theirs}  {ratio}  difference {difference}  "
            f"({result.target}: {'met' if result.met else 'MISSED'}) {result.note}",
            flush=True,
        )
    print(f"largest memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in done], indent=1))


if __name__ == "__main__":
    main()
