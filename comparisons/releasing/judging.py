"""Whether a dictionary is good enough to be published, by what was measured on tokens held out of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comparisons.releasing.spec import Gates


def shortcomings(measured: Mapping[str, Any] | None, gates: Gates) -> list[str]:
    """Which gates a dictionary does not pass, a few words each; none where it passes all.

    `measured` is `saes.metrics.Metrics.as_json`: fvu, dead, tokens (None: not measured, which passes no gate).
    """
    if measured is None:
        return ["not measured: no stimuli were held out"]
    found = []
    fvu, dead, tokens = measured.get("fvu"), measured.get("dead"), measured.get("tokens") or 0
    if tokens < gates.tokens:
        found.append(f"measured on {tokens:,} tokens, fewer than {gates.tokens:,}")
    if fvu is None or 1 - fvu < gates.explained:
        found.append(
            f"explains {'nothing measurable' if fvu is None else f'{1 - fvu:.3f}'}, less than {gates.explained:g}"
        )
    if dead is None or 1 - dead < gates.live:
        found.append(f"{'no' if dead is None else f'{1 - dead:.0%} of the'} latents live, less than {gates.live:.0%}")
    return found
