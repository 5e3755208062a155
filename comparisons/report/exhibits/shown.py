"""Exhibits as the page shows them."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.errors import StorageError
from comparisons.report.output import for_page
from comparisons.results import Exhibit, RunResults


@dataclass(frozen=True)
class Shown:
    """An exhibit with its drawing as an element of the page, or else its picture as a data address."""

    exhibit: Exhibit
    drawing: Any
    address: str
    width: str = ""
    """The width up to which a drawing grows on the page, as a length of CSS."""


Groups = list[tuple[str, list[tuple[str, list[Shown]]]]]


def exhibits(results: RunResults, folder: Path) -> tuple[Groups, Groups, list[Shown]]:
    """Exhibits with a drawing (those of the predictions) and those without, each as (group, [(part, its exhibits)]) in
    order of first mention; and the cards of features. Raises StorageError for a missing picture."""
    from markupsafe import Markup

    found: tuple[dict[str, dict[str, list[Shown]]], ...] = ({}, {})
    cards: list[Shown] = []
    for number, one in enumerate(results.exhibits):
        if one.drawing:
            svg = _content(folder / one.drawing).decode()
            shown = Shown(one, Markup(for_page(svg, f"e{number}")), "", width_of(svg))
        else:
            data = base64.b64encode(_content(folder / one.file)).decode()
            shown = Shown(one, None, f"data:image/png;base64,{data}")
        if one.feature is not None:
            cards.append(shown)
            continue
        groups = found[0 if one.drawing else 1]
        groups.setdefault(one.group, {}).setdefault(one.part, []).append(shown)
    drawn, pictures = ([(group, list(parts.items())) for group, parts in groups.items()] for groups in found)
    return drawn, pictures, cards


def width_of(svg: str) -> str:
    """A third more than a drawing's own width, so that letters of 8 points are no larger than the page's; none where it
    is not known."""
    found = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ', svg)
    return f"{float(found[1]) / 12 * 1.33:.1f}rem" if found else "none"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"The picture {path} cannot be read ({error}); run again.") from error
