"""Exhibits of the predictions: what is drawn is what was found, what is missing is said, and nothing is invented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from scipy import stats

from bridge.errors import StorageError
from comparisons.report.exhibits.by_region import by_region
from comparisons.report.exhibits.drawn import save_exhibits
from comparisons.report.exhibits.inherited import FRAME, inherited
from comparisons.report.exhibits.picture import Picture
from comparisons.report.exhibits.slopes import Edited, slopes
from comparisons.report.exhibits.transfer import transfer
from comparisons.report.exhibits.transport import by_distance, transport
from comparisons.report.page import render

NAN = float("nan")


def texts(picture: Picture) -> str:
    """All that is written in the panels of a picture."""
    shown = [axes for axes in picture.figure.axes if axes.get_visible()]
    return " | ".join(text.get_text() for axes in shown for text in axes.findobj(Text))


def dots(axes: Any) -> list[tuple[float, float]]:
    """Where the estimates of an errorbar stand."""
    return [tuple(point) for bar in axes.containers for point in bar.lines[0].get_xydata()]


# ------------------------------------------------------------------------------------------------ P2 in networks


def pairs(level: float | None, reach: int = 3) -> list[dict[str, Any]]:
    return [{"distance": distance, "t": level} for distance in range(1, reach + 1)]


def test_transport_is_the_mean_over_sources_with_students_interval_over_networks() -> None:
    networks = [[{"distance": 1, "t": value}, {"distance": 1, "t": value + 0.2}] for value in (0.7, 0.8, 0.9)]
    networks[0].append({"distance": 4, "t": 0.5})
    networks[1].append({"distance": 4, "t": None})
    found = by_distance(networks)
    assert found is not None
    assert found.distance.tolist() == [1, 4]
    assert found.mean == pytest.approx([0.9, 0.5])
    expected = stats.t.interval(0.95, 2, loc=0.9, scale=stats.sem([0.8, 0.9, 1.0]))
    assert found.interval[0] == pytest.approx(expected)
    assert np.isnan(found.interval[1]).all(), "one network has no spread over networks"
    assert np.isnan(found.each[1:, 1]).all()
    assert by_distance([[{"distance": 1, "t": None}]]) is None


def test_transport_shows_each_network_with_its_twin_and_says_where_nothing_can_be_carried() -> None:
    of = {"trained": {"a": pairs(0.9), "b": pairs(0.95)}, "plain": {"c": pairs(0.01, 1)}, "untrained": {}}
    nothing: dict[str, Any] = {"trained": {"d": pairs(None)}, "plain": {}, "untrained": {}}
    (picture,) = transport({"net": of, "odd": nothing})
    first, second = picture.figure.axes
    drawn = {tuple(line.get_ydata()) for line in first.lines}
    assert tuple(np.full(3, 0.925)) in {tuple(np.round(line, 9)) for line in drawn}
    assert (0.01,) in drawn
    assert "no direction of one stage" in second.texts[0].get_text()
    assert picture.words.startswith("net: trained t is 0.93 over 1 block(s) and 0.93 over 3 block(s); plain twin")
    assert "odd: nothing can be carried" in picture.words
    assert "untrained" not in [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert list(transport({})) == []


# ---------------------------------------------------------------------------------------------- P2 in recordings


def brain(**more: Any) -> dict[str, Any]:
    pair = {"earlier": "V1", "later": "IT", "T": [0.5, 0.4, 0.6], "cal": [1.0, 0.8, 2.4], "C1": [0.0, -0.1, 0.1]}
    near = {"earlier": "V4", "later": "IT", "T": [0.0, None, None], "cal": [None, None, None], "C1": None}
    spread = {"IT": [2.0, 1.9, 2.1], "V1": [1.2, 1.1, 1.3]}
    return {"transport": [pair, near], "Fano factor": spread, "gain variance": {"V1": [0.2]}, **more}


def test_transport_of_errors_is_drawn_by_pair_cut_to_the_frame_and_stamped_on_every_panel() -> None:
    (picture,) = inherited({"sim": brain()}, {"sim": True})
    errors, direct, fano, gain = picture.figure.axes
    assert [label.get_text() for label in errors.get_xticklabels()] == ["V1\u2192IT", "V4\u2192IT"]
    assert sorted(dots(errors)) == [(0, 1.0), (0.22, 0.5), (1.22, 0.0)], "an undefined cal has no mark"
    lines = [line for bar in errors.containers for line in bar.lines[2][0].get_segments() if len(line)]
    assert max(line[:, 1].max() for line in lines) == FRAME[1]
    assert dots(direct) == [(0, 0.0)]
    assert dots(fano) == [(0, 1.2), (1, 2.0)], "areas stand from early to late"
    assert dots(gain) == [(0, 0.2)]
    assert texts(picture).count("SIMULATED") == 4
    assert picture.simulated
    assert "calibrated transport V1 to IT 1.00; Fano factor V1 1.20, IT 2.00; gain variance V1 0.20" in picture.words
    (real,) = inherited({"real": brain()}, {})
    assert "SIMULATED" not in texts(real)


def test_areas_recorded_apart_show_their_variance_profile_and_its_grade() -> None:
    profile = {"region": "IT", "weights": {"V4": 1.0}, "added": 0.2, "p": 0.001, "neuroids": 20}
    curves = {"profiles": [profile, {**profile, "region": "V4", "added": 0.0, "p": 0.6}]}
    (picture,) = inherited({"apart": curves}, {"apart": False})
    (axes,) = picture.figure.axes
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() == "none" for line in marks] == [False, True], "filled below p .05"
    assert "weak evidence, which decides nothing" in picture.caption
    assert "p 0.600" in texts(picture)


def test_recordings_without_curves_have_no_picture_and_scales_are_shared() -> None:
    found = {"none": {}, "low": {"Fano factor": {"V1": [1.0, 0.9, 1.1]}}, "high": {"Fano factor": {"V1": [9.0, 8, 10]}}}
    low, high = inherited(found, {})
    assert low.figure.axes[0].get_ylim() == high.figure.axes[0].get_ylim()
    assert [picture.name for picture in (low, high)] == ["variability-low", "variability-high"]


# ---------------------------------------------------------------------------------------------- P1 in recordings


def test_phi_and_d_by_region_leave_gaps_and_show_bounds_and_leaks() -> None:
    curves = {
        "regions": ["V1", "V2", "IT"],
        "D": {"V1": [0.9, 0.8, 1.0], "IT": [0.1, 0.0, 0.2]},
        "phi": {"V1": [0.5, 0.4, 0.6, 0.1]},
        "simulated": True,
    }
    (picture,) = by_region({"brain": curves}, {"brain": "REFUTED"})
    d, phi = picture.figure.axes
    assert dots(d) == [(0, 0.9), (2, 0.1)]
    assert any(line.get_ydata() == [0.1] and line.get_marker() == "_" for line in phi.lines)
    assert any(tuple(line.get_ydata()) == (0.3, 0.3) for line in d.lines)
    assert picture.caption.startswith("brain: REFUTED.")
    assert picture.words == "D by region: V1 0.90, IT 0.10"
    assert texts(picture).count("SIMULATED") == 2
    assert list(by_region({"empty": {"regions": ["V1"], "D": {}, "phi": {}, "simulated": False}}, {})) == []
    alone = {"regions": ["V1"], "D": {}, "phi": {"V1": [0.5, NAN, NAN, 0.0]}, "simulated": False}
    (one,) = by_region({"alone": alone}, {})
    assert dots(one.figure.axes[0]) == [(0, 0.5)]
    assert "Strokes" not in one.caption


# -------------------------------------------------------------------------------------------- P1 and P3 in networks


def test_the_transfer_matrix_is_written_cell_by_cell_a_row_a_network() -> None:
    two = {"basis": "a", "sites": ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]}
    models = [
        {"name": name, "missing": "", "transfer": [{**two, "matrix": matrix} for matrix in matrices]}
        for name, matrices in (
            ("net", [[[0.9, 0.8], [None, -20.0]], [[1.0, 0.0], [0.0, 1.0]]]),
            ("other", [[[0.5, 0.0], [0.0, 0.5]]]),
            ("chain", []),
        )
    ]
    (picture,) = transfer(models)
    cells = [[text.get_text() for text in axes.texts] for axes in picture.figure.axes]
    assert cells[0] == ["0.90", "0.80", "< \u22129"], "an undefined cell is left empty"
    assert [axes.get_visible() for axes in picture.figure.axes[:4]] == [True, True, True, False]
    assert np.ma.getmaskarray(picture.figure.axes[0].images[0].get_array()).tolist() == [[False, False], [True, False]]
    assert picture.caption.endswith("No two sites of chain share a basis.")
    assert "net, a reader of block 0: R2 0.90 there, 0.80 at block 2" in picture.words
    assert list(transfer(models[2:])) == []


def test_edit_slopes_stack_to_all_live_latents_and_outliers_stand_at_the_edge() -> None:
    slope = np.array([0.0, 0.01, -0.9, -0.5, -7.0])
    one = Edited("net", "trained", slope, slope == -0.5, np.abs(slope) < 0.1)
    none = Edited("untrained", "untrained", np.zeros(0), np.zeros(0, bool), np.zeros(0, bool))
    (picture,) = slopes([one, none])
    first, second = picture.figure.axes
    heights = [sum(patch.get_height() for patch in bar) for bar in first.containers]
    assert heights == pytest.approx([0.2, 0.4, 0.4])
    assert first.containers[2].patches[0].get_height() == pytest.approx(0.2), "the slope of -7 is in the first bin"
    assert "no live latent" in second.texts[0].get_text()
    assert "net (trained): 20% of 5 latents edited, 40% kept, median slope \u22120.50" in picture.words
    assert list(slopes([])) == []


# ------------------------------------------------------------------------------------------------- in a run


def left(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_stages_of_one_kind_and_comparison_are_drawn_together(tmp_path: Path) -> None:
    def verdict(name: str) -> dict[str, Any]:
        return {"verdicts": [{"subject": name, "answer": "SUPPORTED", "simulated": name == "sim"}]}

    curves: dict[str, Any] = {"trained": {"a": pairs(0.9)}, "plain": {}, "untrained": {}}
    stages = [
        ("1: one", "variability-verdict", left(tmp_path / "a", curves=curves, results=verdict("net"))),
        (
            "1: recorded",
            "variability-recordings",
            left(tmp_path / "b", curves={"sim": brain()}, results=verdict("sim")),
        ),
        ("1: two", "variability-verdict", left(tmp_path / "c", curves=curves, results=verdict("twin"))),
        ("2: one", "variability-verdict", left(tmp_path / "d", curves=curves, results=verdict("again"))),
        ("rsa", "rsa", left(tmp_path / "e")),
    ]
    records, written = save_exhibits(stages, tmp_path / "figures")
    assert [one.file for one in records] == [
        "figures/transport.png", "figures/variability-sim.png", "figures/transport-2.png"
    ]  # fmt: skip
    assert sorted(path.suffix for path in written) == [".png"] * 3 + [".svg"] * 3
    assert all(path.stat().st_size > 1000 for path in written)
    assert [one.simulated for one in records] == [False, True, False]
    assert "twin: trained" in records[0].words
    again, _ = save_exhibits(stages, tmp_path / "again")
    assert [one.words for one in again] == [one.words for one in records]
    for path in written:
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_the_page_shows_drawings_in_its_own_colours(run_of: Any, tmp_path: Path) -> None:
    stage = left(
        tmp_path / "stage",
        curves={"<b>sim": brain()},
        results={"verdicts": [{"subject": "<b>sim", "answer": "SUPPORTED", "simulated": True}]},
    )
    records, _ = save_exhibits([("one", "variability-recordings", stage)], tmp_path / "figures")
    page = render(run_of(blocks=1, exhibits=tuple(records)), tmp_path)
    section = page[page.index('<section id="predictions">') :]
    section = section[: section.index("</section>")]
    assert "The predictions in pictures" in section
    assert 'aria-label="&lt;b&gt;sim: calibrated transport' in section
    assert "var(--series-0)" in section
    assert "#ffffff" not in section
    assert "<b>" not in section
    assert section.count("SIMULATED") == 5, "on each panel, and in the caption"
    assert 'href="#e0-' in section
    (tmp_path / records[0].drawing).unlink()
    with pytest.raises(StorageError, match=r"svg cannot be read"):
        render(run_of(blocks=1, exhibits=tuple(records)), tmp_path)
