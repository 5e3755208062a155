"""The figures of a page: similarity by depth, and the writes, each with its legend, its caption and its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comparisons.report import drawing, figures
from comparisons.report import panels as select
from comparisons.report.best import best_sites
from comparisons.report.summary import compared
from comparisons.report.wording import listed, number, span
from comparisons.results import Result, RunResults


@dataclass(frozen=True)
class Picture:
    """One figure of the page: a heading, a legend, a caption, and in rows one drawing a panel with its description."""

    identity: str
    heading: str
    caption: str
    legend: list[tuple[drawing.Style, Any]]
    rows: list[tuple[str, list[tuple[Any, str] | None]]]
    """The label of each row (empty where titles say it all) and its panels; None stands where one is missing."""
    cell: str
    """Smallest width of a panel of a grid."""
    alone: bool = False
    """Whether it describes networks by themselves, not beside recordings."""
    compact: bool = False
    """Whether it stands beside others of its kind: single panels that describe networks by themselves."""


WRITE_CAPTION = (
    "One marker a block, larger where it lies deeper; lines join blocks in order. Below the dashed line, the stream "
    "that leaves a block is more like the region than what the block added. Trained networks have filled markers, all "
    "others open ones."
)


@dataclass(frozen=True)
class Gallery:
    """Small pictures that share a legend and a caption, or a single large one with its own."""

    legend: list[tuple[drawing.Style, Any]]
    caption: str
    pictures: list[Picture]

    @property
    def alone(self) -> bool:
        """Whether they describe networks by themselves."""
        return self.pictures[0].alone


def galleries(results: RunResults) -> list[Gallery]:
    """The pictures of a run, those together that share a legend and a caption."""
    found: dict[object, list[Picture]] = {}
    for one in pictures(results):
        shared = (one.caption, *(style for style, _ in one.legend)) if one.compact else one.identity
        found.setdefault(shared, []).append(one)
    return [Gallery(own[0].legend, own[0].caption, own) for own in found.values()]


def pictures(results: RunResults) -> list[Picture]:
    """The figures of a run: for each comparison and measure similarity by depth, then the writes if there are any;
    figures of several panels first, then the small ones."""
    styles = drawing.styles(results.results)
    found: list[Picture] = []
    for (comparison, measure), shown in select.panels(results.results).items():
        label = select.measure_label(measure)
        own, alone = drawing.shown_in(shown, styles), comparison in select.BY_THEMSELVES
        for plate in figures.plates(shown, own):
            if plate.draw is drawing.draw_by_depth:
                heading = label[:1].upper() + label[1:] if alone else f"Similarity by depth: {label}"
                caption = _depth_caption(plate, own)
            else:
                heading, caption = f"The write against the stream: {label}", WRITE_CAPTION
                if len(drawing.prominent(own)) < len(own):
                    caption += " Of so many networks, only the trained ones are drawn."
            if not alone or _is_curve(plate):
                found.append(_picture(len(found), heading, caption, plate, alone))
    return sorted(found, key=lambda picture: picture.compact)  # stable


def _is_curve(plate: figures.Plate) -> bool:
    """Whether any network has three sites or more: what two say, the table says."""
    return any(
        len(select.along_stream(panel.results, style.model, style.role)) > 2
        for panel in plate.panels for style in plate.drawn
    )  # fmt: skip


def _picture(index: int, heading: str, caption: str, plate: figures.Plate, alone: bool) -> Picture:
    from markupsafe import Markup

    compact = alone and len(plate.panels) == 1 and plate.panels[0].region in ("features", "network")
    full = iter(select.panel_titles(plate.panels))
    rows: list[tuple[str, list[tuple[Any, str] | None]]] = []
    for line, row in enumerate(plate.rows):
        cells: list[tuple[Any, str] | None] = []
        for column, cell in enumerate(row.cells):
            if cell is None:
                cells.append(None)
                continue
            panel, title = cell
            first = not any(cells)
            shown = "" if compact else title  # the heading says it
            svg = figures.panel_svg(plate, panel, shown, f"f{index}p{line}-{column}", first=first)
            cells.append((Markup(svg), _in_words(plate, panel, next(full))))
        rows.append((row.label, cells))
    swatches = [
        (style, Markup(figures.swatch_svg(style, f"f{index}s{place}"))) for place, style in enumerate(plate.drawn)
    ]
    # Narrower, and its letters of 8.5 points would be less than about 9 px high on a screen.
    return Picture(
        f"figure-{index}", heading, caption, swatches, rows, f"{4.8 * plate.frame.width:.1f}rem", alone, compact
    )


def _depth_caption(plate: figures.Plate, styles: Sequence[drawing.Style]) -> str:
    shown = plate.panels
    results = [result for panel in shown for result in panel.results]
    kinds = {select.kind(result) for result in results}
    parts = ["Lines follow the stream from the stem through every block."]
    if "write" in kinds:
        parts.append("Open markers: what a block wrote.")
    parts.append(
        "Shaded along a line: its 95% interval."
        if any(r.interval and select.kind(r) in ("stem", "resid_post") for r in results)
        else "No intervals were computed."
    )
    if select.falls_without_bound(plate.panels[0].measure) and any(r.estimate < drawing.LOWEST_R2 for r in results):
        parts.append("What lies below \N{MINUS SIGN}1 is outside the frame; the table has it.")
    if len(drawing.prominent(styles)) < len(styles):
        parts.append("Of so many networks, intervals and writes are drawn for trained ones only; the table has all.")
    without = [title for panel, title in zip(shown, select.panel_titles(shown), strict=True) if panel.ceiling is None]
    if len(without) < len(shown):
        parts.append("Grey: noise ceiling.")
    if without and compared(results):
        parts.append(f"No noise ceiling for {listed(without)}.")
    most = max((len(select.references(panel.results)) for panel in shown), default=0)
    if most:
        one = None if plate.frame.labelled else plate.references[0]
        parts.append(f"Dashed: the reference {one}." if one else "Dashed: reference representations.")
    if most > drawing.FEW:
        parts.append(f"Of {most} references the {drawing.FEW} most similar are drawn; the table has all.")
    other = [r for r in results if r.role != "reference" and (r.depth is None or select.kind(r) not in _DRAWN)]
    if other:
        parts.append(f"{_count(other)} of other sites: in the table only.")
    unknown = [r for r in results if not select.has_estimate(r)]
    if unknown:
        parts.append(f"Not drawn for want of a number: {_count(unknown)}.")
    return " ".join(parts)


_DRAWN = {"stem", "resid_post", "write"}


def _count(results: Sequence[Result]) -> str:
    return f"{len(results)} result{'' if len(results) == 1 else 's'}"


def _in_words(plate: figures.Plate, panel: select.Panel, title: str) -> str:
    """A panel for those who do not see it; `title` names its recordings where the region alone would not do."""
    simulated = "SIMULATED. " if panel.simulated else ""
    label = select.measure_label(panel.measure)
    if plate.draw is not drawing.draw_by_depth:
        return f"{simulated}{title}: {label} of each block's write against that of the stream after the block."
    parts = []
    for best in best_sites([panel]):
        depth = "" if best.result.depth is None else f" at depth {number(best.result.depth, 2)}"
        parts.append(f"{best.result.model} ({best.result.role}) is highest{depth}, {number(best.result.estimate)}")
    ceiling = f"; noise ceiling {span(panel.ceiling)}" if panel.ceiling else ""
    return f"{simulated}{title}, {label}: {'; '.join(parts) or 'nothing drawn'}{ceiling}."
