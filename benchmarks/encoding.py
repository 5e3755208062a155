"""Encoding against Brain-Score's metrics, scikit-learn and himalaya: both sides in one run, on the same numbers.

    python benchmarks/encoding.py [--quick] [--json FILE] [--only TEXT ...]

Ours always does all splits, from the features to the scores. Theirs takes minutes: it is timed on `--theirs` splits
(default 1) and scaled to all of them, which its row says; loading and the metric's own alignment are part of it, as
they are for its users. `cpu` is the ratio of CPU seconds, which says more where others use the machine, too.
`difference` is the largest one of a neuroid's r over the splits that both sides computed, in float64 (scikit-learn
predicts in float32 for features in float32), or says whether the same penalties were chosen. Both sides use the same
threads.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.rsa import Row, Timed, timed

SPLITS = 10


def data(n: int, p: int, q: int, sparse: bool = False) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features float64 [n, p], responses [n, q] that depend on them, and 8 object names."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((n, 60))
    features = shared @ rng.standard_normal((60, p))
    features += 6 * rng.standard_normal((n, p))
    if sparse:
        np.maximum(features - 10, 0, out=features)
    responses = shared @ rng.standard_normal((60, q)) + 8 * rng.standard_normal((n, q))
    return features, responses, [f"object{row % 8}" for row in range(n)]


def brainscore(regression: Any, features: np.ndarray, responses: np.ndarray, objects: list[str], splits: int) -> Any:
    """Brain-Score's metric with `splits` splits; r [split, neuroid]."""
    from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
    from brainscore_vision.metrics.regression_correlation.metric import CrossRegressedCorrelation, pearsonr_correlation

    stimuli = {
        "stimulus_id": ("presentation", [f"s{row:05d}" for row in range(len(features))]),
        "object_name": ("presentation", objects),
    }

    def assembly(values: np.ndarray) -> Any:
        names = [f"n{column:06d}" for column in range(values.shape[1])]
        neuroids = {"neuroid_id": ("neuroid", names), "region": ("neuroid", ["IT"] * len(names))}
        return NeuroidAssembly(values, coords={**stimuli, **neuroids}, dims=["presentation", "neuroid"])

    metric = CrossRegressedCorrelation(
        regression,
        pearsonr_correlation(),
        crossvalidation_kwargs={"splits": splits, "stratification_coord": "object_name"},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = metric(assembly(features), assembly(responses))
    return score.attrs["raw"].transpose("split", "neuroid").values


def compared(
    name: str, ours: Timed, theirs: Timed, scale: float, difference: float, at_least: float, below: float, note: str
) -> Row:
    ratio = theirs.clock * scale / ours.clock
    met = ratio >= at_least and difference < below
    target = f">= {at_least:g}x, < {below:g}"
    return Row(
        name, ours.clock, theirs.clock * scale, ratio, difference, target, met, note, theirs.cpu * scale / ours.cpu
    )


def pls(n: int, p: int, q: int, theirs_splits: int, at_least: float, sparse: bool = False, rank: int = 0) -> Row:
    """Brain-Score's `pls`, 10 splits."""
    from brainscore_vision.metrics.regression_correlation.metric import pls_regression

    from comparisons.encoding import brainscore_splits, predictivity

    features, responses, objects = data(n, p, q, sparse)
    if rank:
        features = features[:, :rank] @ np.random.default_rng(1).standard_normal((rank, p))
    splits = brainscore_splits(n, objects)
    ours = timed(lambda: predictivity(features, responses, splits=splits), 1)
    regression = pls_regression({"n_components": rank} if rank else None)
    theirs = timed(lambda: brainscore(regression, features, responses, objects, theirs_splits), 1)
    difference = float(np.abs(ours.value.r[:theirs_splits] - theirs.value).max())
    kind = f"rank {rank}" if rank else "sparse, non-negative" if sparse else "Gaussian"
    note = f"theirs: {theirs_splits} of {SPLITS} splits timed, scaled"
    if rank:
        note += f", told the rank; ours: {ours.value.notices[0]}"
    name = f"pls, {n} x {p} x {q}, {kind}"
    return compared(name, ours, theirs, SPLITS / theirs_splits, difference, at_least, 1e-6, note)


def ridge(n: int, p: int, regions: tuple[int, ...], dual: bool, at_least: float) -> Row:
    """The penalty of each of several regions that share stimuli and splits, by leave-one-out, one split."""
    from brainscore_vision.metrics.regression_correlation.metric import ALPHA_LIST, DualRidgeCVRegression
    from sklearn.linear_model import RidgeCV

    from comparisons.encoding import brainscore_splits, predictivity

    features, responses, objects = data(n, p, sum(regions))
    splits = brainscore_splits(n, objects)[:1]
    (train, test) = splits[0]
    names = np.repeat(np.arange(len(regions)), regions)
    ours = timed(lambda: predictivity(features, responses, method="ridgecv", splits=splits, groups=names), 1)

    def reference() -> tuple[list[float], np.ndarray]:
        penalties, predictions = [], []
        for region in range(len(regions)):
            y = responses[:, names == region]
            model = DualRidgeCVRegression(ALPHA_LIST) if dual else RidgeCV(alphas=ALPHA_LIST)
            model.fit(features[train], y[train])
            penalties.append(float(model.alpha_))
            predictions.append(model.predict(features[test]))
        return penalties, np.concatenate(predictions, axis=1)

    theirs = timed(reference, 1)
    found = [float(ours.value.penalties[0, names == region][0]) for region in range(len(regions))]
    same = found == theirs.value[0]
    difference = float(np.abs(ours.value.predictions[0] - theirs.value[1]).max())
    name = f"ridge, 99 penalties, {len(regions)} regions, {n} x {p}, against {'dual form' if dual else 'RidgeCV'}"
    note = f"one split on both sides; penalties {'the same' if same else 'DIFFER'}: {found}"
    row = compared(name, ours, theirs, 1, difference, at_least, 1e-6, note)
    row.met = bool(row.met and same)
    return row


def banded(n: int, q: int) -> Row:
    """Two bands, six vectors of ratios, 19 penalties, five outer folds; himalaya's inner folds are five too.

    Ours chooses by exact leave-one-out and fits each band alone as well; himalaya fits the joint model alone. The
    difference is that of one fold's predictions at the same ratios and penalty for all neuroids.
    """
    from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search

    from comparisons.encoding.banded import PENALTIES, band_ratios, banded_ridge, folds_of

    rng = np.random.default_rng(0)
    bands = {"simple": rng.standard_normal((n, 60)), "complex": rng.standard_normal((n, 400))}
    responses = sum(x @ rng.standard_normal((x.shape[1], q)) / np.sqrt(x.shape[1]) for x in bands.values())
    responses = responses + 2 * rng.standard_normal((n, q))
    splits, ratios = folds_of(n), band_ratios(2)

    def himalaya(train: np.ndarray, test: np.ndarray, iterations: np.ndarray, alphas: np.ndarray) -> np.ndarray:
        scaled = [(x - x[train].mean(axis=0)) / x[train].std(axis=0) for x in bands.values()]
        mean = responses[train].mean(axis=0)
        deltas, dual, _ = solve_multiple_kernel_ridge_random_search(
            np.stack([x[train] @ x[train].T for x in scaled]),
            responses[train] - mean,
            n_iter=iterations,
            alphas=alphas,
            cv=5,
            return_weights="dual",
            progress_bar=False,
        )
        parts = (np.exp(delta) * (x[test] @ x[train].T @ dual) for delta, x in zip(deltas, scaled, strict=True))
        return sum(parts) + mean

    ours = timed(lambda: banded_ridge(bands, responses, splits=splits), 1)
    theirs = timed(lambda: [himalaya(train, test, ratios + 1e-9, PENALTIES * len(train)) for train, test in splits], 1)
    fixed = np.array([[0.0, 1.0], [1.0, 0.0], [0.3, 1.0]])
    one = banded_ridge(bands, responses, splits=splits[:1], ratios=fixed, penalties=[0.3], groups=["all"] * q)
    train, test = splits[0]
    chosen = one.ratios[0, :1]
    reference = himalaya(train, test, np.maximum(chosen, 1e-30), np.array([0.3 * len(train)]))
    difference = float(np.abs(one.predictions["simple", "complex"] - reference).max())
    note = "ours leave-one-out and 3 models, theirs 5 inner folds and the joint model"
    return compared(f"banded ridge, {n} x (60 + 400) x {q}, 5 folds", ours, theirs, 1, difference, 1, 1e-8, note)


def rows(quick: bool, theirs: int) -> dict[str, Callable[[], Row]]:
    if quick:
        return {
            "pls Gaussian": lambda: pls(800, 2048, 60, theirs, 20),
            "pls sparse": lambda: pls(800, 2048, 60, theirs, 20, sparse=True),
            "pls rank": lambda: pls(800, 2048, 60, theirs, 1, rank=20),
            "ridge RidgeCV": lambda: ridge(800, 2048, (40, 60, 50, 50), False, 3),
            "ridge dual": lambda: ridge(800, 2048, (40, 60, 50, 50), True, 3),
            "banded": lambda: banded(300, 60),
        }
    return {
        "pls Gaussian": lambda: pls(3200, 8192, 168, theirs, 50),
        "pls sparse": lambda: pls(3200, 8192, 168, theirs, 50, sparse=True),
        "pls rank": lambda: pls(3200, 8192, 168, theirs, 1, rank=20),
        "pls 33k": lambda: pls(3200, 33_000, 168, 1, 100),
        "ridge RidgeCV": lambda: ridge(3200, 8192, (88, 168, 102, 103), False, 6),
        "ridge dual": lambda: ridge(3200, 8192, (88, 168, 102, 103), True, 10),
        "banded": lambda: banded(1000, 168),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller rows, with lower targets")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose name holds one of these")
    parser.add_argument("--theirs", type=int, default=1, help="splits of Brain-Score's metric that are timed")
    given = parser.parse_args()
    import brainscore_vision.metrics.regression_correlation.metric

    import comparisons.encoding  # noqa: F401  (so that no import is timed)

    brainscore(  # nor what its first call sets up
        brainscore_vision.metrics.regression_correlation.metric.pls_regression(), *data(100, 200, 3), splits=1
    )
    done = []
    for name, row in rows(given.quick, given.theirs).items():
        if not any(text in name for text in given.only):
            continue
        result = row()
        done.append(result)
        print(
            f"{result.name:58} ours {result.ours:.3g} s  theirs {result.theirs:.3g} s  {result.ratio:.0f}x "
            f"(cpu {result.cpu:.0f}x)  difference {result.difference:.1e}  "
            f"({result.target}: {'met' if result.met else 'MISSED'}) {result.note}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in done], indent=1))


if __name__ == "__main__":
    main()
