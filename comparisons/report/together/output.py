"""The page, tables and pictures of several runs, written to a folder."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from bridge.store import write_together
from comparisons import tabular
from comparisons.report.output import as_bytes, for_page, settings
from comparisons.report.templating import environment, script, style
from comparisons.report.together.matrix import answers, matrices
from comparisons.report.together.picture import draw
from comparisons.results import RunResults

Form = Literal["html", "csv", "parquet", "png", "svg", "pdf"]
FORMS: tuple[Form, ...] = ("html", "csv", "parquet", "png", "svg", "pdf")
PAGE = "side_by_side.html"


def write(runs: Mapping[str, RunResults], folder: Path, forms: Sequence[Form]) -> list[Path]:
    """Write what is asked for into `folder` (made if missing), all or nothing; the files' paths.

    Raises StorageError where the folder cannot be written.
    """
    files: dict[Path, bytes | str] = {}
    pictures = [form for form in forms if form in ("png", "svg", "pdf")]
    with settings():
        for matrix in matrices(runs) if pictures else []:
            figure = draw(matrix)
            for form in pictures:
                files[folder / f"{matrix.comparison}_{matrix.measure.replace(' ', '_')}.{form}"] = as_bytes(
                    figure, form
                )
    files |= {folder / name: content for name, content in _tables(runs, forms).items()}
    if "html" in forms:
        files[folder / PAGE] = render(runs)
    write_together(files)
    return list(files)


def _tables(runs: Mapping[str, RunResults], forms: Sequence[Form]) -> dict[str, bytes]:
    """Every number and every verdict of all runs, with a column `run`."""
    import pandas as pd

    found: dict[str, bytes] = {}
    for name, table in (("numbers", tabular.numbers), ("verdicts", tabular.verdicts)):
        parts = [own.assign(run=run) for run, results in runs.items() if len(own := table(results))]
        if not parts:
            continue
        whole = pd.concat(parts, ignore_index=True)
        whole = whole[["run", *(column for column in whole if column != "run")]]
        if "csv" in forms:
            found[f"{name}.csv"] = whole.to_csv(index=False).encode()
        if "parquet" in forms:
            buffer = io.BytesIO()
            whole.to_parquet(buffer, index=False)
            found[f"{name}.parquet"] = buffer.getvalue()
    return found


def render(runs: Mapping[str, RunResults]) -> str:
    """The page's HTML: one file, which opens offline and holds no script but its own. Equal runs give an equal page."""
    from markupsafe import Markup

    found, drawings = matrices(runs), []
    with settings():
        for number, matrix in enumerate(found):
            svg = as_bytes(draw(matrix), "svg").decode()
            drawings.append(Markup(for_page(svg, f"together-{number}")))
    return (
        environment()
        .get_template("together.html.jinja")
        .render(
            runs=runs,
            answers=answers(runs),
            shown=list(zip(found, drawings, strict=True)),
            simulated=any(
                any(one.simulated for one in run.results) or any(one.simulated for one in run.verdicts)
                for run in runs.values()
            ),
            style=Markup(style()),
            script=script("values"),
        )
    )
