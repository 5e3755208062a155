"""The probes' speed: tuning, Gabor fits, simplicity against scikit-learn, TwoNN against scikit-dimension.

    python benchmarks/probes.py [--quick] [--json FILE] [--only TEXT ...]

Where a library does the same, both sides run in this process, on the same numbers and threads; `difference` is the
largest one of what both computed. Tuning and Gabor fits have no counterpart: their rows hold a time or a rate against
its target (`theirs` and `ratio` stay empty), and `difference` is how far planted parameters were missed (degrees of
orientation, median).
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.rsa import Row, timed


def turned(one: np.ndarray, other: np.ndarray) -> float:
    """Median difference of orientations, degrees."""
    return float(np.median(np.abs((one - other + 90) % 180 - 90)))


def tuning(features: int, at_most: float) -> Row:
    """The whole analysis of simple and complex cells in noise: 720 gratings, 2,000 permutations a test."""
    from probes.tuning.analysis import analyse_tuning

    rng = np.random.default_rng(0)
    axes = np.arange(0, 180, 15.0), np.array([2.0, 3, 5, 8, 13]), np.arange(0, 360, 30.0)
    orientation, frequency, phase = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    mu, peak, shift = rng.uniform(0, 180, features), rng.choice(axes[1][1:4], features), rng.uniform(0, 360, features)
    bend = np.cos(2 * np.deg2rad(orientation[:, None] - mu)) - 1
    responses = np.exp(rng.uniform(0.5, 4, features) * bend - np.log2(frequency[:, None] / peak) ** 2)
    drift = np.maximum(np.cos(np.deg2rad(phase[:, None] - shift)), 0)
    responses *= np.where(rng.random(features) < 0.5, drift, 1)
    responses = (responses + 0.05 * rng.standard_normal(responses.shape)).astype(np.float32)
    ours = timed(lambda: analyse_tuning(responses, orientation, frequency, phase), 1)
    name = f"tuning, {features} features x 720 gratings, seconds"
    missed = turned(ours.value.orientation, mu)
    return Row(name, ours.clock, None, None, missed, f"< {at_most:g} s", ours.clock < at_most)


def gabors(features: int, size: int, at_least: float) -> Row:
    """Gabor fits of planted fields in noise of half their standard deviation."""
    from probes.gabor import GaborFit, fit_gabor

    rng = np.random.default_rng(0)
    frequency = rng.uniform(1.5, 5, features)
    true = GaborFit(
        x=rng.uniform(-0.2, 0.2, features),
        y=rng.uniform(-0.2, 0.2, features),
        orientation=rng.uniform(0, 180, features),
        frequency=frequency,
        sigma_across=rng.uniform(0.3, 0.6, features) / frequency,
        sigma_along=rng.uniform(0.4, 0.9, features) / frequency,
        phase=rng.uniform(0, 360, features),
        amplitude=np.ones(features),
        r2=np.ones(features),
        held_out=np.ones(features),
    )
    maps = true.drawn(size)
    maps += 0.5 * maps.std(axis=(1, 2), keepdims=True) * rng.standard_normal(maps.shape)
    ours = timed(lambda: fit_gabor(maps), 1)
    rate = features / ours.clock
    name = f"Gabor fits of {size} x {size} maps, features a second"
    missed = turned(ours.value.orientation, true.orientation)
    return Row(name, rate, None, None, missed, f">= {at_least:g} a second", rate >= at_least)


def simplicity(n: int, p: int, features: int, at_least: float) -> Row:
    """Ten penalties, each feature's own by leave-one-out; the largest difference in R2."""
    from sklearn.linear_model import RidgeCV

    from probes.ridge import PENALTIES, ridge_scores

    rng = np.random.default_rng(0)
    spread = np.arange(1, p + 1) ** -0.5
    x = (30 * rng.standard_normal((n, p)) * spread).astype(np.float32)
    signal = x @ rng.standard_normal((p, features)).astype(np.float32)
    signal *= np.sqrt(rng.uniform(0, 1, features)).astype(np.float32) / signal.std(axis=0)
    y = (signal + 0.5 * rng.standard_normal((n, features))).astype(np.float32)
    ours = timed(lambda: ridge_scores(x, y), 1)
    theirs = timed(lambda: RidgeCV(PENALTIES, alpha_per_target=True).fit(x, y), 1)
    centred = y.astype(np.float64) - y.mean(axis=0, dtype=np.float64)
    r2 = 1 + theirs.value.best_score_ * n / (centred**2).sum(axis=0)
    difference = float(np.abs(ours.value.r2 - r2).max())
    same = float((ours.value.penalty == theirs.value.alpha_).mean())
    ratio = theirs.clock / ours.clock
    return Row(
        f"simplicity, {features} features from {p} dimensions, {n} stimuli, against RidgeCV",
        ours.clock,
        theirs.clock,
        ratio,
        difference,
        f">= {at_least:g}x, < 1e-4",
        bool(ratio >= at_least and difference < 1e-4),
        f"the same penalty for {100 * same:.2f}% of features",
        theirs.cpu / ours.cpu,
    )


def two_nn(points: int, width: int, dimensions: int) -> Row:
    """Points on a curved sheet of `dimensions` in `width` coordinates."""
    import skdim

    from probes.intrinsic import two_nn as ours_of

    rng = np.random.default_rng(0)
    x = np.sin(0.3 * rng.standard_normal((points, dimensions)) @ rng.standard_normal((dimensions, width)))
    ours_of(x[:100]), skdim.id.TwoNN().fit(x[:100])
    ours = timed(lambda: ours_of(x).dimension, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = timed(lambda: skdim.id.TwoNN().fit(x).dimension_, 3)
    ratio = theirs.clock / ours.clock
    difference = abs(ours.value - theirs.value)
    name = f"TwoNN, {points} points in {width} coordinates, against scikit-dimension"
    met = bool(ratio >= 1 and difference < 1e-9)
    return Row(name, ours.clock, theirs.clock, ratio, difference, ">= 1x", met, "", theirs.cpu / ours.cpu)


def rows(quick: bool) -> dict[str, Callable[[], Row]]:
    if quick:
        return {
            "tuning": lambda: tuning(1000, 3),
            "gabor": lambda: gabors(128, 24, 200),
            "simplicity": lambda: simplicity(1000, 400, 1500, 6),
            "twonn": lambda: two_nn(3000, 64, 8),
        }
    return {
        "tuning": lambda: tuning(8192, 10),
        "gabor": lambda: gabors(600, 32, 200),
        "simplicity": lambda: simplicity(5000, 2000, 8192, 6),
        "twonn 10": lambda: two_nn(10_000, 10, 5),
        "twonn 20": lambda: two_nn(10_000, 20, 8),
        "twonn 256": lambda: two_nn(10_000, 256, 8),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller rows")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose name holds one of these")
    given = parser.parse_args()
    import scipy.stats  # noqa: F401  (so that no import is timed)
    import sklearn.linear_model  # noqa: F401
    import torch  # noqa: F401

    done = []
    for name, row in rows(given.quick).items():
        if not any(text in name for text in given.only):
            continue
        result = row()
        done.append(result)
        beside = "" if result.theirs is None else f"  theirs {result.theirs:.3g}  {result.ratio:.2f}x"
        print(
            f"{result.name:78} ours {result.ours:.3g}{beside}  difference {result.difference:.1e}  "
            f"({result.target}: {'met' if result.met else 'MISSED'}) {result.note}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in done], indent=1))


if __name__ == "__main__":
    main()
