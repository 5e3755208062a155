"""The page of a run: one HTML file that holds everything it shows and opens offline.

Text from a config, a model or a data set is escaped by the template engine. The page forbids itself every request and
every script but its own (by hash), so that even a mistake here could not make it fetch or run anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge.errors import StorageError
from bridge.recordings.order import region_rank
from bridge.store import write_atomically
from comparisons.report import drawing, figures, methods, summary
from comparisons.report import panels as select
from comparisons.results import Dictionary, Exhibit, Result, RunResults
from comparisons.validation import table

TEMPLATES = Path(__file__).with_name("templates")
PAGE = "report.html"
ARTEFACTS_SHOWN = 200


def write_report(results: RunResults, folder: Path) -> Path:
    """Write `report.html` into `folder` (created if missing); its path.

    Raises StorageError when the folder cannot be written.
    """
    path = folder / PAGE
    write_atomically(path, render(results, folder))
    return path


def render(results: RunResults, folder: Path | None = None) -> str:
    """The page's HTML. Equal results give an equal page. The run's `folder` holds the pictures of its exhibits; without
    it they are left out."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": summary.number,
        "span": summary.span,
        "p_value": summary.p_value,
        "sort_key": sort_key,
        "measure": select.measure_label,
        "percent": summary.percent,
    }
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    compared = summary.compared(results.results)
    best = [row for shown in select.panels(compared).values() for row in summary.best_sites(shown)]
    steps = methods.paragraphs(results)
    cited = methods.cited(steps)
    provenance = {key: value for key, value in results.provenance.items() if key not in ("datasets", "command")}
    return environment.get_template("report.html.jinja").render(
        run=results,
        simulated=any(r.simulated for r in results.results)
        or any(v.simulated for v in results.verdicts)
        or bool(results.confusion),
        all_simulated=bool(results.results or results.confusion) and all(r.simulated for r in results.results),
        paragraphs=[said for said in summary.paragraphs(results) if said],
        grid=summary.verdict_grid(results),
        confusion_head=table.HEAD,
        confusion_rows=[table.cells_of(row) for row in results.confusion],
        best=best,
        best_writes=any(row.write for row in best),
        pictures=pictures(results),
        exhibits=exhibits(results, folder) if folder is not None else [],
        rows=rows(results.results),
        several_comparisons=len({r.comparison for r in results.results}) > 1,
        notes=Notes.of(results.results),
        filters=filters(results.results),
        dictionary_caption=dictionary_caption(results.dictionaries),
        dictionary_warnings=[f"{one.model}: {text}" for one in results.dictionaries for text in one.warnings],
        sources=list(dict.fromkeys((one.name, one.source) for one in results.dictionaries if one.source)),
        several_seeds=any(one.seed_stability is not None for one in results.dictionaries),
        dropped=dropped(results),
        steps=steps,
        references=[methods.REFERENCES[key] for key in cited],
        citation_number={key: index for index, key in enumerate(cited, start=1)},
        datasets=[plain for entry in results.provenance.get("datasets", ()) if (plain := _dataset(entry))],
        command=_command(results.provenance.get("command")),
        provenance=provenance,
        artefacts=sorted({key for r in results.results for key in r.artefacts}),
        artefacts_shown=ARTEFACTS_SHOWN,
        config=json.dumps(results.config, indent=2, ensure_ascii=False, default=str),
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


# ------------------------------------------------------------------------------------------------------ pictures


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
    compact: bool = False
    """Whether it stands beside others of its kind: single panels of probes, whose legend and caption the first has."""


def pictures(results: RunResults) -> list[Picture]:
    """The figures of a run: for each comparison and measure similarity by depth, then the writes if there are any."""
    styles = drawing.styles(results.results)
    found: list[Picture] = []
    for (comparison, measure), shown in select.panels(results.results).items():
        label = select.measure_label(measure)
        for plate in figures.plates(shown, styles):
            if plate.draw is drawing.draw_by_depth:
                heading = f"{'By depth' if comparison in select.BY_THEMSELVES else 'Similarity by depth'}: {label}"
                caption = _depth_caption(plate, styles)
            else:
                heading, caption = f"The write against the stream: {label}", WRITE_CAPTION
                if len(drawing.prominent(styles)) < len(styles):
                    caption += " Of so many networks, only the trained ones are drawn."
            compact = comparison == "probe" and len(plate.panels) == 1 and plate.panels[0].region == "features"
            found.append(_picture(len(found), heading, caption, plate, compact))
    # Stable: figures of several panels first, then the small ones together.
    found.sort(key=lambda picture: picture.compact)
    first = next((number for number, picture in enumerate(found) if picture.compact), len(found))
    return found[: first + 1] + [replace(picture, legend=[], caption="") for picture in found[first + 1 :]]


WRITE_CAPTION = (
    "One marker a block, larger where it lies deeper; lines join blocks in order. Below the dashed line, the stream "
    "that leaves a block is more like the region than what the block added. Trained networks have filled markers, all "
    "others open ones."
)


def _picture(index: int, heading: str, caption: str, plate: figures.Plate, compact: bool = False) -> Picture:
    from markupsafe import Markup

    full = iter(select.panel_titles(plate.panels))
    rows: list[tuple[str, list[tuple[Any, str] | None]]] = []
    for number, row in enumerate(plate.rows):
        cells: list[tuple[Any, str] | None] = []
        for column, cell in enumerate(row.cells):
            if cell is None:
                cells.append(None)
                continue
            panel, title = cell
            first = not any(cells)
            shown = "" if compact else title  # the heading says it
            svg = figures.panel_svg(plate, panel, shown, f"f{index}p{number}-{column}", first=first)
            cells.append((Markup(svg), _in_words(plate, panel, next(full))))
        rows.append((row.label, cells))
    swatches = [
        (style, Markup(figures.swatch_svg(style, f"f{index}s{number}"))) for number, style in enumerate(plate.drawn)
    ]
    # Narrower, and its letters of 8.5 points would be less than about 9 px high on a screen.
    return Picture(f"figure-{index}", heading, caption, swatches, rows, f"{4.9 * plate.frame.width:.1f}rem", compact)


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
    if plate.panels[0].measure.endswith("(R2)") and any(r.estimate < drawing.LOWEST_R2 for r in results):
        parts.append("R2 below \N{MINUS SIGN}1 lies outside the frame; the table has it.")
    if len(drawing.prominent(styles)) < len(styles):
        parts.append("Of so many networks, intervals and writes are drawn for trained ones only; the table has all.")
    without = [title for panel, title in zip(shown, select.panel_titles(shown), strict=True) if panel.ceiling is None]
    if len(without) < len(shown):
        parts.append("Grey: noise ceiling.")
    if without and summary.compared(results):
        parts.append(f"No noise ceiling for {summary.listed(without)}.")
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
    for best in summary.best_sites([panel]):
        depth = "" if best.result.depth is None else f" at depth {summary.number(best.result.depth, 2)}"
        parts.append(
            f"{best.result.model} ({best.result.role}) is highest{depth}, {summary.number(best.result.estimate)}"
        )
    ceiling = f"; noise ceiling {summary.span(panel.ceiling)}" if panel.ceiling else ""
    return f"{simulated}{title}, {label}: {'; '.join(parts) or 'nothing drawn'}{ceiling}."


# ------------------------------------------------------------------------------------------------------ exhibits


@dataclass(frozen=True)
class Shown:
    """An exhibit with its picture as a data address."""

    exhibit: Exhibit
    address: str


def exhibits(results: RunResults, folder: Path) -> list[tuple[str, list[tuple[str, list[Shown]]]]]:
    """(group, [(part, its exhibits)]) in order of first mention. Raises StorageError for a missing picture."""
    groups: dict[str, dict[str, list[Shown]]] = {}
    for one in results.exhibits:
        try:
            data = (folder / one.file).read_bytes()
        except OSError as error:
            raise StorageError(f"The picture {folder / one.file} cannot be read ({error}); run again.") from error
        address = "data:image/png;base64," + base64.b64encode(data).decode()
        groups.setdefault(one.group, {}).setdefault(one.part, []).append(Shown(one, address))
    return [(group, list(parts.items())) for group, parts in groups.items()]


# --------------------------------------------------------------------------------------------------------- table


@dataclass(frozen=True)
class Notes:
    """The notes of all results, each once and numbered, so that rows can point at them."""

    texts: list[str]

    @staticmethod
    def of(results: Iterable[Result]) -> Notes:
        """Notes in the order of their first mention."""
        return Notes(list(dict.fromkeys(text for result in results for text in result.notes)))


@dataclass(frozen=True)
class Row:
    """A result as the table shows it."""

    result: Result
    kind: str
    share: float
    """Length of the bar under the estimate, 0 to 1 of the table's largest."""
    notes: list[int]


def rows(results: Sequence[Result]) -> list[Row]:
    """One row a result, in the order of the results."""
    number = {text: index for index, text in enumerate(Notes.of(results).texts, start=1)}
    largest: dict[str, float] = {}
    for r in filter(select.has_estimate, results):
        largest[r.measure] = max(largest.get(r.measure, 0.0), abs(r.estimate), *(map(abs, r.ceiling or (0.0,))))
    return [
        Row(
            r,
            select.kind(r) or "other",
            max(0.0, r.estimate) / largest[r.measure] if select.has_estimate(r) and largest[r.measure] else 0.0,
            [number[text] for text in dict.fromkeys(r.notes)],
        )
        for r in results
    ]


def sort_key(value: float | None) -> str:
    """What the table's script sorts a number by: its shortest exact text; nothing where there is no number."""
    return "" if value is None or summary.number(value) == "—" else repr(float(value))


def filters(results: Sequence[Result]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(attribute, label, [(value, text)]) of the table's filters, without those that have nothing to choose."""
    regions = sorted(dict.fromkeys(r.region for r in results), key=region_rank)
    entries = [
        ("region", "Region", [(v, v) for v in regions]),
        ("recordings", "Recordings", [(v, v) for v in dict.fromkeys(r.recordings for r in results)]),
        ("model", "Model", [(v, v) for v in dict.fromkeys(r.model for r in results)]),
        ("measure", "Measure", [(v, select.measure_label(v)) for v in dict.fromkeys(r.measure for r in results)]),
        ("kind", "Site", [(v, v) for v in dict.fromkeys(select.kind(r) or "other" for r in results)]),
    ]
    return [entry for entry in entries if len(entry[2]) > 1]


def dictionary_caption(found: Sequence[Dictionary]) -> str:
    """What the columns of the table of dictionaries are: only of those that have something in them."""
    parts = ["L0: active latents a token."]
    if any(one.unexplained is not None for one in found):
        parts.append(
            "L0, unexplained variance and the share of dead latents are measured on stimuli that were held out of the "
            "training."
        )
    if any(one.unexplained is None for one in found):
        parts.append("Where none were held out, L0 and dead latents are of the stimuli compared.")
    if any(one.explained is not None for one in found):
        parts.append("Explained: share of variance of the stimuli compared, which it may have been trained on.")
    if any(one.seed_stability is not None for one in found):
        parts.append("Seeds: mean cosine of its directions with those of the first seed, assigned one to one.")
    return " ".join(parts)


def dropped(results: RunResults) -> list[tuple[str, str]]:
    """(what was left out and why, where), each once: of the whole run, then of single results with their count."""
    counts: dict[str, int] = {}
    for result in results.results:
        for text in dict.fromkeys(result.dropped):
            counts[text] = counts.get(text, 0) + 1
    total = len(results.results)
    whole = [(text, "the whole run") for text in dict.fromkeys(results.dropped)]
    return whole + [
        (text, f"{count} of {total} results") for text, count in counts.items() if text not in results.dropped
    ]


# ---------------------------------------------------------------------------------------------------- provenance


def _dataset(entry: Any) -> dict[str, str]:
    """A data set's fields as text; fields that are absent are empty."""
    if not isinstance(entry, Mapping):
        return {"title": str(entry), "name": "", "licence": "", "citation": ""}
    return {key: str(entry.get(key) or "") for key in ("title", "name", "licence", "citation")}


def _command(command: Any) -> str:
    """The command as one line."""
    if command is None:
        return ""
    if isinstance(command, str):
        return command
    import shlex

    return shlex.join(map(str, command))
