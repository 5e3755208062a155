"""Values on drawings: what a mark stands for, told where it is pointed at, and the series that it belongs to.

A drawing carries them itself, as SVG titles, which browsers show without any script, in the run's SVG files too; the
page's script makes of them a reading that also opens by touch and by arrow keys, and switches series on and off.

Plotly would do the same. Its script is 3.5 to 4.5 MB in each page, the page would show nothing without it and print
what it last showed, and the figures would be drawn twice, in two looks: as files by matplotlib and on the page by it.
Drawings with titles and 100 lines of script (templates/values.js) need some 100 bytes a mark, follow the page's
colours, and are the files of the run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from comparisons.report.wording import number

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MARK = "ventral-value|"
"""Opens the id of a group that `for_reading` turns into a value or a series."""


def series(name: str, *artists: Artist) -> None:
    """Say that artists belong to a series, which is switched on and off by its name."""
    for artist in artists:
        artist.set_gid(f"{MARK}{_plain(name)}|")


def point(axes: Axes, x: float, y: float, text: str, of: str = "") -> None:
    """An unseen mark that tells `text` around a point, as part of the series `of`. None outside of the axes' limits,
    which must be set before, or for what is not finite."""
    from matplotlib.lines import Line2D

    (left, right), (low, high) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    if left <= x <= right and low <= y <= high:  # false for NaN
        _add(axes, Line2D([x], [y], marker="o", ms=9, ls="none", mfc="none", mec="none", mew=0), text, of)


def box(axes: Axes, x: tuple[float, float], y: tuple[float, float], text: str, of: str = "") -> None:
    """An unseen rectangle between two x and two y that tells `text`, as part of the series `of`."""
    from matplotlib.patches import Rectangle

    corner, width, height = (x[0], y[0]), x[1] - x[0], y[1] - y[0]
    _add(axes, Rectangle(corner, width, height, fc="none", ec="none", lw=0), text, of)


def _add(axes: Axes, artist: Artist, text: str, of: str) -> None:
    artist.set_gid(f"{MARK}{_plain(of)}|{text}")
    artist.set_in_layout(False)
    artist.set_zorder(9)
    axes.add_artist(artist)


def _plain(name: str) -> str:
    return name.replace("|", "/")


def told(name: str, value: Sequence[float | None], digits: int = 3) -> str:
    """`name: estimate [lower, upper]`, of [estimate] or [estimate, lower, upper]."""
    ends = [number(end, digits) for end in value[1:3]]
    known = len(ends) == 2 and "—" not in ends
    return f"{name}: {number(value[0], digits)}" + (f" [{ends[0]}, {ends[1]}]" if known else "")


def for_reading(svg: str) -> str:
    """A drawing by matplotlib, its marked groups turned into titles, classes and data of SVG."""

    def group(found: re.Match[str]) -> str:
        of, text = found[1], found[2]  # escaped as attributes, which is more than texts need
        data = f' data-series="{of}"' if of else ""
        return f'<g class="value"{data}><title>{text}</title>' if text else f"<g{data}>"

    return re.sub(rf'<g id="{re.escape(MARK)}([^"|]*)\|([^"]*)">', group, svg)
