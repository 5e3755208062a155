"""How a drawing becomes files and part of the page: settings, bytes, and an element in the page's own colours.

Equal drawings give equal bytes: ids are salted, and neither dates nor versions are written.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from comparisons.report.drawing import INK, MUTED, PAGE_COLOURS
from comparisons.report.values import for_reading

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160


@contextmanager
def settings() -> Iterator[None]:
    """matplotlib's own defaults whatever the user's matplotlibrc says, so that equal results give equal bytes."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": "ventral-bridge", "svg.fonttype": "none", "path.simplify": False, "font.size": 8.5,
                "axes.edgecolor": MUTED, "axes.labelcolor": INK, "text.color": INK, "axes.linewidth": 0.7,
                "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
                "xtick.major.width": 0.7, "ytick.major.width": 0.7, "xtick.major.size": 3, "ytick.major.size": 3,
            }
        )  # fmt: skip
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty white figure, inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="#ffffff")


def as_bytes(figure: Figure, form: str, *, whole: bool = False) -> bytes:
    """A figure as `png` or `svg`, cut to what is drawn; or the `whole` of it, so that axes of several stand in line."""
    buffer = io.BytesIO()
    none = {"Software": None} if form == "png" else {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format=form, dpi=DPI, metadata=none, bbox_inches=None if whole else "tight", pad_inches=0.1)
    return for_reading(buffer.getvalue().decode()).encode() if form == "svg" else buffer.getvalue()


def for_page(svg: str, prefix: str) -> str:
    """An SVG file's element for use inside a page, its ids after `prefix`; the texts in it are left as they are, as
    matplotlib's writer has escaped them."""
    svg = svg[svg.index("<svg") :].strip()
    # Defined once in the page's style sheet; ids of groups have no use there and would clash between panels.
    svg = re.sub(r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<g id=\"[^\"]*\"", "<g", svg)
    svg = re.sub(r"(<[^<>]*\bid=\")|(url\(#)|(href=\"#)", rf"\g<0>{prefix}-", svg)
    svg = re.sub(
        r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r'<svg \1 aria-hidden="true" focusable="false">', svg, count=1
    )
    for colour, variable in PAGE_COLOURS.items():
        svg = re.sub(rf"((?:fill|stroke): ){colour}\b", rf"\g<1>{variable}", svg)
    return re.sub(r"\n\s*", "\n", svg)
