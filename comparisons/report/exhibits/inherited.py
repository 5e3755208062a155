"""Variability of recordings: what of an area's errors a later one inherits, and how variable neuroids are by area."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.recordings.order import in_order
from comparisons.report.drawing import COLOURS, MUTED
from comparisons.report.exhibits.picture import Picture, bars, bound, expected, instead, panels, slug, title, zero
from comparisons.report.values import told
from comparisons.report.wording import number, p_value
from comparisons.verdicts.variability import LEAST_DIRECT, NOT_TRANSPORTED, PROFILE_LEVEL, TRANSPORTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curves = Mapping[str, Any]
"""What `comparisons.variability.recorded.judge` gives as curves."""
FRAME = (-0.6, 1.6)
"""Transport outside is cut: an area that does not tell the variable has no calibrated one to speak of."""


def inherited(found: Mapping[str, Curves], simulated: Mapping[str, bool]) -> Iterator[Picture]:
    """A picture a recordings: transport and direct path by pair of areas, or variance profiles; Fano factor and gain
    variance by area. Nothing where none of these is known. Recordings of one run share their scales."""
    highest = {key: _highest(found.values(), key) for key in ("Fano factor", "gain variance")}
    for name, curves in found.items():
        parts = _parts(curves, highest)
        if not parts:
            continue
        figure, columns = panels(len(parts), width=2.75, height=2.5)
        for (draw, _), (axes,) in zip(parts, columns, strict=True):
            draw(axes)
        for place, (axes,) in enumerate(columns):
            title(axes, "" if place else name, simulated=simulated.get(name, False))
        yield Picture(
            name=f"variability-{slug(name)}",
            group="P2 in recordings: whether variability is inherited",
            caption=" ".join([f"{name}.", *(caption for _, caption in parts)]),
            words=f"{name}: {_in_words(curves)}",
            figure=figure,
            simulated=simulated.get(name, False),
        )


Part = tuple[Callable[["Axes"], None], str]


def _parts(curves: Curves, highest: Mapping[str, float]) -> list[Part]:
    """What is drawn of one recordings, from left to right, with its caption."""
    parts: list[Part] = []
    if pairs := curves.get("transport"):
        parts.append((lambda axes: _transport(axes, pairs), TRANSPORT))
        if any(pair["C1"] for pair in pairs):
            parts.append((lambda axes: _direct(axes, [pair for pair in pairs if pair["C1"]]), DIRECT))
    if profiles := curves.get("profiles"):
        parts.append((lambda axes: _profiles(axes, profiles), PROFILE))
    for key, caption in (("Fano factor", FANO), ("gain variance", GAIN)):
        if values := curves.get(key):
            parts.append((_by_area(key, values, highest[key]), caption))
    return parts


TRANSPORT = (
    "Transport of decoding errors by pair of areas, the deciding pair filled: of what the earlier area tells wrongly "
    "of the stimulus on a single trial, the share that the later one tells wrongly as well, calibrated by how much it "
    "tells at all; 95% intervals over stimuli. If variability is passed on, it is near 1, whatever lies between; if "
    "each area computes anew, near 0. Dashed: the bounds of the rule. Strokes: not calibrated. What leaves the frame "
    "is cut."
)
DIRECT = (
    f"Direct path C1: what of the errors arrives past the area before; above {LEAST_DIRECT:g} (dashed) a bypass or "
    "common input, which decides nothing. A chain has none, and a complete residual stream neither."
)
PROFILE = (
    "Areas were not recorded in the same trials. Variance profile: what the earlier areas' variance over stimuli "
    "explains of this area's, beyond its mean counts (added R2, with p); weak evidence, which decides nothing."
)
FANO = "Fano factor: variance over mean of counts, 1 (dotted) for a Poisson process; mean over neuroids, 95% interval."
GAIN = (
    "Gain variance: that of a shared factor on the rate, 0 for a Poisson process. Both rise along plain chains as well "
    "as along streams, and decide nothing."
)


def _transport(axes: Axes, pairs: Sequence[Mapping[str, Any]]) -> None:
    zero(axes)
    for value in (TRANSPORTED, NOT_TRANSPORTED):
        bound(axes, value)
    expected(axes, 1.0, "passed\non")
    expected(axes, 0.0, "anew")
    _pairs(axes, pairs)
    for place, pair in enumerate(pairs):
        said = [_said("not calibrated", pair, "T")]
        bars(axes, [place + 0.22], [_within(pair["T"])], said, fmt="_", color=MUTED, ms=7, lw=0.9)
        said = [_said("transport, calibrated", pair, "cal")]
        bars(axes, [place], [_within(pair["cal"])], said, mfc=COLOURS[0] if place == 0 else "none")
    axes.set_ylabel("Error transport, calibrated")


def _direct(axes: Axes, pairs: Sequence[Mapping[str, Any]]) -> None:
    zero(axes)
    bound(axes, LEAST_DIRECT)
    _pairs(axes, pairs)
    said = [_said("direct path C1", pair, "C1") for pair in pairs]
    bars(axes, range(len(pairs)), [_within(pair["C1"]) for pair in pairs], said, fmt="D", color=COLOURS[3])
    axes.set_ylabel("Direct path C1")


def _pairs(axes: Axes, pairs: Sequence[Mapping[str, Any]]) -> None:
    labels = [f"{pair['earlier']}\u2192{pair['later']}" for pair in pairs]
    axes.set_xticks(range(len(pairs)), labels, fontsize=7, rotation=0 if len(pairs) < 4 else 90)
    axes.set_xlim(-0.5, len(pairs) - 0.5)
    axes.set_ylim(*FRAME)


def _said(name: str, pair: Mapping[str, Any], key: str) -> str:
    """One of a pair's values as it is, where the frame may cut its interval."""
    return told(f"{name}, {pair['earlier']} to {pair['later']}", pair[key] or [None])


def _profiles(axes: Axes, profiles: Sequence[Mapping[str, Any]]) -> None:
    zero(axes)
    values = [profile["added"] for profile in profiles]
    below = [profile["p"] < PROFILE_LEVEL for profile in profiles]
    for place, (value, filled) in enumerate(zip(values, below, strict=True)):
        axes.plot(place, value, "o", color=COLOURS[0], ms=5, mfc=COLOURS[0] if filled else "none")
        axes.annotate(
            f"p {p_value(profiles[place]['p'])}", (place, value), xytext=(0, 5), textcoords="offset points",
            ha="center", fontsize=6.5, color=MUTED,
        )  # fmt: skip
    axes.set_xticks(range(len(profiles)), [profile["region"] for profile in profiles])
    axes.set_xlim(-0.5, len(profiles) - 0.5)
    axes.set_ylim(min(0.0, *values, 0.0) - 0.05, max(0.3, *values) * 1.25)
    axes.set_ylabel("Variance profile, added R2")


def _by_area(key: str, values: Mapping[str, Sequence[float]], highest: float) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        areas = in_order(values)
        if key == "Fano factor":
            expected(axes, 1.0, "Poisson")
        else:
            zero(axes)
        axes.set_xticks(range(len(areas)), areas)
        axes.set_xlim(-0.5, len(areas) - 0.5)
        axes.set_ylim(min(0.0, *(min(value) for value in values.values())), 1.08 * highest)
        said = [told(f"{key}, {area}", values[area]) for area in areas]
        bars(axes, range(len(areas)), [values[area] for area in areas], said, fmt="s", color=COLOURS[2])
        axes.set_ylabel(key.capitalize() if key == "Fano factor" else "Gain variance")
        if not len(areas):
            instead(axes, "no neuroid responds")

    return draw


def _highest(found: Iterable[Curves], key: str) -> float:
    return max((end for curves in found for value in curves.get(key, {}).values() for end in value), default=1.0)


def _within(value: Sequence[float | None] | None) -> list[float | None] | None:
    """The value with limits cut to the frame; None where it is undefined or outside."""
    if value is None or value[0] is None or not FRAME[0] <= value[0] <= FRAME[1]:
        return None
    return [value[0], *(None if end is None else float(np.clip(end, *FRAME)) for end in value[1:])]


def _in_words(curves: Curves) -> str:
    words = []
    for pair in curves.get("transport", []):
        if pair["cal"] and pair["cal"][0] is not None:
            words.append(f"{pair['earlier']} to {pair['later']} {number(pair['cal'][0], 2)}")
    if words:
        words = [f"calibrated transport {', '.join(words)}"]
    words += [
        f"variance profile of {profile['region']} adds R2 {number(profile['added'], 2)}, p {p_value(profile['p'])}"
        for profile in curves.get("profiles", [])
    ]
    for key in ("Fano factor", "gain variance"):
        if values := curves.get(key):
            words.append(f"{key} {', '.join(f'{area} {number(values[area][0], 2)}' for area in in_order(values))}")
    return "; ".join(words)
