"""Small figures of their own kind as PNG: exhibits, which the report shows as they are."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 144


@contextmanager
def drawing() -> Iterator[None]:
    """Within, text and axes look as in the report's other figures, whatever the user's matplotlib is set to."""
    from comparisons.report.figures import _settings

    with _settings():
        yield


def figure(width: float, height: float) -> Figure:
    """An empty white figure, inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="#ffffff")


def png(drawn: Figure) -> bytes:
    """The figure as a PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
