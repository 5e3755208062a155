"""How long simple and complex features last along a stream: Kaplan-Meier curves with their seed ceiling."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comparisons.persistence.survival_results import expected_deaths
from comparisons.report import values as reading
from comparisons.report.drawing import COLOURS, FAINT, INK, MUTED
from comparisons.report.exhibits.picture import Picture, instead, legend, named, panels, slug, title
from comparisons.report.wording import listed, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = {"simple": (COLOURS[0], (None, None), "o"), "not simple": (COLOURS[1], (5.0, 1.4, 1.0, 1.4), "s")}
"""Colour, dash and marker of the groups that are drawn; the complex extreme is in the table."""
CEILING = "what the seed ceiling alone would leave"
FEW = 10
"""Features at risk below which a step says little, and is drawn faint."""

Survival = Mapping[str, Any]
"""What `comparisons.persistence.survival_results.summarised` keeps, with the dictionary's name, seeds and sites."""


def survival(models: Sequence[Mapping[str, Any]]) -> Iterator[Picture]:
    """A picture for each dictionary that has several seeds: `models` are those of a persistence stage's curves.

    A column a network: above, the share found again by age with 95% intervals beside what the seed ceiling alone would
    leave; below, survival over that ceiling and the number at risk.
    """
    known = [(model, one) for model in models for one in model["survival"]]
    for name in dict.fromkeys(one["dictionary"] for _, one in known):
        mine = [(model, one) for model, one in known if one["dictionary"] == name]
        yield _picture(name, mine)


def _picture(name: str, mine: Sequence[tuple[Mapping[str, Any], Survival]]) -> Picture:
    from matplotlib.lines import Line2D

    figure, columns = panels(len(mine), width=3.0, height=2.35, rows=2)
    oldest = max(len(one["sites"]) - 1 for _, one in mine)
    for number_, ((model, one), (above, below)) in enumerate(zip(mine, columns, strict=True)):
        title(above, named(model), _hazard(one))
        for axes, key in ((above, "survival"), (below, "corrected")):
            _draw(axes, one["curves"], key, oldest)
        if not number_:
            above.set_ylabel("found again, share")
            below.set_ylabel("over the seed ceiling")
        below.set_xlabel("Sites after birth")
        _at_risk(below, one["curves"], oldest)
    samples = [
        (f"{group} features, 95% interval", Line2D([], [], color=colour, dashes=dash, lw=1.6, marker=marker, ms=4))
        for group, (colour, dash, marker) in LINES.items()
    ]
    samples.append((CEILING, Line2D([], [], color=MUTED, dashes=(1, 1.5), lw=1.2)))
    legend(figure, samples)
    return Picture(
        name=f"survival-{slug(name)}",
        group="P1: how long features last",
        caption=_caption(name, mine),
        words="; ".join(_in_words(model, one) for model, one in mine),
        figure=figure,
    )


def _draw(axes: Axes, curves: Mapping[str, Any], key: str, oldest: int) -> None:
    """Survival of the groups by age: `survival` with the ceiling beside it, or `corrected`."""
    axes.set_xlim(0, oldest + 0.15)
    axes.set_ylim(-0.03, 1.05)
    axes.set_xticks(range(oldest + 1))
    axes.axhline(0, color=FAINT, lw=0.8, zorder=1)
    drawn = False
    for group, (colour, dash, marker) in LINES.items():
        curve = curves[group]
        values = _numbers(curve[key])
        if not np.isfinite(values).any():
            continue
        drawn = True
        ages = np.array([0, *curve["ages"]])
        limits = _numbers(curve["interval" if key == "survival" else "corrected_interval"]).reshape(-1, 2)
        low, high = np.concatenate([[1.0], limits[:, 0]]), np.concatenate([[1.0], limits[:, 1]])
        line = np.concatenate([[1.0], values])
        band = axes.fill_between(ages, low, high, step="post", color=colour, alpha=0.16, linewidth=0, zorder=2)
        sure = np.concatenate([[True], np.array(curve["at_risk"]) >= FEW])
        thin = axes.step(ages, line, where="post", color=colour, lw=0.8, dashes=dash, alpha=0.6, zorder=3)
        thick = axes.step(
            ages, np.where(sure, line, np.nan), where="post", color=colour, lw=1.7, dashes=dash, zorder=3.1
        )
        marks = axes.plot(ages, line, color=colour, ls="none", marker=marker, ms=3.6, mew=0, zorder=3.2)
        name = f"{group} features"
        reading.series(name, band, *thin, *thick, *marks)
        for place, age in enumerate(curve["ages"], start=1):
            said = f"{name}, {age} site{'s' * (age > 1)} after birth, of {curve['at_risk'][place - 1]} at risk"
            reading.point(axes, age, line[place], reading.told(said, [line[place], low[place], high[place]], 2), name)
        if key == "survival":
            left = np.concatenate([[1.0], np.cumprod(_numbers(curve["ceiling"]))])
            reading.series(CEILING, *axes.step(ages, left, where="post", color=colour, lw=1.1, dashes=(1, 1.5),
                                               zorder=2.5))  # fmt: skip
            for age, value in zip(ages[1:], left[1:], strict=True):
                reading.point(axes, age, value, f"{CEILING}, {group}: {number(value, 2)}", CEILING)
    if not drawn:
        instead(axes, _nothing(curves, key))


def _nothing(curves: Mapping[str, Any], key: str) -> str:
    if not any(curves[group]["ages"] for group in LINES):
        return "no feature with a score\nis born before the last site"
    return (
        "no survival over the ceiling:\nno seed finds the features\nof another at some site"
        if key == "corrected"
        else ""
    )


def _at_risk(axes: Axes, curves: Mapping[str, Any], oldest: int) -> None:
    """The number at risk before each age, a row a group, under the axis."""
    for row, (group, (colour, _, _)) in enumerate(LINES.items()):
        counts = [*curves[group]["at_risk"]]
        height = -0.36 - 0.1 * row
        axes.text(
            -0.02, height, group, transform=axes.transAxes, ha="right", va="center", fontsize=6.5, color=colour,
            fontweight="bold",
        )  # fmt: skip
        for age in range(1, oldest + 1):
            said = f"{counts[age - 1]}" if age <= len(counts) else "0"
            axes.text(
                age, height, said, transform=axes.get_xaxis_transform(), ha="center", va="center", fontsize=6.8,
                color=INK,
            )  # fmt: skip


def _hazard(one: Survival) -> str:
    found = one["hazard"]
    if found["why"]:
        return "no hazard ratio (see caption)"
    low, high = found["interval"]
    return f"hazard ratio of simplicity {_times(found['ratio'])} [{_times(low)}, {_times(high)}]"


def _times(value: float) -> str:
    return number(value, 2) if value < 100 else "> 99"


def _caption(name: str, mine: Sequence[tuple[Mapping[str, Any], Survival]]) -> str:
    first = mine[0][1]
    lost = [f"{model['name']}: {one['hazard']['why']}" for model, one in mine if one["hazard"]["why"]]
    open_ = [model["name"] for model, one in mine if not one["hazard"]["why"] and _holds_one(one["hazard"])]
    rare = any(count < FEW for _, one in mine for group in LINES for count in one["curves"][group]["at_risk"])
    parts = [
        f"Kaplan-Meier survival of the latents of {name} ({first['seeds']} seeds) over {len(first['sites'])} sites of "
        "the stream, by age in sites: a feature is born where no earlier site has it, and dies at the first later site "
        "without a match. Simple: Gabor simplicity of .5 or more. Bands: 95% intervals.",
        "Above, dotted: what would be left if no feature ever died, and only seeds of one site disagreed. Below, each "
        "step is divided by that rate, so that 1 means kept as well as seeds agree; the truth lies between the two. "
        "Numbers: features at risk before each age.",
        "If a stream keeps what is simple, the simple line stays near its ceiling, above that of all others "
        "(hazard ratio below 1), in the network with skips but not in its plain twin; if each stage replaces its "
        "input, it falls at once. An untrained network's dictionaries are the control: what they show, the "
        "architecture and the stimuli give.",
    ]
    if rare:
        parts.append(f"Thin lines: fewer than {FEW} features at risk, too few to read a trend from.")
    parts.append(_expected(mine))
    if open_:
        parts.append(
            f"The interval of the hazard ratio holds 1 ({listed(open_)}): whether simple features last longer is open."
        )
    if lost:
        parts.append("No hazard ratio, " + "; ".join(lost))
    return " ".join(filter(None, parts))


def _expected(mine: Sequence[tuple[Mapping[str, Any], Survival]]) -> str:
    """How many of the deaths are dictionaries' rather than features'."""
    told = []
    for model, one in mine:
        every = one["curves"]["all"]
        expected = expected_deaths(every)
        if every["ages"] and math.isfinite(expected):
            told.append(f"{expected:.0f} of {sum(every['deaths'])} in {model['name']}")
    if not told:
        return ""
    return f"Deaths to be expected if no feature died and seeds alone disagreed: {listed(told)}."


def _holds_one(hazard: Mapping[str, Any]) -> bool:
    low, high = hazard["interval"]
    return bool(low < 1 < high)


def _in_words(model: Mapping[str, Any], one: Survival) -> str:
    told = []
    for group in LINES:
        curve = one["curves"][group]
        if not curve["ages"]:
            told.append(f"no {group} features to follow")
            continue
        over = curve["corrected"][-1]
        beside = f", {number(over, 2)} over the seed ceiling" if over is not None else ""
        left = f"{number(curve['survival'][-1], 2)} of {curve['at_risk'][0]} {group} features"
        told.append(f"{left} are found to age {curve['ages'][-1]}{beside}")
    return f"{named(model)}: {', '.join(told)}"


def _numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Numbers, NaN for None."""
    return np.array(values, dtype=object).astype(float) if len(values) else np.zeros(0)
