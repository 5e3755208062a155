"""Numbers, intervals and lists for a reader."""

from __future__ import annotations

import math
from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"


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


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; cells stand as they are."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
