from __future__ import annotations

import pytest

from bridge.errors import ConfigError
from comparisons.validation.matrix import groups, seed_of
from comparisons.validation.spec import Cell
from comparisons.validation.table import as_markdown, as_text
from comparisons.validation.tally import tally
from comparisons.verdicts.evidence import wilson

HIERARCHY = Cell(name="h", brain={"truth": "nhbt"}, expect={"phi": "REFUTED", "D": "not SUPPORTED"})


def answers(supported: int, refuted: int, inconclusive: int) -> list[str]:
    return ["SUPPORTED"] * supported + ["REFUTED"] * refuted + ["INCONCLUSIVE"] * inconclusive


def test_a_short_run_fails_only_where_the_acceptance_is_contradicted() -> None:
    assert tally(HIERARCHY, "phi", answers(1, 38, 1)).met
    assert tally(HIERARCHY, "phi", answers(0, 28, 12)).met, "28 of 40 does not exclude 80%"
    assert not tally(HIERARCHY, "phi", answers(0, 20, 20)).met, "always INCONCLUSIVE is a failure, too"
    assert not tally(HIERARCHY, "phi", answers(8, 32, 0)).met, "8 of 40 false"
    row = tally(HIERARCHY, "D", answers(0, 0, 40))
    assert row.met, "where the truth need not be found, INCONCLUSIVE will do"
    assert row.power is None
    assert row.false_rate == wilson(0, 40)


def test_a_long_run_must_show_what_is_asked() -> None:
    assert tally(HIERARCHY, "phi", answers(8, 180, 12)).met
    assert not tally(HIERARCHY, "phi", answers(12, 180, 8)).met, "the upper bound of 12 of 200 is above .10"
    assert not tally(HIERARCHY, "phi", answers(0, 159, 41)).met, "below 80%"


def test_not_testable_counts_against_power_and_is_never_false() -> None:
    row = tally(HIERARCHY, "phi", ["NOT TESTABLE"] * 40)
    assert (row.false_rate, row.met) == (wilson(0, 40), False)


def test_a_cell_that_asks_for_nothing_cannot_fail() -> None:
    cell = Cell(name="x", brain={}, expect={"phi": "either"})
    assert tally(cell, "phi", answers(20, 20, 0)).met is None


def test_cells_refuse_what_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="truth"):
        Cell(name="x", brain={"truth": "residul"}, expect={"phi": "either"})
    with pytest.raises(ValueError, match="planted block"):
        Cell(name="x", expect={"editing": "SUPPORTED"})


def test_seeds_are_of_group_run_and_number() -> None:
    found = {seed_of(name, seed, number) for name in ("a", "b") for seed in (0, 1) for number in range(50)}
    assert len(found) == 200
    blocks = [Cell(name=name, block=name, expect={"editing": "either"}) for name in ("plain", "untrained")]
    assert [group.name for group in groups([HIERARCHY, *blocks])] == ["h", "planted blocks"]


def test_the_table_says_what_failed() -> None:
    rows = [tally(HIERARCHY, "phi", answers(8, 32, 0)), tally(HIERARCHY, "D", answers(0, 40, 0))]
    text = as_text(rows)
    assert "NOT MET" in text
    assert "1 of 2 rows are as a valid rule needs them." in text
    assert as_markdown(rows).count("\n") == 3
