"""Which exhibits a run's artefacts give: a function for each kind of stage that leaves something to be drawn."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from bridge.store import write_atomically
from comparisons.report.exhibits.picture import Picture
from comparisons.report.output import as_bytes, settings
from comparisons.results import Exhibit

Drawer = Callable[[list[Path]], Iterable[Picture]]
"""From the artefacts of one kind that a comparison left to their pictures."""
FORMS = ("png", "svg")


def save_exhibits(stages: Iterable[tuple[str, str, Path]], folder: Path) -> tuple[list[Exhibit], list[Path]]:
    """Draw what the stages (id, kind and artefact of each, in the order of the plan) have left, as PNG and SVG into
    `folder`: the records, whose files stand relative to the folder's parent, and the paths written.

    Raises StorageError when the folder cannot be written.
    """
    records: list[Exhibit] = []
    written: list[Path] = []
    with settings():
        for picture in drawn(stages):
            stem, number = picture.name, 2
            while folder / f"{stem}.png" in written:
                stem, number = f"{picture.name}-{number}", number + 1
            picture.figure.draw_without_rendering()
            picture.figure.set_layout_engine("none")  # laid out once for all forms
            for form in FORMS:
                write_atomically(folder / f"{stem}.{form}", as_bytes(picture.figure, form))
                written.append(folder / f"{stem}.{form}")
            records.append(
                Exhibit(
                    group=picture.group,
                    part=picture.part,
                    caption=picture.caption,
                    words=picture.words,
                    file=f"{folder.name}/{stem}.png",
                    drawing=f"{folder.name}/{stem}.svg",
                    simulated=picture.simulated,
                )
            )
    return records, written


def drawn(stages: Iterable[tuple[str, str, Path]]) -> Iterator[Picture]:
    """The pictures of the stages; those of one kind and one comparison (a number before the id) are drawn together."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for name, kind, path in stages:
        if kind in DRAWERS:
            number = re.match(r"(\d+): ", name)
            groups.setdefault((number[1] if number else "", kind), []).append(path)
    for (_, kind), paths in groups.items():
        yield from DRAWERS[kind](paths)


def _persistence(paths: list[Path]) -> Iterator[Picture]:
    from comparisons.report.exhibits.survival import survival
    from comparisons.report.exhibits.transfer import transfer

    models = [model for path in paths for model in _read(path / "curves.json")["models"]]
    yield from survival(models)
    yield from transfer(models)


def _persistence_recorded(paths: list[Path]) -> Iterator[Picture]:
    from comparisons.report.exhibits.by_region import by_region

    curves: dict[str, Any] = {}
    answers: dict[str, str] = {}
    for path in paths:
        curves |= _read(path / "recorded.json")
        answers |= {one["subject"]: one["answer"] for one in _verdicts(path)}
    yield from by_region(curves, answers)


def _transport(paths: list[Path]) -> Iterator[Picture]:
    from comparisons.report.exhibits.transport import transport

    yield from transport({_verdicts(path)[0]["subject"]: _read(path / "curves.json") for path in paths})


def _inherited(paths: list[Path]) -> Iterator[Picture]:
    from comparisons.report.exhibits.inherited import inherited

    curves: dict[str, Any] = {}
    simulated: dict[str, bool] = {}
    for path in paths:
        curves |= _read(path / "curves.json")
        simulated |= {one["subject"]: one["simulated"] for one in _verdicts(path)}
    yield from inherited(curves, simulated)


def _slopes(paths: list[Path]) -> Iterator[Picture]:
    import pandas as pd

    from comparisons.report.exhibits.slopes import Edited, slopes

    tables: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for path in paths:
        results = _read(path / "results.json")["results"]
        if results:  # they name the model; without any number there is nothing to draw
            table = pd.read_csv(path / "latents.csv")
            tables.setdefault((results[0]["model"], results[0]["role"]), []).append(table[table["live"]])
    models = []
    for (model, role), parts in tables.items():
        live = pd.concat(parts)
        columns = (live["slope"].to_numpy(float), live["edited"].to_numpy(bool), live["kept"].to_numpy(bool))
        models.append(Edited(model, role, *columns))
    yield from slopes(models)


def _banded(paths: list[Path]) -> Iterator[Picture]:
    from comparisons.report.exhibits.variance_parts import variance_parts

    yield from variance_parts([one for path in paths for one in _read(path / "results.json")["results"]])


DRAWERS: dict[str, Drawer] = {
    "banded": _banded,
    "persistence": _persistence,
    "persistence-recorded": _persistence_recorded,
    "variability-verdict": _transport,
    "variability-recordings": _inherited,
    "editing": _slopes,
}


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _verdicts(path: Path) -> list[dict[str, Any]]:
    return _read(path / "results.json")["verdicts"]
