"""The numbers of a few regions, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from comparisons.report import panels as select
from comparisons.report.best import Best, overlap
from comparisons.report.wording import listed, number, span


def numbers(mine: Sequence[Best], tops: Sequence[Best], measure: str) -> list[str]:
    """One trained network's best sites (`mine`, of all best sites `tops`): where, against ceilings, writes, untrained
    networks."""
    return [_where(mine, measure), *_against_ceiling(mine), *_writes(mine), *_untrained(mine, tops)]


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
    found = [(mine.place, overlap(mine, rival)) for mine, rival in pairs]
    if any(known is None for _, known in found):
        return ""
    overlapping = [place for place, known in found if known]
    if not overlapping:
        return "; the two 95% intervals do not overlap"
    if len(overlapping) > 2:
        return f"; the two 95% intervals overlap for {len(overlapping)} of these {len(pairs)}"
    return f"; the two 95% intervals overlap for {listed(overlapping)}"
