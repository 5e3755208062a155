"""What came out, in sentences and one small table, made from the numbers alone.

The wording claims no more than a run has tested: a best site is named with the number of sites it was picked from, two
networks are set side by side without a word on significance, and a verdict is mentioned only where one was computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from comparisons.report import few_panels as few
from comparisons.report import many_panels as many
from comparisons.report import panels as select
from comparisons.report.best import best_sites, of_model, trained
from comparisons.report.drawing import short
from comparisons.report.wording import listed, number
from comparisons.results import Result, RunResults

NAMED = 2  # trained networks that get a sentence each; the table has all
MANY = 4  # panels up to which each gets its numbers in a sentence; of more, the pattern is told and the table has them


def sentences(results: RunResults) -> list[str]:
    """What came out, line by line for a terminal: sentences, after a small aligned table where panels are many."""
    said = paragraphs(results)
    shown = next(iter(select.panels(compared(results.results)).values()), [])
    tops = best_sites(shown)
    if len(shown) <= MANY or not trained(tops):
        return [sentence for paragraph in said for sentence in paragraph]
    # The table says what the sentences on ranges say.
    return [*many.table(tops), " ".join(many.counts(of_model(trained(tops)[0], tops), tops)), " ".join(said[-1])]


def paragraphs(results: RunResults) -> list[list[str]]:
    """What came out by the first measure of the run; the last paragraph says how to read it.

    Up to MANY panels: a paragraph a trained network, with the numbers of each region. More: the pattern over regions
    of the first trained network.
    """
    figures = select.panels(compared(results.results))
    said: list[list[str]] = []
    remarks: list[str] = []
    if figures:
        (_, measure), shown = next(iter(figures.items()))
        tops = best_sites(shown)
        known = trained(tops)
        named = known[:NAMED] if len(shown) <= MANY else known[:1]
        for model in named:
            mine = of_model(model, tops)
            if len(shown) <= MANY:
                said.append(few.numbers(mine, tops, measure))
            else:
                said.append([*many.ranges(mine, tops, measure), *many.counts(mine, tops)])
        codes = {b.result.model for b in tops if b.result.dictionary}
        if more := len([model for model in known if model not in codes and model not in named]):
            remarks.append(f"The table of best sites has {more} more trained network{'s' if more > 1 else ''}.")
        if codes - set(named):
            remarks.append("The table of best sites has the codes of dictionaries, too.")
        counts = {b.sites for b in tops if b.result.role == "trained"}
        if counts and max(counts) > 1:
            remarks.append(
                f"Each best site was picked among {_range(counts)} on the same data that it is reported on, "
                "which favours high numbers."
            )
    said += probed(results.results)
    if not said and not (results.verdicts or results.confusion):
        remarks.append("This run has no results for a trained network.")
    remarks += [*_confusion(results), *_benchmarks(results), *_verdicts(results), *_left_out(results)]
    return [*said, remarks]


def compared(results: Iterable[Result]) -> list[Result]:
    """The results that say how much a network is like recordings: all but those that describe it by itself."""
    return [result for result in results if result.comparison not in select.BY_THEMSELVES]


def probed(results: Iterable[Result]) -> list[list[str]]:
    """A paragraph a network: what `TOLD` tells of it by itself, from the first site to the last."""
    mine = [result for result in results if any(result.comparison == kind for kind, _, _ in TOLD)]
    said = []
    for model, role in select.models(mine):
        clauses = []
        for kind, measure, about in TOLD:
            own = [r for r in mine if (r.comparison, r.measure) == (kind, measure) and r.region == about]
            line = select.along_stream(own, model, role)
            if len(line) > 1:
                named = measure if about == "features" else f"{about}, {measure}"
                clauses.append(f"{named} {', '.join(number(result.estimate, 2) for result in line)}")
        if clauses:
            said.append([f"{model} ({role}), from the stem to its end: {'; '.join(clauses)}."])
    return said


TOLD = (
    ("probe", "share of simple features", "features"),
    ("probe", "share tuned to orientation", "features"),
    ("probe", "decoded from gratings (R2)", "orientation, other frequencies"),
    ("postdictions", "Gabor simplicity, median", "features"),
    ("postdictions", "lifetime sparseness, median", "features"),
    ("postdictions", "participation ratio over width", "features"),
)
"""Kinds of comparison that describe a network by itself, and which of their measures, and about what,
the summary tells; the table has all."""


def _range(counts: Iterable[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low} sites" if low == high else f"{low} to {high} sites"


def _verdicts(results: RunResults) -> list[str]:
    if not results.verdicts:
        return [] if results.confusion else ["There are no verdicts in this run."]
    counts = Counter(verdict.answer for verdict in results.verdicts)
    return [f"Verdicts: {listed([f'{count} {answer}' for answer, count in counts.items()])}."]


def _left_out(results: RunResults) -> list[str]:
    """That something was left out of the whole run: sites that could not be compared, images that could not be read."""
    told = list(dict.fromkeys(results.dropped))
    if not told:
        return []
    count = f" ({len(told)} notes in the report)" if len(told) > 1 else ""
    return [f"Left out{count}: {short(told[0], 160).rstrip('.')}."]


def _confusion(results: RunResults) -> list[str]:
    """How many rows of the confusion matrix are as a valid rule needs them, and which are not."""
    asked = [row for row in results.confusion if row.met is not None]
    if not asked:
        return []
    failed = [f"{row.cell} ({row.statistic})" for row in asked if not row.met]
    told = f"{len(asked) - len(failed)} of {len(asked)} rows of the confusion matrix are as a valid rule needs them"
    return [f"{told}; not {listed(failed)}." if failed else f"{told}."]


def _benchmarks(results: RunResults) -> list[str]:
    """How far Brain-Score's classes and this project's encoding are apart."""
    gaps = [abs(row.difference) for row in results.benchmarks if row.difference is not None]
    if not gaps:
        return []
    many = f"{len(gaps)} scores" if len(gaps) > 1 else "one score"
    return [f"Brain-Score's own classes and this project's encoding differ by at most {max(gaps):.0e} over {many}."]


def verdict_grid(results: RunResults) -> tuple[list[str], list[tuple[str, bool, list[str]]]]:
    """The predictions, and for each subject its name, whether it is simulated, and its answer to each ('' for none)."""
    predictions = sorted({verdict.prediction for verdict in results.verdicts})
    answers: dict[tuple[str, bool], dict[str, str]] = {}
    for verdict in results.verdicts:
        answers.setdefault((verdict.subject, verdict.simulated), {})[verdict.prediction] = verdict.answer
    rows = [(*subject, [found.get(one, "") for one in predictions]) for subject, found in answers.items()]
    return predictions, rows
