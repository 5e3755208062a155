"""`kind: validation`: the confusion matrix of the verdicts, on simulated data sets whose truth is known.

A stage a cell, so that a killed run goes on where it was; data sets are shared out among processes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator
from typing_extensions import override

from bridge.store import write_atomically
from comparisons.kinds.base import ComparisonSpec
from comparisons.validation.spec import Cell

if TYPE_CHECKING:
    from comparisons.plan import Planner, Progress
    from comparisons.validation.matrix import Group


class ValidationComparison(ComparisonSpec):
    """How often each rule finds the truth, and how often its opposite, over cells of simulated data sets."""

    needs_models: ClassVar[bool] = False

    kind: Literal["validation"] = "validation"
    per_cell: Annotated[int, Field(ge=1)] = 40
    """Data sets a cell. Below 200, only what contradicts the acceptance fails; from 200 on it must be shown."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes of one thread each; 0 for one a processor. Answers do not depend on it."""
    cells: Annotated[list[Cell], Field(min_length=1)]
    """The truths, and what may be answered there."""

    @field_validator("cells")
    @classmethod
    def _unique(cls, cells: list[Cell]) -> list[Cell]:
        names = [cell.name for cell in cells]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two cells are named {twice[0]!r}; their data sets would be the same")
        return cells

    @override
    def add_stages(self, planner: Planner) -> list[str]:
        from comparisons.validation.matrix import groups

        shown = self._add_shown(planner) if any(cell.block is None for cell in self.cells) else None
        return [self._add_group(planner, group, shown) for group in groups(self.cells)]

    def _add_shown(self, planner: Planner) -> str:
        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.validation.brains import save_shown

            save_shown(planner.stimuli, folder)

        inputs = {"stimuli": planner.config.stimuli.fingerprint()}
        code = ("bridge.stimuli", "bridge.recordings.simulated.seen")
        return planner.add("stimuli for simulated brains", "shown", inputs, build, libraries=("numpy",), code=code)

    def _add_group(self, planner: Planner, group: Group, shown: str | None) -> str:
        seed, datasets, workers = planner.config.seed, self.per_cell, self.workers

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            import os

            from comparisons.validation.matrix import judge_all, processes
            from comparisons.validation.tally import tally

            stimuli = folder if shown is None else needed[shown]
            kept = folder / "answers"
            kept.mkdir(exist_ok=True)
            with processes(workers or os.cpu_count() or 1) as pool:
                answers = judge_all(group, stimuli, seed, datasets, pool=pool, kept=kept, progress=progress)
            rows = [
                tally(cell, name, [answer[cell.name][name] for answer in answers]).model_dump()
                for cell in group.cells
                for name in cell.expect
            ]
            write_atomically(folder / "results.json", json.dumps({"results": [], "confusion": rows}))

        return planner.add(
            f"validate {group.name}",
            "validation",
            {"cells": [cell.content() for cell in group.cells], "seed": seed, "datasets": datasets},
            build,
            needs=(shown,) if shown else (),
            libraries=("numpy", "scipy"),
            code=("comparisons.validation",),
            resumable=True,
        )
