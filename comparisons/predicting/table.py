"""A plan with its predictions, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from comparisons.predicting.downloads import Download
from comparisons.predicting.predict import Prediction, total

EXPLAINED = {
    "the same stage": "what this very stage took before in this store",
    "stages like it": "what stages of its kind took before in this store, scaled by size",
    "benchmarks": "measured throughput of the benchmarks' machine (two cores), scaled by size",
    "not known": "nothing to predict it by yet; a first run leaves what the next is predicted from",
}


def as_text(found: Sequence[Prediction], fetched: Sequence[Download] = ()) -> str:
    """Every stage with what it will take, the sums, and how the times are known."""
    width = max((len(one.id) for one in found), default=0)
    lines = []
    for one in found:
        disk = f"{bytes_text(one.disk):>8} disk"
        if one.cached:
            lines.append(f"cached  {one.id:{width}}  {'':9}  {'':15}  {disk}  {'':14}  {one.key}")
            continue
        took = f"{duration(one.seconds):>9}  {bytes_text(one.memory):>8} memory"
        lines.append(f"to do   {one.id:{width}}  {took}  {disk}  {one.how:14}  {one.key}")
    whole = total(found)
    lines.append("")
    if not whole.missing:
        lines.append(f"All {len(found)} stages are cached: only the report is written.")
    else:
        lines.append(f"{whole.missing} of {len(found)} stages to do, one after the other, without the report:")
        lines.append(f"  time    {_sum(duration(whole.seconds), whole.missing, whole.unknown)}")
        memory = "-" if whole.memory is None else f"{bytes_text(whole.memory)} at its height"
        lines.append(f"  memory  {_sum(memory, whole.missing, whole.memory_unknown)}")
        lines.append(f"  disk    {_sum(bytes_text(whole.disk), whole.missing, whole.disk_unknown)}")
    used = dict.fromkeys(one.how for one in found if not one.cached)
    lines += [f"{how}: {EXPLAINED[how]}." for how in EXPLAINED if how in used]
    for thing in fetched:
        size = "size not known" if thing.bytes is None else bytes_text(thing.bytes)
        lines.append(f"to be fetched: {thing.what} ({size})")
    return "\n".join(lines)


def as_json(found: Sequence[Prediction], fetched: Sequence[Download] = ()) -> dict[str, Any]:
    """The same as plain values; None is what is not known."""
    return {
        "stages": [one.as_json() for one in found],
        "total": asdict(total(found)),
        "explained": EXPLAINED,
        "fetched": [one.as_json() for one in fetched],
    }


def duration(seconds: float | None) -> str:
    """A time as a person says it; a question mark where it is not known.

    >>> duration(0.4), duration(75), duration(7300), duration(None)
    ('0.4 s', '1 min 15 s', '2 h 1 min', '?')
    """
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def bytes_text(count: int | None) -> str:
    """Bytes as a person says them.

    >>> bytes_text(1234), bytes_text(5_600_000), bytes_text(None)
    ('1.2 kB', '5.6 MB', '?')
    """
    if count is None:
        return "?"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def _sum(text: str, missing: int, unknown: int) -> str:
    if unknown == missing:
        return "not known"
    return text if not unknown else f"{text}, and {unknown} stage{'s' if unknown > 1 else ''} not known"
