"""Series can be told from the paper and from each other, on light and dark paper, by colour-blind eyes too."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from comparisons import report
from comparisons.report.drawing import COLOURS

CSS = (Path(report.__file__).parent / "templates" / "report.css").read_text()
THEMES = [re.findall(r"--series-\d: (#\w{6})", part) for part in CSS.split("prefers-color-scheme: dark", 1)]
PAPERS = re.findall(r"--paper: (#\w{6})", CSS)[:2]

SEEN = {
    "all": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""What eyes that lack a kind of cones see of linear RGB (Machado et al. 2009, severity 1)."""
LEAST_APART = 20
"""In CIELAB; Okabe & Ito's own six have 15."""


def linear(colour: str) -> np.ndarray:
    """Linear RGB of #rrggbb (IEC 61966-2-1)."""
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB under D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (
        np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in to_xyz @ rgb / np.array([0.9505, 1, 1.089])
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_series_stands_out_from_the_paper(theme: int) -> None:
    for colour in THEMES[theme]:
        darker, lighter = sorted((luminance(colour), luminance(PAPERS[theme])))
        assert (lighter + 0.05) / (darker + 0.05) >= 3, f"{colour} on {PAPERS[theme]} (WCAG 1.4.11)"


@pytest.mark.parametrize("eyes", SEEN)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_any_two_series_stay_apart(theme: int, eyes: str) -> None:
    seen = {colour: lab(np.clip(np.asarray(SEEN[eyes]) @ linear(colour), 0, 1)) for colour in THEMES[theme]}
    for first, second in combinations(seen, 2):
        assert np.linalg.norm(seen[first] - seen[second]) >= LEAST_APART, f"{first}, {second}"


def test_files_have_the_colours_of_light_paper() -> None:
    assert tuple(THEMES[0]) == COLOURS
    assert [len(theme) for theme in THEMES] == [len(COLOURS)] * 2
