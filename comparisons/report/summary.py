"""What came out, in sentences and one small table, made from the numbers alone.

The wording claims no more than a run has tested: a best site is named with the number of sites it was picked from, two
networks are set side by side without a word on significance, and a verdict is mentioned only where one was computed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from comparisons.report import panels as select
from comparisons.report.panels import Panel
from comparisons.results import Result, RunResults

MINUS = "\N{MINUS SIGN}"
NAMED = 2  # trained networks that get a sentence each; the table has all
MANY = 4  # panels up to which each gets its numbers in a sentence; of more, the pattern is told and the table has them
SPELLED = 3  # recordings up to which each gets its range in a sentence
RIVALS = {"untrained": "untrained networks", "control": "controls"}


def number(value: float | None, digits: int = 3) -> str:
    """A number for a reader: fixed digits and a true minus; an em dash for None, NaN and infinities.

    >>> number(-0.0314)
    '−0.031'
    """
    if value is None or not math.isfinite(value):
        return "—"
    text = f"{value:.{digits}f}"
    if not float(text):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def percent(value: float | None) -> str:
    """A share in percent; a dash for None or what is not finite. What is not 0 or 1 is never shown as 0% or 100%."""
    if value is None or not math.isfinite(value):
        return "—"
    if 0 < value < 0.01:
        return "< 1%"
    return "> 99%" if 0.99 < value < 1 else f"{value:.0%}".replace("-", MINUS)


def span(bounds: tuple[float, float] | None, digits: int = 3) -> str:
    """An interval for a reader, `0.10 to 0.20`; an em dash where there is none."""
    if bounds is None or not all(map(math.isfinite, bounds)):
        return "—"
    return f"{number(bounds[0], digits)} to {number(bounds[1], digits)}"


def p_value(p: float | None) -> str:
    """A p as it is printed: three digits, `< 0.001` below, an em dash where there is none."""
    if p is None or not math.isfinite(p):
        return "—"
    return "< 0.001" if p < 0.001 else number(p)


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1] if parts else ""


@dataclass(frozen=True)
class Best:
    """Where one network's stream comes closest to one region, and what that was picked from."""

    title: str
    measure: str
    result: Result
    sites: int
    ceiling: tuple[float, float] | None
    simulated: bool
    write: Result | None
    """The best of its writes; None if none was compared, or if the network has no stream site to set beside it."""

    @property
    def place(self) -> str:
        """The region in a sentence, with its recordings where the region alone would be ambiguous."""
        region = self.result.region
        return region if self.title == region else f"{region} of {self.result.recordings}"


def best_sites(shown: Sequence[Panel]) -> list[Best]:
    """The best site for each region and network, regions in ventral order, trained networks first.

    Picked from the stream (stem and resid_post); from all sites of a network that has none of these.
    """
    found = []
    for panel, title in zip(shown, select.panel_titles(shown), strict=True):
        for model, role in select.models(panel.results):
            mine = [r for r in panel.results if (r.model, r.role) == (model, role) and select.has_estimate(r)]
            stream = [r for r in mine if select.kind(r) in ("stem", "resid_post")]
            write = select.best(r for r in mine if select.kind(r) == "write") if stream else None
            top = select.best(stream or mine)
            if top is not None:
                count = len(stream or mine)
                found.append(Best(title, panel.measure, top, count, panel.ceiling, top.simulated, write))
    return found


def sentences(results: RunResults) -> list[str]:
    """What came out, line by line for a terminal: sentences, after a small aligned table where panels are many."""
    said = paragraphs(results)
    shown = next(iter(select.panels(compared(results.results)).values()), [])
    tops = best_sites(shown)
    if len(shown) <= MANY or not _trained(tops):
        return [sentence for paragraph in said for sentence in paragraph]
    # The table says what the sentences on ranges say.
    return [*_table(tops), " ".join(_counts(_of(_trained(tops)[0], tops), tops)), " ".join(said[-1])]


def paragraphs(results: RunResults) -> list[list[str]]:
    """What came out by the first measure of the run; the last paragraph says how to read it.

    Up to MANY panels: a paragraph a trained network, with the numbers of each region. More: the pattern over regions
    of the first trained network.
    """
    figures = select.panels(compared(results.results))
    said: list[list[str]] = probed(results.results)
    remarks: list[str] = []
    if figures:
        (_, measure), shown = next(iter(figures.items()))
        tops = best_sites(shown)
        trained = _trained(tops)
        named = trained[:NAMED] if len(shown) <= MANY else trained[:1]
        for model in named:
            mine = _of(model, tops)
            if len(shown) <= MANY:
                said.append([_where(mine, measure), *_against_ceiling(mine), *_writes(mine), *_untrained(mine, tops)])
            else:
                said.append([*_ranges(mine, tops, measure), *_counts(mine, tops)])
        codes = {b.result.model for b in tops if b.result.dictionary}
        if more := len([model for model in trained if model not in codes and model not in named]):
            remarks.append(f"The table of best sites has {more} more trained network{'s' if more > 1 else ''}.")
        if codes - set(named):
            remarks.append("The table of best sites has the codes of dictionaries, too.")
        counts = {b.sites for b in tops if b.result.role == "trained"}
        if counts and max(counts) > 1:
            remarks.append(
                f"Each best site was picked among {_range(counts)} on the same data that it is reported on, "
                "which favours high numbers."
            )
    if not said and not (results.verdicts or results.confusion):
        remarks.append("This run has no results for a trained network.")
    return [*said, [*remarks, *_confusion(results), *_verdicts(results)]]


def compared(results: Iterable[Result]) -> list[Result]:
    """The results that say how much a network is like recordings: all but those that describe it by itself."""
    return [result for result in results if result.comparison not in select.BY_THEMSELVES]


def probed(results: Iterable[Result]) -> list[list[str]]:
    """A paragraph a network: its simple features and what stays readable, from the first site probed to the last."""
    mine = [result for result in results if result.comparison == "probe"]
    said = []
    for model, role in select.models(mine):
        clauses = []
        for measure, about in TOLD:
            line = select.along_stream([r for r in mine if (r.measure, r.region) == (measure, about)], model, role)
            if len(line) > 1:
                named = measure if about == "features" else f"{about}, {measure}"
                clauses.append(f"{named}: {' '.join(number(result.estimate, 2) for result in line)}")
        if clauses:
            said.append([f"{model} ({role}), from the stem to its end. {'; '.join(clauses)}."])
    return said


TOLD = (
    ("share of simple features", "features"),
    ("share tuned to orientation", "features"),
    ("decoded from gratings (R2)", "orientation, other frequencies"),
)
"""Measures of probes, and what they are about, that the summary tells; the table has all."""


def _trained(tops: Iterable[Best]) -> list[str]:
    """The trained networks, in order."""
    return list(dict.fromkeys(b.result.model for b in tops if b.result.role == "trained"))


def _of(model: str, tops: Iterable[Best]) -> list[Best]:
    """The best sites of one trained network."""
    return [b for b in tops if (b.result.model, b.result.role) == (model, "trained")]


# ------------------------------------------------------------------------------------------- the pattern of many panels


def _place(top: Best) -> tuple[str, str]:
    return top.result.recordings, top.result.region


def _rivals(mine: Sequence[Best], tops: Iterable[Best]) -> dict[str, dict[tuple[str, str], Best]]:
    """For each role that a trained network is set beside: (recordings, region) -> the best of all its networks. The
    stream stands beside streams, and a dictionary's codes beside codes of that dictionary's name."""
    found: dict[str, dict[tuple[str, str], Best]] = {role: {} for role in RIVALS}
    for top in tops:
        if top.result.role in found and top.result.dictionary == mine[0].result.dictionary:
            best, place = found[top.result.role], _place(top)
            if place not in best or top.result.estimate > best[place].result.estimate:
                best[place] = top
    return {role: places for role, places in found.items() if places}


def _grouped(tops: Iterable[Best]) -> dict[str, list[Best]]:
    """Best sites by recordings, in their order."""
    found: dict[str, list[Best]] = {}
    for top in tops:
        found.setdefault(top.result.recordings, []).append(top)
    return found


def _ranges(mine: Sequence[Best], tops: Sequence[Best], measure: str) -> list[str]:
    """What one trained network reaches over the regions of each recordings, and what the others reach."""
    groups = _grouped(mine)
    if len(groups) > SPELLED:
        reach = f"{_extremes(mine, where=lambda b: b.place)} over {len(mine)} panels"
        groups = {"": list(mine)}
    else:
        reach = listed([f"{_extremes(group)} for {_recordings(group)}" for group in groups.values()])
    said = [f"By {select.measure_label(measure)}, {mine[0].result.model} at its best site reaches {reach}."]
    others = []
    for role, found in _rivals(mine, tops).items():
        spans = []
        for name, group in groups.items():
            known = [found[place].result.estimate for b in group if (place := _place(b)) in found]
            named = f" for {name}" if len(groups) > 1 else ""
            spans += [f"{span((min(known), max(known)), 2)}{named}"] if known else []
        others.append(f"{RIVALS[role]} reach {listed(spans)}")
    if others:
        said.append(f"At their best sites, {'; '.join(others)}.")
    return said


def _recordings(group: Sequence[Best]) -> str:
    """Recordings in a sentence."""
    return f"{'simulated ' if any(b.simulated for b in group) else ''}{group[0].result.recordings}"


def _extremes(group: Sequence[Best], where: Callable[[Best], str] = lambda b: b.result.region) -> str:
    """The range over regions, from the lowest estimate to the highest, each with its region."""
    low, high = min(group, key=lambda b: b.result.estimate), max(group, key=lambda b: b.result.estimate)
    ends = [f"{number(b.result.estimate, 2)} ({where(b)})" for b in (low, high)]
    return " to ".join(dict.fromkeys(ends))


def _counts(mine: Sequence[Best], tops: Sequence[Best]) -> list[str]:
    """In how many panels one trained network is above the others, reaches the ceiling, is beaten by its writes."""
    name = mine[0].result.model
    rivals = _rivals(mine, tops)
    clauses = []
    for role, found in rivals.items():
        pairs = [(b, found[place]) for b in mine if (place := _place(b)) in found]
        if not pairs:
            continue
        higher = sum(b.result.estimate > rival.result.estimate for b, rival in pairs)
        overlaps = [_overlap(b, rival) for b, rival in pairs]
        intervals = "" if None in overlaps else f" (95% intervals overlap in {sum(map(bool, overlaps))})"
        clauses.append(f"higher than {RIVALS[role]} in {higher} of {len(pairs)} panels{intervals}")
    said = [f"{name} scores {listed(clauses)}; no difference was tested."] if clauses else []
    if "untrained" not in rivals:
        said.append("No untrained network stands beside it in this run.")
    reached = [b.result.estimate >= b.ceiling[0] for b in mine if b.ceiling is not None]
    beaten = [b.write.estimate > b.result.estimate for b in mine if b.write is not None]
    parts = []
    if reached:
        parts.append(f"it reaches the lower bound of the noise ceiling in {sum(reached)} of {len(reached)} panels")
    if beaten:
        parts.append(f"a block's write comes closer than the stream at its best in {sum(beaten)} of {len(beaten)}")
    text = "; ".join(parts)
    return [*said, f"{text[0].upper()}{text[1:]}."] if text else said


def _table(tops: Sequence[Best]) -> list[str]:
    """The best estimates as aligned lines: a row a recordings, a column a region, in a cell one number a role."""
    model = _trained(tops)[0]
    mine = _of(model, tops)
    columns = {model: {_place(b): b for b in mine}}
    columns |= {f"best {role}": found for role, found in _rivals(mine, tops).items()}
    regions = list(dict.fromkeys(b.result.region for b in mine))
    rows = [["", *regions]]
    for name, group in _grouped(mine).items():
        at = [[found.get((name, region)) for found in columns.values()] for region in regions]
        cells = [" / ".join(number(b.result.estimate if b else None, 2) for b in best) for best in at]
        rows.append([_recordings(group), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [f"{select.measure_label(mine[0].measure)} at the best site: {' / '.join(columns)}", *lines]


# ---------------------------------------------------------------------------------------- the numbers of few panels


def _where(mine: Sequence[Best], measure: str) -> str:
    """Where along the stream one network comes closest to each region."""
    clauses = []
    for top in mine:
        where = "at its only site" if top.result.depth is None else f"at depth {number(top.result.depth, 2)}"
        wrote = " (a write)" if select.kind(top.result) == "write" else ""
        evidence = number(top.result.estimate)
        if top.result.interval is not None:
            evidence += f" [{number(top.result.interval[0], 2)}, {number(top.result.interval[1], 2)}]"
        if top.ceiling is not None:
            evidence += f", noise ceiling {span(top.ceiling, 2)}"
        simulated = "simulated " if top.simulated else ""
        clauses.append(f"to {simulated}{top.place} {where}{wrote}: {evidence}")
    intervals = "; 95% intervals in brackets" if any(top.result.interval for top in mine) else ""
    opening = f"By {select.measure_label(measure)}, {mine[0].result.model} comes closest "
    return f"{opening}{'; '.join(clauses)}{intervals}."


def _against_ceiling(mine: Sequence[Best]) -> list[str]:
    """Whether one trained network's best sites reach the lower noise ceilings."""
    reached = [b.place for b in mine if b.ceiling is not None and b.result.estimate >= b.ceiling[0]]
    if not any(b.ceiling for b in mine):
        return []
    if not reached:
        return ["The lower bound of the noise ceiling is reached nowhere."]
    return [f"The lower bound of the noise ceiling is reached for {listed(reached)}."]


def _writes(mine: Sequence[Best]) -> list[str]:
    """How the best write of one trained network stands to the best site of its stream."""
    known = [(b, b.write) for b in mine if b.write]
    higher = [
        f"{b.place} ({number(write.estimate)} at depth {number(write.depth, 2)})"
        for b, write in known
        if write.estimate > b.result.estimate
    ]
    if not known:
        return []
    if not higher:
        return ["No write of a block comes closer to a region than the stream does at its best."]
    return [f"The write of a block comes closer than the stream does at its best for {listed(higher)}."]


def _untrained(mine: Sequence[Best], tops: Sequence[Best]) -> list[str]:
    """How one trained network's best sites stand to the best sites of the untrained networks."""
    pairs: list[tuple[Best, Best]] = []
    for top in mine:
        rivals = [
            b
            for b in tops
            if b.title == top.title and b.result.role == "untrained" and b.result.dictionary == top.result.dictionary
        ]
        if rivals:
            pairs.append((top, max(rivals, key=lambda b: b.result.estimate)))
    if not pairs:
        return ["No untrained network stands beside it in this run."]
    above = [f"{t.place} ({number(r.result.estimate)})" for t, r in pairs if t.result.estimate > r.result.estimate]
    below = [f"{t.place} ({number(r.result.estimate)})" for t, r in pairs if t.result.estimate <= r.result.estimate]
    parts = [f"lower for {listed(above)}"] if above else []
    if below:
        parts.append(f"as high or higher for {listed(below)}")
    return [
        f"The best site of an untrained network is {' and '.join(parts)}{_overlaps(pairs)}; "
        "the difference itself was not tested here."
    ]


def _overlaps(pairs: Sequence[tuple[Best, Best]]) -> str:
    """Where the intervals of two best sites overlap; nothing where one is missing."""
    found = [(mine.place, _overlap(mine, rival)) for mine, rival in pairs]
    if any(overlap is None for _, overlap in found):
        return ""
    overlapping = [place for place, overlap in found if overlap]
    if not overlapping:
        return "; the two 95% intervals do not overlap"
    if len(overlapping) > 2:
        return f"; the two 95% intervals overlap for {len(overlapping)} of these {len(pairs)}"
    return f"; the two 95% intervals overlap for {listed(overlapping)}"


def _overlap(one: Best, other: Best) -> bool | None:
    """Whether two intervals overlap; None where one is missing."""
    if one.result.interval is None or other.result.interval is None:
        return None
    (low, high), (other_low, other_high) = one.result.interval, other.result.interval
    return low <= other_high and other_low <= high


def _range(counts: Iterable[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low} sites" if low == high else f"{low} to {high} sites"


def _verdicts(results: RunResults) -> list[str]:
    if not results.verdicts:
        return [] if results.confusion else ["There are no verdicts in this run."]
    counts = Counter(verdict.answer for verdict in results.verdicts)
    return [f"Verdicts: {listed([f'{count} {answer}' for answer, count in counts.items()])}."]


def _confusion(results: RunResults) -> list[str]:
    """How many rows of the confusion matrix are as a valid rule needs them, and which are not."""
    asked = [row for row in results.confusion if row.met is not None]
    if not asked:
        return []
    failed = [f"{row.cell} ({row.statistic})" for row in asked if not row.met]
    told = f"{len(asked) - len(failed)} of {len(asked)} rows of the confusion matrix are as a valid rule needs them"
    return [f"{told}; not {listed(failed)}." if failed else f"{told}."]


def verdict_grid(results: RunResults) -> tuple[list[str], list[tuple[str, bool, list[str]]]]:
    """The predictions, and for each subject its name, whether it is simulated, and its answer to each ('' for none)."""
    predictions = sorted({verdict.prediction for verdict in results.verdicts})
    answers: dict[tuple[str, bool], dict[str, str]] = {}
    for verdict in results.verdicts:
        answers.setdefault((verdict.subject, verdict.simulated), {})[verdict.prediction] = verdict.answer
    rows = [(*subject, [found.get(one, "") for one in predictions]) for subject, found in answers.items()]
    return predictions, rows
