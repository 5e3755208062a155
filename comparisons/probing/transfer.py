"""The probe-transfer matrix: a reader fitted at one site and used, as it is, at all others of its basis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comparisons.probing.chosen import Chosen
from comparisons.probing.decoding import DIMENSIONS, TOKEN, Question
from comparisons.probing.found import Found
from comparisons.results import Exhibit
from probes.decoding import orientation_target, transfer_matrix

if TYPE_CHECKING:
    import pandas as pd

MEASURE = "read by the probe of the site before (R2)"
ASKED = (
    Question(MEASURE, "gratings", {"orientation": "orientation"}, ("cycles",), "frequencies", orientation_target),
    Question(
        MEASURE, "gratings", {"log frequency": "cycles"}, ("orientation",), "orientations",
        lambda values: np.log2(values.astype(float)),
    ),
)  # fmt: skip


def by_basis(chosen: Sequence[Chosen]) -> list[list[Chosen]]:
    """Sites of one basis, in the order of the stream; those that share theirs with no other are left out."""
    groups: dict[str, list[Chosen]] = {}
    for one in chosen:
        if one.stage is None:
            groups.setdefault(one.site.basis, []).append(one)
    return [group for group in groups.values() if len(group) > 1]


def transfer(
    found: Found, chosen: Sequence[Chosen], table: pd.DataFrame, values: Mapping[str, NDArray], normalise: bool
) -> None:
    """T[j, k] of orientation and frequency for all sites that share a basis, from middle tokens [n, d] by site name.

    `normalise` brings every token to norm 1 first: a transformer's stream grows along its blocks, which a reader
    would take for less of everything.
    """
    matrices = []
    for group in by_basis(chosen):
        x = {one.name: values[one.site.name].astype(np.float64) for one in group}
        if not all(np.isfinite(part).all() for part in x.values()):
            found.dropped.append(f"{found.model}: no transfer of probes from {group[0].name} on: not all finite")
            continue
        if normalise:
            x = {
                name: part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for name, part in x.items()
            }
        for question in ASKED:
            rows = question.rows(table)
            part = table.iloc[rows]
            ((target, column),) = question.targets.items()
            matrix = transfer_matrix(
                [x[one.name][rows] for one in group], question.form(part[column].to_numpy()),
                question.conditions(part), DIMENSIONS,
            )  # fmt: skip
            matrices.append({"target": target, "sites": [one.name for one in group], "matrix": matrix.tolist()})
            for k, (_, one) in enumerate(pairwise(group)):
                found.say(
                    one, MEASURE, float(matrix[k, k + 1]), len(rows), TOKEN,
                    f"weights kept as they were fitted at the site before, on {question.left_out} left out",
                    *(["every token brought to norm 1"] if normalise else []), what=question.named(target),
                )  # fmt: skip
    if matrices:
        found.curves["transfer"] = matrices
        found.picture(
            Exhibit(
                group="Readers carried along the stream",
                caption=f"{found.model}: R2 of a linear reader fitted at one site (rows) and used without refitting at "
                "another (columns), on gratings left out. Sites share a basis within a square.",
                words=_words(matrices),
                file=f"transfer-{found.slug}.png",
            ),
            _drawn(matrices),
        )


def _words(matrices: Sequence[Mapping]) -> str:
    """The corners of each matrix: the first site's reader at the last site, and the last one's at the first."""
    return "; ".join(
        f"{one['target']}, {one['sites'][0]} to {one['sites'][-1]}: {one['matrix'][0][-1]:.2f}, back "
        f"{one['matrix'][-1][0]:.2f}"
        for one in matrices
    )


def _drawn(matrices: Sequence[Mapping]) -> bytes:
    """Heat maps, a row a target and a column a basis, as a PNG."""
    from comparisons.report.exhibits.transfer import draw_matrix
    from comparisons.report.output import as_bytes, canvas, settings

    targets = list(dict.fromkeys(one["target"] for one in matrices))
    columns = max(sum(one["target"] == target for one in matrices) for target in targets)
    with settings():
        figure = canvas(2.5 * columns + 1.4, 2.75 * len(targets))
        for row, target in enumerate(targets):
            for column, one in enumerate(one for one in matrices if one["target"] == target):
                axes = figure.add_subplot(len(targets), columns, row * columns + column + 1)
                image = draw_matrix(axes, one["matrix"], one["sites"])
                axes.set_title(target if column == 0 else "", loc="left", fontsize=9, fontweight="bold")
                if row == len(targets) - 1:
                    axes.set_xlabel("read at", fontsize=8)
                if column == 0:
                    axes.set_ylabel("fitted at", fontsize=8)
        figure.tight_layout()
        figure.colorbar(image, ax=figure.axes, shrink=0.6, label="R2 (below 0 as 0)", pad=0.02)
        return as_bytes(figure, "png")
