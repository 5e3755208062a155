"""The README's pictures are figures of a run, and a run without them is said."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "docs" / "make_pictures.py"


@pytest.fixture
def script(tmp_path: Path) -> dict[str, Any]:
    found = runpy.run_path(str(SCRIPT))
    found["main"].__globals__["PICTURES"] = tmp_path / "pictures"
    (tmp_path / "pictures").mkdir()
    return found


def figures(folder: Path, names: list[str]) -> None:
    (folder / "figures").mkdir(parents=True)
    for number, name in enumerate(names, start=1):
        Image.new("RGBA", (20 * number, 10), (0, 0, 40 * number, 255)).save(folder / "figures" / f"{name}.png")


def test_pictures_hold_their_figures_below_each_other(script: dict[str, Any], tmp_path: Path) -> None:
    names = [name for parts in script["MADE_OF"].values() for name in parts]
    figures(tmp_path / "run", names)
    script["main"](tmp_path / "run")
    for picture, parts in script["MADE_OF"].items():
        made = np.asarray(Image.open(tmp_path / "pictures" / f"{picture}.png").convert("RGB"))
        assert made.shape == (10 * len(parts), 20 * max(names.index(part) + 1 for part in parts), 3)
        for row, part in enumerate(parts):
            number = names.index(part) + 1
            assert abs(int(made[10 * row, 0, 2]) - 40 * number) < 8
            assert (made[10 * row, 20 * number :] > 250).all(), "white beside a narrower figure"


def test_a_figure_that_is_missing_is_named(script: dict[str, Any], tmp_path: Path) -> None:
    figures(tmp_path / "run", ["verdicts"])
    with pytest.raises(SystemExit, match=r"survival-topk\.png is not there; run the demo first"):
        script["main"](tmp_path / "run")


def test_the_readme_shows_them_with_words_for_those_who_do_not_see_them(script: dict[str, Any]) -> None:
    readme = (SCRIPT.parents[1] / "README.md").read_text()
    for picture in script["MADE_OF"]:
        (line,) = [line for line in readme.splitlines() if f"docs/pictures/{picture}.png" in line]
        assert line.startswith("![")
        assert len(line.split("]")[0]) > 60
        assert (SCRIPT.with_name("pictures") / f"{picture}.png").stat().st_size < 200_000
