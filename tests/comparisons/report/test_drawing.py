"""One panel: the right results in the right order, drawn at their values."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from comparisons.report import drawing, panels
from comparisons.results import RunResults

RunOf = Callable[..., RunResults]


def test_regions_stand_in_ventral_order_and_unknown_ones_last(run_of: RunOf) -> None:
    run = run_of(regions=("IT", "hippocampus", "V4", "V1", "EVC"), blocks=1, measures=("spearman", "corr"))
    grouped = panels.panels(run.results)
    assert list(grouped) == [("rsa", "spearman"), ("rsa", "corr")]
    assert [p.region for p in grouped["rsa", "spearman"]] == ["V1", "EVC", "V4", "IT", "hippocampus"]


def test_titles_name_the_recordings_only_where_the_region_does_not_suffice(run_of: RunOf) -> None:
    run = run_of(regions=("V1", "IT"), blocks=1, measures=("spearman",))
    monkey = tuple(r.model_copy(update={"recordings": "monkey"}) for r in run.results if r.region == "IT")
    shown = panels.panels((*run.results, *monkey))["rsa", "spearman"]
    assert panels.panel_titles(shown) == ["V1", "IT · toy-ventral", "IT · monkey"]


def test_stream_starts_at_the_stem_and_leaves_the_writes_out(run_of: RunOf) -> None:
    run = run_of(regions=("V1",), blocks=3, measures=("spearman",))
    line = panels.along_stream(reversed(run.results), "resnet20", "trained")
    assert [r.site for r in line] == [
        "blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "blocks.2.hook_resid_post",
    ]  # fmt: skip
    assert [r.depth for r in line] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    pairs = panels.write_pairs(run.results, "resnet20", "trained")
    assert [(a.site, b.site) for a, b in pairs] == [
        (f"blocks.{k}.hook_resid_post", f"blocks.{k}.hook_write") for k in range(3)
    ]


def test_what_is_drawn_are_the_results(run_of: RunOf) -> None:
    run = run_of(regions=("V1",), blocks=3, measures=("spearman",), models=(("resnet20", "trained"),))
    (panel,) = panels.panels(run.results)["rsa", "spearman"]
    axes = Figure().add_subplot()
    drawing.label_right(axes, drawing.draw_by_depth(axes, panel, drawing.styles(run.results), (0.0, 1.0)))
    drawn = [np.column_stack(line.get_data()) for line in axes.lines]
    line = panels.along_stream(run.results, "resnet20", "trained")
    added = panels.writes(run.results, "resnet20", "trained")
    assert any(np.array_equal(xy, [(r.depth or 0.0, r.estimate) for r in line]) for xy in drawn)
    assert any(np.array_equal(xy, [(r.depth or 0.0, r.estimate) for r in added]) for xy in drawn)
    references = {r.model: r.estimate for r in run.results if r.role == "reference"}
    assert {text.get_text() for text in axes.texts} == {"noise ceiling", *references}
    for value in references.values():
        assert any(np.array_equal(xy[:, 1], [value, value]) for xy in drawn)


def test_limits_hold_everything_that_is_drawn(run_of: RunOf) -> None:
    run = run_of(regions=("V1", "IT"), blocks=3, measures=("spearman",))
    low, high = drawing.depth_limits(panels.panels(run.results)["rsa", "spearman"])
    assert low < 0 < high
    assert high > max(r.ceiling[1] for r in run.results if r.ceiling)
    assert low < min(r.estimate for r in run.results)


def test_of_many_references_the_most_similar_are_drawn(run_of: RunOf) -> None:
    run = run_of(regions=("V1",), blocks=1, measures=("spearman",))
    pixels = next(r for r in run.results if r.model == "pixels")
    many = tuple(pixels.model_copy(update={"model": f"m{k}", "estimate": 0.01 * k}) for k in range(9))
    (panel,) = panels.panels((*run.results, *many))["rsa", "spearman"]
    axes = Figure().add_subplot()
    drawing.label_right(axes, drawing.draw_by_depth(axes, panel, drawing.styles(run.results), (0.0, 1.0)))
    assert {text.get_text() for text in axes.texts} == {"noise ceiling", "gabor-bank", "pixels", "m8", "m7"}


def test_models_differ_in_colour_marker_and_roles_in_dash(run_of: RunOf) -> None:
    drawn = drawing.styles(run_of(blocks=1).results)
    assert [s.role for s in drawn] == ["trained", "untrained", "control"]
    for field in ("colour", "marker", "dash"):
        assert len({getattr(s, field) for s in drawn}) == 3


def test_networks_beside_recordings_have_the_first_colours(run_of: RunOf) -> None:
    alone = tuple(
        result.model_copy(update={"model": f"training {k}", "comparison": "variability"})
        for k in range(6) for result in run_of(blocks=1, models=(("a", "trained"),)).results[:1]
    )  # fmt: skip
    drawn = {style.model: style for style in drawing.styles((*alone, *run_of(blocks=1).results))}
    compared = [drawn[name].colour for name in ("resnet20", "resnet20-untrained", "plain20")]
    assert compared == list(drawing.COLOURS[:3])
    assert next(iter(drawn)) == "training 0", "the legend keeps the order of the run"


def test_what_falls_without_bound_is_cut_and_named_at_the_edge(run_of: RunOf) -> None:
    run = run_of(regions=("V1",), blocks=2, measures=("D of orientation",), models=(("net", "trained"),))
    deep = tuple(r.model_copy(update={"estimate": -4.8}) if r.model == "pixels" else r for r in run.results)
    shown = panels.panels(deep)["rsa", "D of orientation"]
    limits = drawing.depth_limits(shown)
    assert -1.2 < limits[0] < -1
    axes = Figure().add_subplot()
    labels = drawing.draw_by_depth(axes, shown[0], drawing.styles(deep), limits)
    assert (limits[0], "\u2193 pixels", drawing.INK) in labels
    whole = panels.panels(r.model_copy(update={"measure": "spearman"}) for r in deep)["rsa", "spearman"]
    assert drawing.depth_limits(whole)[0] < -4.8


def test_labels_are_moved_apart_in_their_order_and_stay_inside() -> None:
    heights = [0.30, 0.31, 0.10]
    placed = drawing.spread(heights, gap=0.05, bottom=0.0, top=1.0)
    assert placed[2] == heights[2]  # what touches nothing stays
    assert placed[1] - placed[0] == pytest.approx(0.05)
    assert placed[0] - placed[2] >= 0.05
    assert sum(placed) == pytest.approx(sum(heights))
    assert drawing.spread([], gap=1.0, bottom=0.0, top=1.0) == []
    for given in ([0.99, 1.0, 0.98, 0.2], [0.0, 0.01, 0.0, 0.9], [0.5] * 30, [0.0, 0.0, 1.0, 1.0, 0.5]):
        moved = drawing.spread(given, gap=0.1, bottom=0.0, top=1.0)
        order = np.argsort(given, kind="stable")
        assert min(moved) >= -1e-9
        assert max(moved) <= 1 + 1e-9
        assert np.diff(np.array(moved)[order]).min() >= min(0.1, 1 / (len(given) - 1)) - 1e-9


def test_of_many_networks_only_the_trained_get_bands_and_writes(run_of: RunOf) -> None:
    many = (("a", "trained"), *((f"seed {k}", "untrained") for k in range(5)))
    drawn = drawing.styles(run_of(blocks=1, models=many).results)
    assert [style.model for style in drawing.prominent(drawn)] == ["a"]
    assert drawing.prominent(drawn[:4]) == drawn[:4]
