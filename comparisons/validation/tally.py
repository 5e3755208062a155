"""From answers to the confusion matrix: rates with Wilson bounds, and whether they are what a valid rule needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from comparisons.results import ConfusionRow
from comparisons.validation.spec import Cell, Statistic
from comparisons.verdicts.evidence import wilson

LONG = 200
"""Data sets a cell from which the strict bounds are asked for; with fewer, only what contradicts them fails."""
FALSE_ALLOWED = 0.05
"""Short runs fail where the false rate's lower bound is above this."""
FALSE_BOUND = 0.10
"""Long runs need the false rate's upper bound to be at most this."""
POWER = 0.8
"""The share of data sets in which the truth must be found where a cell asks for it."""
OPPOSITE = {"SUPPORTED": "REFUTED", "REFUTED": "SUPPORTED"}


def tally(cell: Cell, statistic: Statistic, answers: Sequence[str]) -> ConfusionRow:
    """The row of one cell and statistic from the answers of its data sets.

    Short runs (below 200) fail where the false rate's lower Wilson bound is above .05 or the upper bound of the power
    below .8; long runs where the upper bound of the false rate is above .10 or the power itself below .8. A false
    answer is the opposite of the truth; INCONCLUSIVE and NOT TESTABLE are never false, and count against power.
    """
    counts, n = Counter(answers), len(answers)
    expected = cell.expect[statistic]
    truth = expected if expected in OPPOSITE else None
    wrong = OPPOSITE.get(expected) or (expected.removeprefix("not ") if expected.startswith("not ") else None)
    false = wilson(counts[wrong], n) if wrong else None
    power = wilson(counts[truth], n) if truth else None
    met = True
    if false is not None:
        met &= false[1] <= FALSE_BOUND if n >= LONG else false[0] <= FALSE_ALLOWED
    if power is not None and truth is not None:
        met &= (counts[truth] / n if n >= LONG else power[1]) >= POWER
    return ConfusionRow(
        cell=cell.name,
        statistic=statistic,
        expected=expected,
        datasets=n,
        supported=counts["SUPPORTED"],
        refuted=counts["REFUTED"],
        inconclusive=counts["INCONCLUSIVE"],
        not_testable=counts["NOT TESTABLE"],
        false_rate=false,
        power=power,
        met=bool(met) if expected != "either" else None,
    )
