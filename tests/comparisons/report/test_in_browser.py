"""Pages in a real browser: they load quietly, and do what they offer, by mouse and by keyboard."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, Tab, find
from PIL import Image

from comparisons.lineage import History
from comparisons.report.cards import Card, card_pictures
from comparisons.report.exhibits.transfer import transfer
from comparisons.report.exhibits.transport import transport
from comparisons.report.output import as_bytes, settings
from comparisons.report.page import write_report
from comparisons.report.together.output import write
from comparisons.results import Exhibit, FeatureOf, RunResults, Verdict

SITES = ("blocks.1.hook_resid_post", "blocks.8.hook_resid_post/topk")
LIMIT_BYTES = 15_000_000


def browser_or_why(environ: Mapping[str, str], program: str | None) -> str:
    """The browser's path. Skips without one, and fails where VENTRAL_NEEDS_BROWSER asks for one."""
    if program is None:
        told = "no browser: install Chromium, or name one in VENTRAL_BROWSER"
        if environ.get("VENTRAL_NEEDS_BROWSER", "0") not in ("", "0"):
            pytest.fail(told)
        pytest.skip(told)
    return program


def test_without_a_browser_tests_are_skipped_unless_one_is_needed() -> None:
    assert browser_or_why({}, "chromium") == "chromium"
    with pytest.raises(pytest.skip.Exception, match="no browser: install"):
        browser_or_why({"VENTRAL_NEEDS_BROWSER": "0"}, None)
    with pytest.raises(pytest.fail.Exception, match="no browser: install"):
        browser_or_why({"VENTRAL_NEEDS_BROWSER": "1"}, None)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = browser_or_why(os.environ, find())
    with Browser(program, tmp_path_factory.mktemp("profile")) as running:
        yield running


def exhibits(folder: Path) -> Iterator[Exhibit]:
    """Drawings with values and series, and six cards."""
    folder.mkdir(parents=True)
    pairs = [{"distance": d, "t": 1 - 0.05 * d} for d in range(1, 8)]
    lost = [{"distance": d, "t": 0.01} for d in range(1, 8)]
    networks = {"net": {"trained": {"a": pairs, "b": pairs}, "plain": {"c": lost}}}
    one = {"sites": [f"blocks.{k}.hook_resid_post" for k in range(3)], "matrix": (np.eye(3) * 0.6).tolist()}
    with settings():
        drawn = [*transport(networks), *transfer([{"name": "net", "transfer": [one], "missing": ""}])]
        for picture in drawn:
            (folder / f"{picture.name}.svg").write_bytes(as_bytes(picture.figure, "svg"))
            yield Exhibit(
                group=picture.group, caption=picture.caption, words=picture.words, file="", simulated=True,
                drawing=f"{folder.name}/{picture.name}.svg",
            )  # fmt: skip
    rng = np.random.default_rng(0)
    levels = np.arange(0.0, 180, 15)
    curve = (levels, np.cos(np.deg2rad(levels)) ** 2, levels, np.cos(np.deg2rad(levels)) ** 2)
    card = Card(
        title="a feature", subtitle="", stimuli=rng.integers(0, 255, (6, 32, 32, 3), dtype=np.uint8),
        heat=rng.random((6, 4, 4)), values=np.arange(6.0), orientation=curve, frequency=None, phase=None, contrast=None,
        field=rng.standard_normal((9, 9)), fitted=None, facts=[("label", "simple")],
        history=History(np.array([0, 1.0]), np.array([1.0, 0.5]), np.array([True, False]), own=0, chance=0.1),
    )  # fmt: skip
    drawn_card = card_pictures(card)["svg"]
    for number in range(6):
        simplicity, label = 0.9 - 0.15 * number, "simple" if number < 2 else "complex"
        title = f"net, {SITES[number % 2]}, feature {number}"
        (folder / f"card-{number}.svg").write_bytes(drawn_card)
        yield Exhibit(
            group="Feature cards", caption="Between at its site.", words=f"{title}; label: {label}", file="",
            drawing=f"{folder.name}/card-{number}.svg",
            feature=FeatureOf(model="net", site=SITES[number % 2], depth=float(number % 2), number=number,
                              simplicity=simplicity, facts=(("label", label),)),
        )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResults, Path]:
    """A run about as large as the demo's, and its folder."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("report_conftest", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("run")
    verdict = Verdict(prediction="P1 persistence", subject="net", answer="SUPPORTED", reasons=("it is",),
                      numbers={"phi": 0.2}, simulated=True)  # fmt: skip
    made = module.make_run(
        measures=("spearman",), blocks=16, exhibits=tuple(exhibits(folder / "figures")), verdicts=(verdict,)
    )
    # As many rows as the demo has; without a depth they have no picture, which only takes time.
    more = [r.model_copy(update={"measure": name, "depth": None}) for name in ("a", "b", "c") for r in made.results]
    return made.model_copy(update={"results": (*made.results, *more)}), folder


@pytest.fixture(scope="module")
def page(run: tuple[RunResults, Path]) -> Path:
    return write_report(*run)


@pytest.fixture
def tab(browser: Browser, page: Path) -> Iterator[Tab]:
    """The report in a window of 1280 pixels; what is done to it must leave the console silent."""
    with browser.tab() as one:
        one.open(page)
        yield one
        assert one.complaints() == []


def count(tab: Tab, of: str) -> int:
    return tab.js(f"document.querySelectorAll('{of}').length")


def told(tab: Tab) -> str:
    """What the box beside a mark says; empty where it is not shown."""
    return tab.js("(document.querySelector('.told.shown') || {textContent: ''}).textContent")


def said(tab: Tab, form: str) -> str:
    return tab.js(f"document.querySelector('form[data-of={form}] output').textContent")


SHOWN = "#cards .card:not([hidden])"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (420, "light"), (420, "dark")])
def test_it_opens_without_a_complaint_and_fits_the_window(
    browser: Browser, page: Path, width: int, scheme: str
) -> None:
    with browser.tab(width, scheme=scheme) as tab:
        tab.open(page)
        assert tab.complaints() == []
        assert tab.requests() == [page.as_uri()]
        assert tab.js("document.documentElement.scrollWidth") == width
        shade = np.asarray(Image.open(io.BytesIO(tab.screenshot(whole=False))).convert("L")).mean()
        assert shade > 220 if scheme == "light" else shade < 60, shade


def test_it_is_small_and_whole(browser: Browser, page: Path) -> None:
    assert page.stat().st_size <= LIMIT_BYTES
    with browser.tab() as tab:
        assert count(tab, "*") < 10
        tab.open(page)
        assert count(tab, "#results tbody tr") > 1000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_from_the_paper(browser: Browser, page: Path, scheme: str) -> None:
    """WCAG 2.2: 4.5 to 1 for texts (1.4.3), 3 to 1 for what is drawn (1.4.11); that of a series has shape beside it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    with browser.tab(scheme=scheme) as tab:
        tab.open(page)
        names = ["paper", "ink", "muted", "link", "alert", *(f"series-{k}" for k in range(6))]
        read = "getComputedStyle(document.documentElement).getPropertyValue('--{}').trim()"
        colours = {name: tab.js(read.format(name)) for name in names}
    paper = light(colours.pop("paper"))
    for name, colour in colours.items():
        low, high = sorted((paper, light(colour)))
        least = 2.5 if name.startswith("series") else 4.5
        assert (high + 0.05) / (low + 0.05) >= least, (name, colour)


def test_the_table_is_sorted_and_filtered(tab: Tab) -> None:
    values = "Array.from(document.querySelectorAll('#results tbody tr:not([hidden]) td.bar'), (c) => +c.dataset.v)"
    column = tab.js("Array.from(document.querySelectorAll('#results th'), (h) => h.textContent).indexOf('Estimate')")
    head = f"#results th:nth-child({column + 1}) button"
    tab.click(head)
    assert tab.js(values) == sorted(tab.js(values))
    tab.press("Enter")  # the head has the focus
    assert tab.js(values) == sorted(tab.js(values), reverse=True)
    assert tab.js(f"document.querySelector('{head}').parentNode.getAttribute('aria-sort')") == "descending"
    whole = len(tab.js(values))
    assert said(tab, "results") == f"{whole} results"
    tab.click("form[data-of=results] input[type=search]")
    tab.write("BLOCKS.3. untrained")
    assert 0 < len(tab.js(values)) < whole
    assert said(tab, "results") == f"{len(tab.js(values))} of {whole} results"
    tab.press("Tab")
    tab.press("ArrowDown")  # the first region
    assert tab.js("document.activeElement.value") == "V1"
    assert set(tab.js("Array.from(document.querySelectorAll('#results tr[data-item]:not([hidden])'), "
                      "(r) => r.dataset.region)")) == {"V1"}  # fmt: skip
    tab.click("form[data-of=results] button[type=reset]")
    tab.js("new Promise((done) => setTimeout(done, 20))")
    assert len(tab.js(values)) == whole


def test_cards_are_searched_filtered_and_ordered(tab: Tab) -> None:
    assert count(tab, SHOWN) == 6
    tab.click("form[data-of=cards] input[type=search]")
    tab.write("Feature 3")
    assert count(tab, SHOWN) == 1
    assert said(tab, "cards") == "1 of 6 cards"
    tab.write(" nowhere")
    assert count(tab, SHOWN) == 0
    tab.click("form[data-of=cards] button[type=reset]")
    tab.js("new Promise((done) => setTimeout(done, 20))")
    assert count(tab, SHOWN) == 6
    # By keyboard alone, from the search to the form's end.
    tab.js("document.querySelector('form[data-of=cards] input[type=search]').focus()")
    tab.press("Tab")
    tab.press("ArrowDown")
    assert tab.js("document.activeElement.value") == SITES[0]
    assert count(tab, SHOWN) == 3
    tab.press("Tab")
    tab.press("ArrowDown")
    assert tab.js("document.activeElement.value") == "simple"
    assert count(tab, SHOWN) == 1
    tab.press("ArrowUp")
    tab.press("Tab")
    tab.write("0.4")  # simplicity from
    assert tab.js("document.activeElement.getAttribute('aria-label')") == "Simplicity from"
    assert count(tab, SHOWN) == 2
    tab.press("Tab")
    tab.write("0.7")
    assert tab.js(f"Array.from(document.querySelectorAll('{SHOWN}'), (c) => c.dataset.simplicity)") == [
        repr(0.9 - 0.15 * 2)
    ]
    tab.press("Tab")
    tab.write("0.5")  # depth from: the site lies at 0
    assert count(tab, SHOWN) == 0
    tab.press("Tab", times=2)
    tab.press("ArrowDown", times=2)
    assert tab.js("document.activeElement.value") == "simplicity"
    order = "Array.from(document.querySelectorAll('#cards .card'), (c) => +c.dataset.simplicity)"
    assert tab.js(order) == sorted(tab.js(order))
    tab.press("Tab")
    tab.press("Enter")
    tab.js("new Promise((done) => setTimeout(done, 20))")
    assert count(tab, SHOWN) == 6
    assert tab.js(order) == sorted(tab.js(order), reverse=True)


def test_values_are_told_by_pointer_and_by_keys(tab: Tab) -> None:
    assert told(tab) == ""
    tab.hover("#pictures .panel g.value[data-series] use")
    assert re.fullmatch(r"resnet20 \(trained\), blocks\.\S+, depth [\d.]+: [−\d.]+ \[[−\d.]+, [−\d.]+\]", told(tab))
    tab.move(2, 2)
    assert told(tab) == ""
    tab.js("document.querySelector('#predictions .panel').focus()")
    tab.press("ArrowRight")
    assert told(tab).startswith("trained, over 1 block: 0.950")
    tab.press("ArrowRight")
    assert told(tab).startswith("trained, over 2 blocks: 0.900")
    tab.press("ArrowDown")
    assert told(tab) == "plain twin, without skips, over 2 blocks: 0.010"
    tab.press("End")
    assert told(tab).startswith("plain twin, without skips, over 7 blocks")
    tab.press("ArrowRight")
    assert told(tab).startswith("trained, over 1 block")
    tab.press("Escape")
    assert told(tab) == ""
    tab.js("document.querySelectorAll('#predictions .panel')[1].focus()")
    tab.press("Home")
    assert told(tab) == "fitted at blocks.0.hook_resid_post, used at blocks.0.hook_resid_post: R2 0.600"
    assert tab.js("document.querySelector('.told').getAttribute('role')") == "status"


def test_series_are_switched_off_and_on(tab: Tab) -> None:
    seen = (
        "Array.from(document.querySelectorAll('#pictures .gallery:first-of-type .panel [data-series]')).filter((e) => "
        "e.dataset.series === 'resnet20 (trained)' && e.style.display !== 'none').length"
    )
    before = tab.js(seen)
    assert before > 50
    button = "#pictures .gallery:first-of-type .legend button"
    tab.click(button)
    assert tab.js(seen) == 0
    assert tab.js(f"document.querySelector('{button}').getAttribute('aria-pressed')") == "false"
    tab.press(" ")
    assert tab.js(seen) == before
    assert count(tab, "#predictions .switches button") == 2  # of the one drawing that has series
    tab.js("document.querySelectorAll('#predictions .switches button')[0].focus()")
    tab.press("Enter")
    tab.js("document.querySelector('#predictions .panel').focus()")
    tab.press("Home")
    assert told(tab).startswith("plain twin")


def test_print_shows_all_on_white(browser: Browser, page: Path) -> None:
    with browser.tab(scheme="dark") as tab:
        tab.open(page)
        tab.js("document.querySelector('form[data-of=cards] input[type=search]').value = 'nothing'")
        tab.js("document.querySelectorAll('#results tbody tr:nth-child(n+100)').forEach((r) => r.remove())")  # quicker
        pdf = tab.pdf()
        assert pdf.startswith(b"%PDF")
        assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 5
        assert tab.js("Array.from(document.querySelectorAll('details')).every((d) => d.open)")
        tab.media(scheme="dark", kind="print")
        assert tab.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        for hidden in ("nav", "form.filters", ".switches"):
            assert tab.js(f"getComputedStyle(document.querySelector('{hidden}')).display") == "none", hidden
        assert tab.js("getComputedStyle(document.getElementById('results')).overflow") == "visible"


def test_without_scripts_everything_is_shown(browser: Browser, page: Path) -> None:
    with browser.tab() as tab:
        tab.scripts(False)
        tab.open(page)
        assert count(tab, SHOWN) == 6
        assert count(tab, "form.filters:not([hidden])") == 0
        assert count(tab, ".panel .value > title") > 100
        assert tab.complaints() == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (420, "dark")])
def test_runs_side_by_side(
    browser: Browser, run: tuple[RunResults, Path], tmp_path: Path, width: int, scheme: str
) -> None:
    made, _ = run
    other: dict[str, Any] = {"name": "other", "exhibits": ()}
    (path,) = write({"toy": made, "other": made.model_copy(update=other)}, tmp_path, ["html"])
    assert path.stat().st_size <= LIMIT_BYTES
    with browser.tab(width, scheme=scheme) as tab:
        tab.open(path)
        assert tab.requests() == [path.as_uri()]
        assert tab.js("document.documentElement.scrollWidth") == width
        tab.hover(".panel .value use")
        assert "(trained), blocks." in told(tab)
        assert tab.complaints() == []
        assert tab.pdf().startswith(b"%PDF")
