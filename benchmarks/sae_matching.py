"""Matching and measuring dictionaries, against the plain way that holds everything at once: both sides in one run.

    python benchmarks/sae_matching.py [--quick] [--json FILE] [--only TEXT ...] [--repeats N]

Theirs is numpy's full matrix of scores (cosine or Pearson) with its row and column maxima, scipy's assignment over all
pairs, the loop over image pairs of Pach et al.'s code, and a dense forward pass of the dictionary. `difference` says
what differs, the row says how. The rows at 50,000 x 50,000 run in a process of their own and give its largest resident
memory beside that of an empty process with the same imports; the full matrix alone would be 9.3 GiB in float32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.rsa import Row, Timed, timed

ROOT = Path(__file__).resolve().parent.parent


def directions(m: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Two dictionaries that share half of their directions, shuffled and with noise, float32 [m, d]."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, d), dtype=np.float32)
    b = a[rng.permutation(m)] + 0.5 * rng.standard_normal((m, d), dtype=np.float32)
    b[: m // 2] = rng.standard_normal((m // 2, d), dtype=np.float32)
    a, b = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (a, b))
    return a, b


def codes(n: int, m: int, k: int = 32) -> tuple[Any, Any]:
    """Two dictionaries' codes of the same n tokens, CSR float32 [n, m], about k latents a token: half of b's latents
    are a's with noise, shuffled."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)

    def draw() -> Any:
        indices = rng.integers(0, m, size=(n, k)).ravel()
        values = rng.gamma(2, size=n * k).astype(np.float32)
        found = csr_matrix((values, indices, np.arange(0, n * k + 1, k)), shape=(n, m))
        found.sum_duplicates()
        return found

    a, b = draw(), draw().tocsc()
    shared = rng.permutation(m)[: m // 2]
    copied = a.tocsc()[:, shared]
    copied.data *= rng.gamma(8, 1 / 8, size=len(copied.data)).astype(np.float32)
    from scipy.sparse import hstack

    return a, hstack([copied, b[:, m // 2 :]]).tocsr()[:, rng.permutation(m)]


def compared(name: str, ours: Timed, theirs: Timed, difference: float, note: str, scale: float = 1) -> Row:
    ratio = theirs.clock * scale / ours.clock
    return Row(name, ours.clock, theirs.clock * scale, ratio, difference, "", None, note, theirs.cpu * scale / ours.cpu)


def mutual(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    best, back = scores.argmax(1), scores.argmax(0)
    a = np.flatnonzero(back[best] == np.arange(len(best)))
    return a, best[a]


def disagreement(one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray]) -> float:
    pairs = [set(zip(a.tolist(), b.tolist(), strict=True)) for a, b in (one, two)]
    return len(pairs[0] ^ pairs[1]) / max(1, len(pairs[1]))


def nearest_by_cosine(m: int, d: int, repeats: int) -> Row:
    from saes.nearest import nearest
    from saes.sides import Directions

    a, b = directions(m, d)
    ours = timed(lambda: nearest(Directions(a), Directions(b)).mutual(), repeats)
    theirs = timed(lambda: mutual(a @ b.T), repeats)
    note = f"{len(ours.value[0])} pairs; difference: share of pairs"
    return compared(
        f"mutual nearest by cosine, {m} x {m}, d {d}", ours, theirs, disagreement(ours.value, theirs.value), note
    )


def nearest_by_correlation(n: int, m: int, repeats: int) -> Row:
    from saes.nearest import nearest
    from saes.sides import Activity

    a, b = codes(n, m)

    def reference() -> Any:
        z = []
        for one in (a, b):
            dense = one.toarray()
            dense -= dense.mean(0)
            z.append(dense / np.maximum(dense.std(0), 1e-12))
        return mutual(z[0].T @ z[1] / n)

    ours = timed(lambda: nearest(Activity(a), Activity(b)).mutual(), repeats)
    theirs = timed(reference, repeats)
    note = f"{len(ours.value[0])} pairs; difference: share of pairs"
    name = f"mutual nearest by correlation, {m} x {m}, {n} tokens"
    return compared(name, ours, theirs, disagreement(ours.value, theirs.value), note)


def assigned(m: int, d: int) -> Row:
    from scipy.optimize import linear_sum_assignment

    from saes.nearest import assignment
    from saes.sides import Directions

    a, b = directions(m, d)
    ours = timed(lambda: assignment(Directions(a), Directions(b)), 1)
    theirs = timed(lambda: linear_sum_assignment(np.maximum(a @ b.T, 0), maximize=True), 1)
    sums = [(a[rows] * b[columns]).sum(dtype=np.float64) for rows, columns in (ours.value, theirs.value)]
    note = f"sum of cosines {sums[0]:.4f} and {sums[1]:.4f}; difference: their relative difference"
    return compared(f"optimal assignment, {m} x {m}, d {d}", ours, theirs, 1 - sums[0] / sums[1], note)


def monosemantic(n: int, m: int, d: int, repeats: int) -> Row:
    import torch

    from saes.monosemanticity import monosemanticity

    rng = np.random.default_rng(0)
    activations = np.where(rng.random((n, m)) < 0.05, rng.gamma(2, size=(n, m)), 0).astype(np.float32)
    embeddings = rng.standard_normal((n, d)).astype(np.float32) + 0.5
    some = max(1, n // 100)

    def loop(images: int) -> Any:
        a = torch.from_numpy(activations)
        a = (a - a.amin(0)) / (a.amax(0) - a.amin(0))
        e = torch.from_numpy(embeddings)
        total, weight = torch.zeros(m), torch.zeros(m)
        for i in range(images):
            for start in range(i + 1, n, 100):
                rest = slice(start, min(start + 100, n))
                cosine = torch.cosine_similarity(e[i][None].expand(rest.stop - start, -1), e[rest], dim=1)
                weights = a[i][None] * a[rest]
                total += (weights * cosine[:, None]).sum(0)
                weight += weights.sum(0)
        return total / weight

    ours = timed(lambda: monosemanticity(activations, embeddings), repeats)
    theirs = timed(lambda: loop(some), 1)
    pairs = sum(n - 1 - i for i in range(some))
    scale = n * (n - 1) / 2 / pairs
    small = monosemanticity(activations[:300], embeddings[:300]).scores
    activations, embeddings, n = activations[:300], embeddings[:300], 300
    difference = float(np.nanmax(np.abs(loop(300).numpy() - small)))
    note = f"theirs: pairs of {some} images timed, scaled; difference: of the scores over 300 images (theirs float32)"
    return compared(f"monosemanticity, {ours.value.scores.size} latents", ours, theirs, difference, note, scale)


def metrics(n: int, repeats: int) -> Row:
    import torch

    from saes.metrics import evaluate
    from saes.sae import SAEConfig, SparseAutoencoder

    d, s, k = 512, 8192, 32
    generator = torch.Generator().manual_seed(0)
    w_dec = torch.nn.functional.normalize(torch.randn(s, d, generator=generator), dim=1)
    tensors = {"W_enc": w_dec.T.clone(), "W_dec": w_dec, "b_dec": torch.zeros(d), "b_enc": torch.zeros(s)}
    sae = SparseAutoencoder(SAEConfig("topk", d, s, k=k), tensors)
    x = torch.randn(n, d, generator=generator)
    mean = x.double().mean(0)

    def dense() -> tuple[float, float]:
        sse = sst = 0.0
        fires = torch.zeros(s, dtype=torch.int64)
        for batch in x.split(4096):
            latents = sae.encode(batch)
            fires += (latents != 0).sum(0)
            sse += float((batch - sae.decode(latents)).double().square().sum())
            sst += float((batch.double() - mean).square().sum())
        return sse / sst, float(fires.sum() / n)

    ours = timed(lambda: evaluate(sae, x.split(4096)), repeats)
    with torch.no_grad():
        theirs = timed(dense, repeats)
    difference = abs(ours.value.fvu - theirs.value[0])
    note = f"{n / ours.clock:.0f} and {n / theirs.clock:.0f} tokens/s; difference: of FVU"
    return compared(f"all metrics, {n} tokens, d {d}, {s} latents, k {k}", ours, theirs, difference, note)


def peak() -> float:
    """Largest resident memory of this process so far in GiB (ru_maxrss would count the parent's, too)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


_ALONE = """
import sys, time
sys.path.insert(0, {root!r})
import numpy, scipy.optimize, scipy.sparse.csgraph, torch
from benchmarks import sae_matching as here
from saes.nearest import assignment, nearest
from saes.sides import Activity, Directions
peak = here.peak
empty = peak()
a, b = {make}
data = peak()
start = time.perf_counter()
pairs = {call}
print(time.perf_counter() - start, empty, data, peak(), len(pairs[0]))
"""


def alone(name: str, make: str, call: str, m: int) -> Row:
    """One call at a size where the full matrix does not fit, in a process of its own: seconds and memory."""
    code = _ALONE.format(root=str(ROOT), make=make, call=call)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    seconds, empty, data, peak, pairs = map(float, out.split())
    note = (
        f"{pairs:.0f} pairs; peak {peak:.2f} GiB (imports {empty:.2f}, with the data {data:.2f}); the full matrix "
        f"alone: {m * m * 4 / 2**30:.1f} GiB in float32"
    )
    return Row(name, seconds, None, None, None, "", None, note)


def rows(quick: bool, repeats: int) -> dict[str, Callable[[], Row]]:
    m, d, n = (16_384, 256, 50_000) if quick else (50_000, 768, 200_000)
    return {
        "cosine": lambda: nearest_by_cosine(2048 if quick else 8192, 512, repeats),
        "correlation": lambda: nearest_by_correlation(20_000, 1024 if quick else 4096, repeats),
        "assignment": lambda: assigned(5000 if quick else 8192, 512),
        "monosemanticity": lambda: monosemantic(1000 if quick else 4000, 4096, 512, repeats),
        "metrics": lambda: metrics(8192 if quick else 32_768, repeats),
        "large, directions": lambda: alone(
            f"mutual nearest by cosine, {m} x {m}, d {d}",
            f"here.directions({m}, {d})",
            "nearest(Directions(a), Directions(b)).mutual()",
            m,
        ),
        "large, activity": lambda: alone(
            f"mutual nearest by correlation, {m} x {m}, {n} tokens",
            f"here.codes({n}, {m})",
            "nearest(Activity(a), Activity(b)).mutual()",
            m,
        ),
        "large, assigned": lambda: alone(
            f"optimal assignment among candidates, {m} x {m}, d {d}",
            f"here.directions({m}, {d})",
            "assignment(Directions(a), Directions(b))",
            m,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller rows")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose name holds one of these")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    done = []
    for name, row in rows(given.quick, given.repeats).items():
        if not any(text in name for text in given.only):
            continue
        result = row()
        done.append(result)
        theirs = "" if result.theirs is None else f"  theirs {result.theirs:.3g} s  {result.ratio:.1f}x"
        cpu = "" if result.cpu is None else f" (cpu {result.cpu:.1f}x)  difference {result.difference:.1e}"
        print(f"{result.name:58} ours {result.ours:.3g} s{theirs}{cpu}  {result.note}", flush=True)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in done], indent=1))


if __name__ == "__main__":
    main()
