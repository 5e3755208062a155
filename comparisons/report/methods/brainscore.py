"""How scores on Brain-Score's benchmarks were made."""

from __future__ import annotations

from collections.abc import Sequence

from comparisons.report.methods.references import Paragraph
from comparisons.results import BenchmarkScore


def benchmark_paragraphs(scores: Sequence[BenchmarkScore]) -> list[Paragraph]:
    """The step of Brain-Score's benchmarks, if a run has them in it."""
    if not scores:
        return []
    own = "Recordings of this run became benchmarks of its class NeuralBenchmark. "
    text = (
        "Each site is scored on each benchmark by Brain-Score's own classes, and again by this project's encoding on "
        "the same splits and repetitions: the table has both and their difference. "
        + (own if any(row.own for row in scores) else "")
        + "`r` is the raw score: of linear maps the median over neuroids of Pearson's r over stimuli left out, mean "
        "over ten splits; of `rdm` the Spearman correlation of two RDMs. c is the benchmark's ceiling, which for "
        "responses and for RDMs alike is the reliability of halves of the repetitions, corrected for their number "
        "(Spearman-Brown). `r^2/c` is Brain-Score's normalisation since December 2025, `(r/c)^2` the one before: "
        "numbers of one form must not be set beside numbers of the other."
    )
    return [Paragraph("Brain-Score", text, ("schrimpf2018", "yamins2014"))]
