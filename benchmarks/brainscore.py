"""A benchmark of Brain-Score's over all sites of a ResNet-50-sized stream, beside its own classes at one site.

    python benchmarks/brainscore.py [--quick] [--json FILE] [--only TEXT ...]

Activations are synthetic and lie on disk, one file a site. Ours is the whole run: features read, checked and scored at
all sites on all ten splits, ceiling included. Theirs takes minutes a site: `LayerScores` is timed at one site, on two
of its ten splits (of one alone its classes stop), and scaled to ten, its ceiling apart (the row says so). `cpu` is the
ratio of CPU seconds, which says more where others use the machine, too. Both sides run one after the other in a process
of its own, whose largest memory is the second row. `difference` is the largest one of a neuroid's r on the splits that
both computed (scikit-learn predicts in float32 for features in float32).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.rsa import Row, timed

SPLITS, TIMED, LIMIT = 10, 2, 8.0
SIZES = {"full": (3200, 8192, 168, 17), "quick": (800, 2048, 60, 5)}
"""Stimuli, features, neuroids, sites: those of `MajajHong2015public.IT-pls`, and a ResNet-50's stem and 16 blocks."""


def recordings(n: int, q: int, shared: np.ndarray) -> Any:
    """Four repetitions of neuroids that depend on what the features share."""
    import pandas as pd

    from bridge.recordings.recordings import Recordings
    from bridge.stimuli.stimulus_set import StimulusSet

    rng = np.random.default_rng(1)
    signal = shared @ rng.standard_normal((shared.shape[1], q))
    data = (signal + 12 * rng.standard_normal((4, n, q))).astype(np.float32)
    ids = tuple(f"s{row:05d}" for row in range(n))
    table = pd.DataFrame({"object_name": [f"o{row % 8}" for row in range(n)]}, index=pd.Index(ids, name="stimulus_id"))
    neuroids = pd.DataFrame({"neuroid_id": [f"n{k:04d}" for k in range(q)], "region": "IT", "subject": "synthetic"})
    return Recordings("synthetic", data, ids, neuroids, simulated=True), StimulusSet("synthetic", table, None)


def written(folder: Path, n: int, p: int, sites: int, shared: np.ndarray) -> list[str]:
    """Features float32 [n, p] of each site, in files of their own; the sites' names."""
    names = ["blocks.0.hook_resid_pre", *(f"blocks.{block}.hook_resid_post" for block in range(sites - 1))]
    for number, name in enumerate(names):
        rng = np.random.default_rng(100 + number)
        features = (shared @ rng.standard_normal((shared.shape[1], p))).astype(np.float32)
        features += 6 * rng.standard_normal((n, p), dtype=np.float32)
        np.save(folder / f"{name}.npy", features)
    return names


def child(size: str, folder: Path) -> None:
    """Both sides; what they took as JSON on standard output."""
    import os

    os.environ["RESULTCACHING_DISABLE"] = "1"
    n, p, q, sites = SIZES[size]
    shared = np.random.default_rng(0).standard_normal((n, 60))
    names = written(folder, n, p, sites, shared)

    from bridge.streams import Site
    from comparisons.brainscore.benchmarks import own
    from comparisons.brainscore.features import SiteActivations
    from comparisons.brainscore.memory import demand
    from comparisons.brainscore.scoring import SitesScored
    from comparisons.brainscore.theirs import layer_score

    (ready,) = own([recordings(n, q, shared)[0]], recordings(n, q, shared)[1], None, ["pls"], "object_name")

    def read(site: str, keys: Any) -> np.ndarray:
        rows = [int(key.rpartition("/s")[2]) for key in keys]
        return np.load(folder / f"{site}.npy", mmap_mode="r")[rows]

    known = {name: Site(name, "resid_post", 0, 0, 0.0, p, 1, None, 0, "") for name in names}
    work = SitesScored(
        [ready],
        known,
        read,
        "synthetic",
        {"model": "synthetic", "role": "trained", "artefacts": [], "predicted_gib": 0.0},
    )
    ours = timed(lambda: work.run("none", "stop", lambda share, text="": None), 1)
    print(f"ours: {sites} sites in {ours.clock:.1f} s ({ours.cpu:.1f} s of CPU)", file=sys.stderr)
    fast = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    import brainscore_vision

    benchmark = ready.benchmark
    kwargs = {"stratification_coord": "object_name", "splits": TIMED}
    benchmark._similarity_metric = brainscore_vision.load_metric("pls", crossvalidation_kwargs=kwargs)
    value = brainscore_vision.Score(ready.fast_ceiling)
    benchmark._ceiling_func = lambda: value
    theirs = timed(lambda: layer_score(benchmark, SiteActivations("synthetic", read), names[-1]), 1)
    score = theirs.value
    assert ready.known is not None
    from comparisons.encoding import predictivity

    mine = predictivity(read(names[-1], ready.known.keys), ready.known.responses, splits=ready.known.splits[:TIMED])
    assert score.per_neuroid is not None
    print(
        json.dumps(
            {
                "ours": ours.clock,
                "theirs": theirs.clock * SPLITS / TIMED,
                "cpu": (theirs.cpu * SPLITS / TIMED) / (ours.cpu / sites),
                "difference": float(np.abs(mine.r - score.per_neuroid).max()),
                "fast": fast,
                "both": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                "predicted": demand(n, ["pls"], True).bytes(p) / 2**30,
                "scores": [record["fast_r"] for record in work.records],
            }
        )
    )


def rows(size: str) -> list[Row]:
    n, p, q, sites = SIZES[size]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--child", size, folder]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = json.loads(out.strip().splitlines()[-1])
    each = found["ours"] / sites
    ratio = found["theirs"] / each
    note = (
        f"ours: {sites} sites in {found['ours']:.1f} s, checks and ceiling included; theirs: {TIMED} of {SPLITS} "
        "splits timed, scaled, ceiling apart"
    )
    at_least = 20 if size == "quick" else 50
    met = ratio >= at_least and found["difference"] < 1e-4
    what = f"{n} x {p} x {q}, pls"
    told = f"theirs: its classes at one site; predicted above the process: {found['predicted']:.1f} GiB"
    return [
        Row(f"one site of {sites}, {what}", each, found["theirs"], ratio, found["difference"],
            f">= {at_least}x, < 1e-04", met, note, found["cpu"]),
        Row(f"largest memory (GiB), {sites} sites, {what}", found["fast"], found["both"], None, None,
            f"< {LIMIT:g} GiB", max(found["fast"], found["both"]) < LIMIT,
            told),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller run, with a lower target")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose name holds one of these")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]))
        return
    done = [row for row in rows("quick" if given.quick else "full") if any(text in row.name for text in given.only)]
    for row in done:
        ratio = "-" if row.ratio is None else f"{row.ratio:.0f}x (cpu {row.cpu:.0f}x)"
        difference = "-" if row.difference is None else f"{row.difference:.1e}"
        print(
            f"{row.name:52} ours {row.ours:.3g}  theirs {row.theirs:.3g}  {ratio}  difference {difference}  "
            f"({row.target}: {'met' if row.met else 'MISSED'}) {row.note}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in done], indent=1))


if __name__ == "__main__":
    main()
