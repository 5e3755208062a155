"""How often P3's rule answers what, where the truth is planted: `python -m comparisons.validation.editing_rates`.

40 seeds a cell take about ten minutes on one core. Every seed is one stream that all cells share, with two untrained
blocks of its own beside it; in the cell `untrained`, a third takes the place of the trained one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from comparisons.editing.gating import Gates
from comparisons.editing.slopes import Regression, marginal_slopes
from comparisons.results import Verdict
from comparisons.validation.planted_editing import (
    CELLS,
    COSINE,
    Encoder,
    Stream,
    planted_delta,
    planted_stream,
    untrained_write,
)
from comparisons.verdicts.editing import Counts, Sorted, editing_verdict, naive_editing, sort_latents
from comparisons.verdicts.evidence import wilson

ANSWERS = ("SUPPORTED", "REFUTED", "INCONCLUSIVE", "NOT TESTABLE")
COPIES = 2
"""Untrained blocks beside each stream."""


class Analyst:
    """What an analyst has of a planted stream; whatever is planted into it is sorted by her."""

    def __init__(self, stream: Stream):
        self.stream = stream
        self.regression = Regression(stream.latents, stream.images)
        self.gates = Gates(stream.latents, stream.x, stream.images)

    def sort(self, delta: np.ndarray) -> Sorted:
        """The latents of a planted block, sorted."""
        writes = (delta - delta.mean(axis=0)) @ self.stream.decoder.T
        return sort_latents(self.regression.fit(writes).slopes, self.gates.measure(writes))

    def untrained_copies(self) -> list[Counts]:
        """Latents of untrained blocks that read the stream, by seeds that no cell uses."""
        rngs = (np.random.default_rng([self.stream.seed, 4, copy]) for copy in range(COPIES))
        return [self.sort(untrained_write(self.stream.x, rng)).counts for rng in rngs]


def planted_verdicts(seed: int, cells: Sequence[str], **sizes: Any) -> Iterator[tuple[str, Verdict]]:
    """(cell, P3's verdict) for one seed; `sizes` go to `planted_stream`."""
    analyst = Analyst(planted_stream(seed, **sizes))
    untrained = analyst.untrained_copies()
    for name in cells:
        counts = analyst.sort(planted_delta(analyst.stream, CELLS[name])).counts
        yield name, editing_verdict(name, counts, untrained).model_copy(update={"simulated": True})


def naive_share(stream: Stream, cell: str) -> float:
    """The share of latents that marginal slopes call deleted in a cell."""
    delta = planted_delta(stream, CELLS[cell])
    writes = (delta - delta.mean(axis=0)) @ stream.decoder.T
    return naive_editing(marginal_slopes(stream.latents, writes, stream.images))


def main() -> None:
    """Print, seed by seed, the table so far; `--json FILE` keeps every verdict's numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=1000, help="first seed")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--cells", nargs="*", default=list(CELLS), metavar="CELL")
    parser.add_argument(
        "--cosine", type=float, default=COSINE, help="of the dictionary's directions with the true ones"
    )
    parser.add_argument("--encoder", choices=get_args(Encoder), default="sparse code", help="the analyst's activations")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, object]] = []
    for seed in range(given.first, given.first + given.seeds):
        for cell, verdict in planted_verdicts(seed, given.cells, cosine=given.cosine, encoder=given.encoder):
            rows.append({"seed": seed, "cell": cell, "answer": verdict.answer, **verdict.numbers})
        print(f"seed {seed}", flush=True)
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1))
    print(table(rows))


def table(rows: Sequence[dict[str, object]]) -> str:
    """Answers by cell, with the Wilson interval of SUPPORTED."""
    lines = [f"{'cell':34} {'S':>4} {'R':>4} {'I':>4} {'NT':>4}   SUPPORTED, 95%"]
    for cell in dict.fromkeys(row["cell"] for row in rows):
        mine = [row["answer"] for row in rows if row["cell"] == cell]
        counts = [mine.count(answer) for answer in ANSWERS]
        low, high = wilson(counts[0], len(mine))
        lines.append(f"{cell:34} {' '.join(f'{n:4d}' for n in counts)}   [{low:.3f}, {high:.3f}]")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
