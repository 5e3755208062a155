"""The sentences: they say what the numbers say and no more."""

from collections.abc import Callable
from typing import Any

import pytest

from comparisons.report import summary, wording
from comparisons.results import Result, RunResults

RunOf = Callable[..., RunResults]
LEFT_OUT = "Left out: 2 images could not be read: a.png, b.png."


def result(model: str, role: str, block: int, estimate: float, **fields: Any) -> Result:
    values: dict[str, Any] = {
        "comparison": "rsa", "measure": "spearman", "model": model, "role": role, "recordings": "fmri", "region": "IT",
        "site": f"blocks.{block}.hook_resid_post", "depth": (block + 1) / 4, "estimate": estimate, "n_stimuli": 92,
        "n_subjects": 15,
    }  # fmt: skip
    return Result(**{**values, **fields})


def said(run_of: RunOf, *results: Result) -> str:
    return " ".join(summary.sentences(run_of(results=results)))


def test_best_site_with_its_evidence(run_of: RunOf) -> None:
    evidence = {"interval": (0.10, 0.20), "ceiling": (0.45, 0.54)}
    text = said(
        run_of,
        result("net", "trained", 0, 0.11, **evidence),
        result("net", "trained", 2, 0.154, **evidence),
        result("copy", "untrained", 1, 0.12, interval=(0.06, 0.16)),
    )
    assert (
        "By Spearman ρ, net comes closest to IT at depth 0.75: 0.154 [0.10, 0.20], noise ceiling 0.45 to 0.54" in text
    )
    assert "The lower bound of the noise ceiling is reached nowhere." in text
    assert "The best site of an untrained network is lower for IT (0.120)" in text
    assert "the two 95% intervals overlap for IT; the difference itself was not tested here." in text
    assert "picked among 2 sites" in text
    assert text.endswith(f"There are no verdicts in this run. {LEFT_OUT}")


def test_untrained_networks_that_win_are_said_to_win(run_of: RunOf) -> None:
    text = said(run_of, result("net", "trained", 0, 0.1), result("copy", "untrained", 0, 0.2))
    assert "The best site of an untrained network is as high or higher for IT (0.200)" in text
    assert "lower for" not in text
    assert "interval" not in text


def test_streams_stand_beside_streams_and_codes_beside_codes(run_of: RunOf) -> None:
    codes = [
        result("net · topk", "trained", 0, 0.3, dictionary="topk"),
        result("copy · topk", "untrained", 0, 0.4, dictionary="topk"),
    ]
    few = run_of(results=(result("net", "trained", 0, 0.2), result("copy", "untrained", 0, 0.1), *codes))
    stream, compared, *_ = summary.paragraphs(few)
    assert "The best site of an untrained network is lower for IT (0.100)" in " ".join(stream)
    assert "The best site of an untrained network is as high or higher for IT (0.400)" in " ".join(compared)
    of_codes = tuple(
        r.model_copy(update={"model": f"{r.model} · topk", "dictionary": "topk", "estimate": r.estimate + 0.5})
        for r in many()
    )
    alone, both = run_of(results=many()), run_of(results=(*many(), *of_codes))
    assert summary.paragraphs(both)[0] == summary.paragraphs(alone)[0]
    assert summary.sentences(both)[:4] == summary.sentences(alone)[:4]
    assert "The table of best sites has the codes of dictionaries, too." in summary.paragraphs(both)[1]


def test_simulated_and_writes_are_named(run_of: RunOf) -> None:
    text = said(run_of, result("net", "trained", 0, 0.1, site="blocks.0.hook_write", simulated=True))
    assert "closest to simulated IT at depth 0.25 (a write): 0.100." in text
    assert "No untrained network stands beside it in this run." in text
    assert "picked among" not in text


def test_a_write_that_beats_the_stream_is_said_apart(run_of: RunOf) -> None:
    stream, write = result("net", "trained", 1, 0.133), result("net", "trained", 2, 0.164, site="blocks.2.hook_write")
    text = said(run_of, stream, write)
    assert "net comes closest to IT at depth 0.50: 0.133." in text
    assert "The write of a block comes closer than the stream does at its best for IT (0.164 at depth 0.75)." in text
    lower = write.model_copy(update={"estimate": 0.1})
    assert "No write of a block comes closer to a region than the stream does at its best." in said(
        run_of, stream, lower
    )


def test_regions_of_several_recordings_are_told_apart(run_of: RunOf) -> None:
    text = said(
        run_of,
        result("net", "trained", 1, 0.1),
        result("net", "trained", 1, 0.3, recordings="monkey", ceiling=(0.2, 0.4)),
    )
    assert "closest to IT of fmri at depth 0.50: 0.100; to IT of monkey at depth 0.50: 0.300" in text
    assert "The lower bound of the noise ceiling is reached for IT of monkey." in text


def test_each_trained_network_has_a_paragraph(run_of: RunOf) -> None:
    results = tuple(result(name, "trained", 0, 0.1) for name in "abc")
    first, second, remarks = summary.paragraphs(run_of(results=results))
    assert "a comes closest" in first[0]
    assert "b comes closest" in second[0]
    assert remarks[0] == "The table of best sites has 1 more trained network."


def many(*, intervals: bool = True, ceiling: tuple[float, float] | None = (0.19, 0.5)) -> tuple[Result, ...]:
    """Two recordings of three regions: one simulated; a trained network, two untrained ones and a control."""
    found = []
    for name, down in (("one", 0.0), ("two", 0.1)):
        for region, height in (("V1", 0.30), ("V4", 0.25), ("IT", 0.20)):
            for model, role, less in (
                ("net", "trained", 0.0), ("copy", "untrained", 0.05), ("copy 2", "untrained", 0.09),
                ("twin", "control", -0.01 if region == "IT" else 0.02),
            ):  # fmt: skip
                for block, below in ((0, 0.02), (1, 0.0)):
                    value = height - down - less - below
                    found.append(
                        result(
                            model, role, block, value, recordings=name, region=region, ceiling=ceiling,
                            simulated=name == "two", interval=(value - 0.02, value + 0.02) if intervals else None,
                        )
                    )  # fmt: skip
    return tuple(found)


def test_of_many_panels_the_pattern_is_told_and_no_more(run_of: RunOf) -> None:
    results = (*many(), result("net", "trained", 1, 0.35, region="V1", recordings="one", site="blocks.1.hook_write"))
    said_, remarks = summary.paragraphs(run_of(results=results))
    assert said_ == [
        "By Spearman ρ, net at its best site reaches 0.20 (IT) to 0.30 (V1) for one and 0.10 (IT) to 0.20 (V1) for "
        "simulated two.",
        "At their best sites, untrained networks reach 0.15 to 0.25 for one and 0.05 to 0.15 for two; controls reach "
        "0.21 to 0.28 for one and 0.11 to 0.18 for two.",
        "net scores higher than untrained networks in 6 of 6 panels (95% intervals overlap in 0) and higher than "
        "controls in 4 of 6 panels (95% intervals overlap in 6); no difference was tested.",
        "It reaches the lower bound of the noise ceiling in 4 of 6 panels; a block's write comes closer than the "
        "stream at its best in 1 of 1.",
    ]
    assert remarks == [
        "Each best site was picked among 2 sites on the same data that it is reported on, which favours high numbers.",
        "There are no verdicts in this run.",
        LEFT_OUT,
    ]


def test_of_many_panels_a_terminal_gets_a_table(run_of: RunOf) -> None:
    lines = summary.sentences(run_of(results=many()))
    assert len(lines) == 6
    assert lines[:4] == [
        "Spearman ρ at the best site: net / best untrained / best control",
        "               V1                  V4                  IT",
        "one            0.30 / 0.25 / 0.28  0.25 / 0.20 / 0.23  0.20 / 0.15 / 0.21",
        "simulated two  0.20 / 0.15 / 0.18  0.15 / 0.10 / 0.13  0.10 / 0.05 / 0.11",
    ]
    assert "no difference was tested" in lines[4]
    assert lines[5].endswith(f"There are no verdicts in this run. {LEFT_OUT}")


def test_of_many_panels_what_is_missing_is_not_said(run_of: RunOf) -> None:
    bare = said(run_of, *many(intervals=False, ceiling=None))
    assert "interval" not in bare
    assert "ceiling" not in bare
    alone = [r for r in many() if r.role == "trained" and not (r.recordings == "two" and r.region == "V4")]
    lines = summary.sentences(run_of(results=alone))
    assert lines[3] == "simulated two  0.20  —     0.10"
    assert "No untrained network stands beside it in this run." in lines[4]
    assert "higher than" not in " ".join(lines)
    partly = [r for r in many() if r.role == "trained" or (r.role == "untrained" and r.recordings == "one")]
    ((_, second, third, _), _) = summary.paragraphs(run_of(results=partly))
    assert second == "At their best sites, untrained networks reach 0.15 to 0.25 for one."
    assert "in 3 of 3 panels" in third


def test_of_many_recordings_the_ranges_are_taken_together(run_of: RunOf) -> None:
    results = [result("net", "trained", 0, 0.1 * k, recordings=f"r{k}") for k in range(1, 6)]
    ((first, *_), _) = summary.paragraphs(run_of(results=results))
    assert first == "By Spearman ρ, net at its best site reaches 0.10 (IT of r1) to 0.50 (IT of r5) over 5 panels."


def test_no_results_is_said(run_of: RunOf) -> None:
    assert said(run_of).startswith("This run has no results for a trained network.")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "—"), (float("nan"), "—"), (float("inf"), "—"), (-0.03141, "−0.031"), (-0.0001, "0.000"), (1, "1.000")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert wording.number(value) == text


@pytest.mark.parametrize(("p", "text"), [(None, "—"), (0.0004, "< 0.001"), (0.5, "0.500"), (0.0, "< 0.001")])
def test_p_values(p: float | None, text: str) -> None:
    assert wording.p_value(p) == text


def test_lists_and_spans() -> None:
    assert [wording.listed(list(s)) for s in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
    assert wording.span((-0.1, 0.2)) == "−0.100 to 0.200"
    assert wording.span(None) == wording.span((float("nan"), 1.0)) == "—"


def test_what_describes_a_network_by_itself_is_told_along_it(run_of: RunOf) -> None:
    about = {"comparison": "postdictions", "measure": "Gabor simplicity, median", "region": "features"}
    told = said(run_of, *(result("net", "trained", block, share, **about) for block, share in ((0, 0.83), (8, 0.3))))
    assert "net (trained), from the stem to its end: Gabor simplicity, median 0.83, 0.30." in told
    assert "no results" not in told


def test_of_much_that_was_left_out_the_first_is_told_with_the_count(run_of: RunOf) -> None:
    many = run_of(blocks=1, dropped=("net blocks.0.hook_write was left out: constant" * 9, "b", "b", "c"))
    told = summary.sentences(many)[-1]
    assert "Left out (3 notes in the report): net blocks.0.hook_write" in told
    assert told.endswith("\u2026.")
    assert "Left out" not in summary.sentences(run_of(blocks=1, dropped=()))[-1]
