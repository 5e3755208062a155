"""The page of a run: one HTML file that holds everything it shows and opens offline.

Text from a config, a model or a data set is escaped by the template engine. The page forbids itself every request and
every script but its own (by hash), so that even a mistake here could not make it fetch or run anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.store import write_atomically
from comparisons.brainscore import table as scored
from comparisons.report import methods, summary, tables, wording
from comparisons.report import panels as select
from comparisons.report.best import best_sites
from comparisons.report.closest import closest_regions
from comparisons.report.exhibits.shown import exhibits
from comparisons.report.methods.references import REFERENCES
from comparisons.report.pictures import galleries
from comparisons.report.templating import environment, script, style
from comparisons.results import RunResults
from comparisons.validation import table

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
    from markupsafe import Markup

    engine = environment()
    engine.filters |= {
        "p_value": wording.p_value,
        "sort_key": tables.sort_key,
        "label_of": tables.label_of,
        "percent": wording.percent,
    }
    compared = summary.compared(results.results)
    best = [row for shown in select.panels(compared).values() for row in best_sites(shown)]
    steps = methods.paragraphs(results)
    found = galleries(results)
    drawn, looked, cards = exhibits(results, folder) if folder is not None else ([], [], [])
    closest = closest_regions(results.results)
    cited = methods.cited(steps)
    provenance = {key: value for key, value in results.provenance.items() if key not in ("datasets", "command")}
    return engine.get_template("report.html.jinja").render(
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
        scored_head=scored.head_of(results.benchmarks),
        scored_numeric=scored.NUMERIC,
        scored_rows=[scored.cells_of(row, scored.head_of(results.benchmarks)) for row in results.benchmarks],
        scored_said=scored.said(results.benchmarks),
        pictures=[one for one in found if not one.alone],
        described=[one for one in found if one.alone],
        drawn=drawn,
        exhibits=looked,
        cards=cards,
        card_choices=tables.card_choices([one.exhibit.feature for one in cards if one.exhibit.feature], closest),
        closest=closest,
        rows=tables.rows(results.results),
        several_comparisons=len({r.comparison for r in results.results}) > 1,
        notes=tables.Notes.of(results.results),
        filters=tables.filters(results.results),
        dictionary_caption=tables.dictionary_caption(results.dictionaries),
        dictionary_warnings=[f"{one.model}: {text}" for one in results.dictionaries for text in one.warnings],
        sources=list(dict.fromkeys((one.name, one.source) for one in results.dictionaries if one.source)),
        several_seeds=any(one.seed_stability is not None for one in results.dictionaries),
        dropped=tables.dropped(results),
        steps=steps,
        references=[REFERENCES[key] for key in cited],
        citation_number={key: index for index, key in enumerate(cited, start=1)},
        datasets=[plain for entry in results.provenance.get("datasets", ()) if (plain := _dataset(entry))],
        command=_command(results.provenance.get("command")),
        provenance=provenance,
        artefacts=sorted({key for r in results.results for key in r.artefacts}),
        artefacts_shown=ARTEFACTS_SHOWN,
        config=json.dumps(results.config, indent=2, ensure_ascii=False, default=str),
        style=Markup(style()),
        script=script("table", "filters", "values"),
    )


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
