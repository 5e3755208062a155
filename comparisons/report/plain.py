"""Small figures of their own kind as PNG: exhibits, which the report shows as they are."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 144


def figure(width: float, height: float) -> Figure:
    """An empty white figure, inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="#ffffff")


def png(drawn: Figure) -> bytes:
    """The figure as a PNG; equal figures give equal bytes."""
    from comparisons.report.figures import _settings

    buffer = io.BytesIO()
    with _settings():
        drawn.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
