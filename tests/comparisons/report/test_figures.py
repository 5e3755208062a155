"""The figures: panels where they belong, files that repeat byte for byte."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from comparisons.report import drawing, figures, panels
from comparisons.results import RunResults

RunOf = Callable[..., RunResults]


def of_recordings(run: RunResults, name: str, *regions: str) -> tuple:
    """The run's results in these regions, as if they were of other recordings."""
    return tuple(r.model_copy(update={"recordings": name}) for r in run.results if r.region in regions)


def plates(run: RunResults) -> list[figures.Plate]:
    (shown,) = panels.panels(run.results).values()
    return figures.plates(shown, drawing.styles(run.results))


def svg_texts(path: Path) -> list[tuple[str, float, float]]:
    """(text, x, y) of everything written in an SVG file, in its own units."""
    found = []
    for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text"):
        place = element.get("transform") or ""
        x, y = (
            re.findall(r"translate\(([-\d.]+) ([-\d.]+)\)", place)[0]
            if "translate" in place
            else (element.get("x"), element.get("y"))
        )
        found.append((element.text or "", float(x or 0), float(y or 0)))
    return found


def test_shared_regions_make_a_row_a_recordings_and_a_column_a_region(run_of: RunOf) -> None:
    run = run_of(regions=("IT", "V1", "V4"), blocks=1, measures=("spearman",))
    both = (*run.results, *of_recordings(run, "monkey", "IT", "V1"))
    shown = panels.panels(both)["rsa", "spearman"]
    rows = panels.arrange(shown)
    assert [row.label for row in rows] == ["toy-ventral", "monkey"]
    assert [[cell and cell[1] for cell in row.cells] for row in rows] == [["V1", "V4", "IT"], ["V1", None, "IT"]]
    for row in rows:
        assert {panel.recordings for panel in row.panels} == {row.label}
        assert all(panel.region == title for panel, title in filter(None, row.cells))
    assert sorted(map(id, shown)) == sorted(id(panel) for row in rows for panel in row.panels)


def test_recordings_that_share_one_region_make_no_grid(run_of: RunOf) -> None:
    run = run_of(regions=("EVC", "IT"), blocks=1, measures=("spearman",))
    three = (*run.results, *of_recordings(run, "monkey", "IT"), *of_recordings(run, "man", "IT"))
    (row,) = panels.arrange(panels.panels(three)["rsa", "spearman"])
    assert row.label == ""
    assert [cell and cell[1] for cell in row.cells] == ["EVC", "IT · toy-ventral", "IT · monkey", "IT · man"]


@pytest.mark.parametrize("references", [0, 1, 2])
def test_a_grid_in_a_file_is_aligned_and_names_every_line(run_of: RunOf, tmp_path: Path, references: int) -> None:
    base = run_of(regions=("IT", "V1"), blocks=2, measures=("spearman",), writes=False)
    kept = {"pixels", "gabor-bank"} if references == 2 else {"pixels"} if references else set()
    results = tuple(r for r in base.results if r.role != "reference" or r.model in kept)
    run = base.model_copy(update={"results": results})
    run = run.model_copy(update={"results": (*results, *of_recordings(run, "monkey", "V1", "IT"))})
    texts = svg_texts(figures.save_figures(run, tmp_path)[1])
    at = {text: [(x, y) for found, x, y in texts if found == text] for text, _, _ in texts}
    (v1_above, v1_below), (it_above, it_below) = at["V1"], at["IT"]
    assert v1_above[0] == v1_below[0] < it_above[0] == it_below[0]  # a column a region
    assert v1_above[1] == it_above[1] < v1_below[1] == it_below[1]  # a row a recordings
    assert at["toy-ventral"][0][1] < v1_above[1] < at["monkey"][0][1] < v1_below[1]
    assert len(at["Spearman ρ"]) == 2  # once a row
    # With one reference at most, the legend names it and the ceiling; with more, each panel does.
    times = 1 if references < 2 else 4
    assert len(at["noise ceiling"]) == times
    assert [len(at.get(name, [])) for name in ("pixels", "gabor-bank")] == [
        times * (name in kept) for name in ("pixels", "gabor-bank")
    ]
    assert len(at["SIMULATED"]) == 2 * 4


def test_files_repeat_byte_for_byte_and_are_stamped(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of(regions=("V1", "IT"), blocks=2, measures=("spearman",), models=(("_a$b$<c>", "trained"),))
    first = figures.save_figures(run, tmp_path / "one")
    second = figures.save_figures(run, tmp_path / "two")
    assert [path.name for path in first] == [
        "rsa_spearman_by_depth.png", "rsa_spearman_by_depth.svg", "rsa_spearman_writes.png", "rsa_spearman_writes.svg",
    ]  # fmt: skip
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == sorted(p.name for p in first)
    texts = [e.text or "" for e in ElementTree.parse(first[1]).iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("SIMULATED") == 4  # a stamp and a mark across the axes, in each of two panels
    assert any("_a$b$<c> (trained)" in text for text in texts)
    measured = run.model_copy(update={"results": tuple(r.model_copy(update={"simulated": False}) for r in run.results)})
    assert b"SIMULATED" not in figures.save_figures(measured, tmp_path / "three")[1].read_bytes()


def test_file_names_stay_in_the_folder(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of(regions=("V1",), blocks=1, measures=("../../etc/x y",), writes=False)
    paths = figures.save_figures(run, tmp_path)
    assert [p.parent for p in paths] == [tmp_path] * 2
    assert all(p.is_file() for p in paths)


def test_the_users_own_matplotlib_settings_are_neither_used_nor_changed(run_of: RunOf) -> None:
    import matplotlib

    run = run_of(regions=("V1",), blocks=1, measures=("spearman",))
    plate = plates(run)[0]
    plain = figures.panel_svg(plate, plate.panels[0], "V1", "a")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path"}):
        assert figures.panel_svg(plate, plate.panels[0], "V1", "a") == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_page_drawings_use_the_pages_colours(run_of: RunOf) -> None:
    run = run_of(regions=("V1",), blocks=1, measures=("spearman",))
    plate = plates(run)[0]
    svg = figures.panel_svg(plate, plate.panels[0], "V1", "a")
    assert "var(--series-0)" in svg
    assert "var(--ink)" in svg
    assert not [c for c in drawing.PAGE_COLOURS if c in svg]


def test_panels_of_one_row_stand_in_line(run_of: RunOf) -> None:
    """Whatever is written beside their axes: the page gives all the same width."""
    run = run_of(blocks=2, measures=("spearman",))
    plate = plates(run)[0]
    drawn = [
        figures.panel_svg(plate, panel, "V1", "a", first=first) for panel in plate.panels for first in (True, False)
    ]
    boxes = [re.findall(r'^<svg (viewBox="[^"]*")', svg) for svg in drawn]
    assert boxes[0]
    assert boxes == [boxes[0]] * len(drawn)
