"""The pattern over many regions and recordings, in sentences and one small table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from comparisons.report import panels as select
from comparisons.report.best import Best, of_model, overlap, trained
from comparisons.report.wording import listed, number, span

SPELLED = 3  # recordings up to which each gets its range in a sentence
RIVALS = {"untrained": "untrained networks", "control": "controls"}


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


def ranges(mine: Sequence[Best], tops: Sequence[Best], measure: str) -> list[str]:
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


def counts(mine: Sequence[Best], tops: Sequence[Best]) -> list[str]:
    """In how many panels one trained network is above the others, reaches the ceiling, is beaten by its writes."""
    name = mine[0].result.model
    rivals = _rivals(mine, tops)
    clauses = []
    for role, found in rivals.items():
        pairs = [(b, found[place]) for b in mine if (place := _place(b)) in found]
        if not pairs:
            continue
        higher = sum(b.result.estimate > rival.result.estimate for b, rival in pairs)
        overlaps = [overlap(b, rival) for b, rival in pairs]
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


def table(tops: Sequence[Best]) -> list[str]:
    """The best estimates as aligned lines: a row a recordings, a column a region, in a cell one number a role."""
    model = trained(tops)[0]
    mine = of_model(model, tops)
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
