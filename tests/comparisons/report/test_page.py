"""The page: one file, no requests, nothing unescaped, and honest about what it lacks."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import StorageError
from comparisons.report import methods
from comparisons.report.methods.dictionaries import dictionary_paragraphs
from comparisons.report.methods.references import REFERENCES
from comparisons.report.page import render, write_report
from comparisons.results import Dictionary, Exhibit, Result, RunResults, Verdict

RunOf = Callable[..., RunResults]
VOID = {"meta", "link", "br", "hr", "img", "input", "area", "base", "col", "source", "wbr"}
FETCHING = {"src", "srcset", "data", "poster", "action", "formaction", "background", "ping"}


class Page(HTMLParser):
    """Reads a page, checks that its elements nest, and keeps what the tests look at."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.results = 0
        self.feed(html)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr" and "data-model" in dict(attrs):
            self.results += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def seen(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_page_nests_holds_everything_and_lists_each_result_once(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of()
    path = write_report(run, tmp_path / "runs" / "toy")
    assert path == tmp_path / "runs" / "toy" / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.results == len(run.results)
    assert path.stat().st_size < 1_500_000
    for part in (
        run.title, run.question, run.dropped[0], "Bootstrap over stimuli and subjects.", "2.15.0", "Linux", "2e1f",
        "ventral run configs/demo.yaml --out runs/toy", "Licence: MIT", "Matching categorical object representations",
        "Schütt", "Nili", "Kirchner", "noise ceiling",
    ):  # fmt: skip
        assert part in page.seen, part


def test_page_is_the_same_for_the_same_results(run_of: RunOf) -> None:
    assert render(run_of(blocks=2, regions=("IT",))) == render(run_of(blocks=2, regions=("IT",)))


def test_page_fetches_nothing(run_of: RunOf) -> None:
    html = render(run_of(blocks=2, regions=("V1", "IT")))
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img"}, tag
        assert not FETCHING & set(attributes), (tag, attributes)
        for name in ("href", "xlink:href"):
            target = attributes.get(name) or "#"
            assert target.startswith("#") or (tag == "a" and target.startswith("https://")), (tag, target)
    assert "@import" not in html
    assert re.findall(r"url\(\s*['\"]?(?!#)", html) == []


def test_ids_are_unique_and_references_lead_somewhere(run_of: RunOf) -> None:
    page = Page(render(run_of(blocks=2, regions=("V1", "IT"))))
    identities = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identities) == len(set(identities))
    targets = {
        str(a[name])[1:]
        for _, a in page.elements
        for name in ("href", "xlink:href")
        if str(a.get(name)).startswith("#")
    }
    assert targets <= set(identities)


def test_whatever_a_user_names_is_escaped(run_of: RunOf) -> None:
    evil = "<script>alert(1)</script>\"'&$x^2$"
    base = run_of(blocks=2, models=((evil, "trained"), ("_hidden", "untrained")), regions=(evil,), measures=(evil,))
    results = tuple(
        r.model_copy(update={"recordings": evil, "notes": (evil,), "dropped": (evil,), "artefacts": (evil,)})
        for r in base.results
    )
    odd = results[0].model_copy(update={"site": evil})
    run = base.model_copy(
        update={
            "results": (*results, odd),
            "name": evil, "title": evil, "question": evil, "dropped": (evil,), "config": {evil: evil},
            "provenance": {
                "command": evil, evil: [evil, {evil: evil}],
                "datasets": [{"name": evil, "title": evil, "licence": evil, "citation": evil}],
            },
            "verdicts": (
                Verdict(prediction=evil, subject=evil, answer="SUPPORTED", reasons=(evil,), numbers={evil: 1.0}),
            ),
            "seconds": {evil: 1.0},
        }
    )  # fmt: skip
    html = render(run)
    page = Page(html)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert "<script>alert" not in html
    assert evil in page.seen
    assert "_hidden" in page.seen


def test_simulated_is_shown_exactly_when_something_is(run_of: RunOf) -> None:
    measured = render(run_of(blocks=2, regions=("IT",), simulated=False))
    assert "SIMULATED" not in measured
    run = run_of(blocks=2, simulated=True, regions=("V1", "IT"), measures=("spearman",))
    page = Page(render(run))
    assert "not measured. Nothing here is evidence about a brain." in page.seen
    # The banner, every row of both tables, both pictures and each of their panels carry it once.
    assert page.seen.count("SIMULATED") == len(run.results) + 2 + 1 + 2 + 2 * 2 + 1
    mixed = run.model_copy(
        update={"results": tuple(r.model_copy(update={"simulated": r.region == "V1"}) for r in run.results)}
    )
    assert "Some recordings in this run were made by a program" in Page(render(mixed)).seen


@pytest.mark.parametrize(
    "lacking",
    [
        {"regions": ("IT",)},
        {"ceilings": False},
        {"intervals": False},
        {"writes": False},
        {"references": False},
        {"models": (("resnet20", "trained"),)},
        {"models": (("resnet20-untrained", "untrained"),)},
        {"provenance": {}, "dropped": (), "seconds": {}},
        {"results": ()},
    ],
)
def test_page_stands_with_parts_missing(run_of: RunOf, lacking: dict) -> None:
    run = run_of(**{"blocks": 2, "regions": ("V1", "IT"), "measures": ("spearman",), "simulated": False, **lacking})
    html = render(run)
    page = Page(html)
    assert page.results == len(run.results)
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", page.seen), page.seen
    assert "NaN" not in html
    assert "There are no verdicts in this run." in page.seen


def test_recordings_that_share_regions_stand_in_labelled_rows(run_of: RunOf) -> None:
    run = run_of(blocks=2, regions=("IT", "V1", "V4"), measures=("spearman",), writes=False, simulated=False)
    other = tuple(r.model_copy(update={"recordings": "monkey"}) for r in run.results if r.region != "V4")
    page = Page(render(run.model_copy(update={"results": (*run.results, *other)})))
    grid = [a for tag, a in page.elements if a.get("class") == "grid"]
    assert [str(a["style"]).startswith("--columns: 3;") for a in grid] == [True]
    # Each recordings' name, then its panels: the one that is missing keeps its place.
    order = [
        str(a.get("aria-label") or "")[:2] if a.get("class") == "panel" else tag
        for tag, a in page.elements
        if tag == "h4" or a.get("class") == "panel"
    ]
    assert order == ["h4", "V1", "V4", "IT", "h4", "V1", "", "IT"]
    words = [str(a["aria-label"]) for _, a in page.elements if a.get("role") == "img"]
    assert words[0].startswith("V1 · toy-ventral, Spearman ρ: resnet20 (trained) is highest at depth 0.00, 0.270")
    assert words[1].startswith("V4, ")


def test_single_site_without_depth_and_numbers_that_are_none(run_of: RunOf) -> None:
    one = run_of(blocks=1, regions=("IT",), measures=("spearman",), simulated=False).results[0]
    undepthed = one.model_copy(update={"site": "somewhere", "depth": None, "ceiling": None})
    unknown = one.model_copy(update={"model": "broken", "estimate": float("nan"), "interval": None})
    page = Page(render(run_of(results=(undepthed, unknown))))
    assert page.results == 2
    assert "at its only site: 0.150" in page.seen
    assert "Not drawn for want of a number: 1 result." in page.seen
    assert not re.search(r"\bnan\b", page.seen.lower())


def test_verdicts_come_with_their_reasons(run_of: RunOf) -> None:
    verdict = Verdict(
        prediction="P1", subject="resnet20", answer="NOT TESTABLE", reasons=("RDMs only.",), numbers={"D_k": -0.5}
    )
    page = Page(render(run_of(blocks=2, regions=("IT",), verdicts=(verdict,))))
    assert "Verdicts: 1 NOT TESTABLE." in page.seen
    assert "RDMs only." in page.seen
    assert "D_k = −0.500" in page.seen
    assert "no verdicts" not in page.seen


def dictionary(name: str = "topk", **fields: Any) -> Dictionary:
    values: dict[str, Any] = {
        "name": name, "model": "resnet20", "reads": ("blocks.0.hook_resid_post",), "architecture": "topk",
        "latents": 1024, "k": 8, "l0": 7.9, "unexplained": 0.1234, "dead": 0.004, "explained": 0.87,
    }  # fmt: skip
    return Dictionary(**{**values, **fields})


def test_dictionaries_stand_in_a_section_of_their_own(run_of: RunOf) -> None:
    run = run_of(blocks=2, regions=("IT",), simulated=False)
    assert "Dictionaries" not in Page(render(run)).seen
    found = (
        dictionary(warnings=("blocks.0.hook_resid_post/topk leaves 95% unexplained.",)),
        dictionary("topk.1", seed_stability=0.42),
        dictionary("over", writes="blocks.0.hook_write"),
        dictionary("theirs", source="lab/x 0a1b", unexplained=None, k=None, l0=None, dead=0.0, explained=-0.2),
    )
    seen = Page(render(run.model_copy(update={"dictionaries": found}))).seen
    assert "1,024 8 7.9 0.123 < 1% 87% —" in seen
    assert "1,024 — — — 0% −20% —" in seen
    assert "blocks.0.hook_resid_post → blocks.0.hook_write" in seen
    assert "resnet20: blocks.0.hook_resid_post/topk leaves 95% unexplained." in seen
    assert "theirs: lab/x 0a1b" in seen
    assert "0.42" in seen
    assert not re.search(r"\bNone\b", seen)
    alone = Page(render(run.model_copy(update={"dictionaries": found[:1]}))).seen
    assert "Seeds" not in alone
    assert "Where none were held out" not in alone


def test_methods_say_how_dictionaries_were_made(run_of: RunOf) -> None:
    from saes.settings import Training
    from saes.specs.load import LoadSAE
    from saes.specs.train import TrainSAE

    batch = Training.model_validate({"architecture": {"kind": "batchtopk"}, "epochs": 3})
    entries = [
        TrainSAE(name="topk", tokens=32),
        TrainSAE(name="cross", joint=True, tokens="patches", seeds=2, training=batch),
        LoadSAE(name="theirs", path="lab/x"),
        LoadSAE(name="unused", path="lab/y"),
    ]
    run = run_of(blocks=2, regions=("IT",), config={"saes": [entry.content() for entry in entries]})
    assert dictionary_paragraphs(run) == []
    made = tuple(dictionary(name) for name in ("topk", "cross", "theirs"))
    trained, loaded = dictionary_paragraphs(run.model_copy(update={"dictionaries": made}))
    assert "`topk` keeps the k largest latents of each token; it was trained for 8 epochs on 32 patches" in trained.text
    assert "of which 5%, chosen by id, were held out" in trained.text
    assert "trained for 3 epochs on all patches of the run's own stimuli" in trained.text
    assert trained.cited == ("gao2024", "bussmann2024", "lindsey2024", "paulo2025")
    assert loaded.text.startswith("`theirs`: ")
    codes = tuple(r.model_copy(update={"dictionary": "topk"}) for r in run.results)
    shown = run.model_copy(update={"dictionaries": made, "results": codes})
    assert dictionary_paragraphs(shown)[-1].title == "Codes"
    assert set(methods.cited(methods.paragraphs(shown))) <= set(REFERENCES)


def test_things_left_out_are_counted(run_of: RunOf) -> None:
    run = run_of(blocks=2, regions=("IT",))
    first: Result = run.results[0].model_copy(update={"dropped": ("3 neuroids below the reliability bound.",)})
    page = Page(render(run.model_copy(update={"results": (first, *run.results[1:])})))
    assert f"3 neuroids below the reliability bound. (1 of {len(run.results)} results)" in page.seen


def test_a_page_that_cannot_be_written_is_a_storage_error(run_of: RunOf, tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError, match="Cannot write"):
        write_report(run_of(blocks=1), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_exhibits_are_embedded_where_their_folder_is_known(run_of: RunOf, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "one.png").write_bytes(b"\x89PNG one")
    one = Exhibit(group="Cards <b>", part="net, site", caption="Most simple", words='a "card"', file="figures/one.png")
    whole = one.model_copy(update={"part": "", "group": "Curves"})
    run = run_of(exhibits=(one, whole))
    page = render(run, tmp_path)
    assert page.count("data:image/png;base64,iVBORw==") == 0
    assert page.count("data:image/png;base64,") == 2
    assert "Cards &lt;b&gt;" in page
    assert "<summary>net, site</summary>" in page
    assert 'alt="a &#34;card&#34;"' in page
    assert "A closer look" not in render(run)
    (tmp_path / "figures" / "one.png").unlink()
    with pytest.raises(StorageError, match=r"one\.png cannot be read"):
        render(run, tmp_path)


def test_small_figures_of_probes_stand_together(run_of: RunOf) -> None:
    """Those of single features share a gallery and its first legend; those of several variables keep their own."""
    run = run_of(regions=("features",), measures=("share", "median"), ceilings=False, references=False)
    small = [r.model_copy(update={"comparison": "probe"}) for r in run.results if r.site and "write" not in r.site]
    several = [
        r.model_copy(update={"region": name, "measure": "decoded (R2)", "estimate": -5.0})
        for name in ("x", "y") for r in small if r.measure == "share"
    ]  # fmt: skip
    for results in ((*several, *small), (*small,)):
        page = render(run.model_copy(update={"results": results, "verdicts": ()}))
        assert page.count('<div class="tiles">') == 1
        assert page.count('<ul class="legend"') == 1 + (len(results) > len(small))
        assert page.count("<figure") == 2 + (len(results) > len(small))
        assert ("is outside the frame" in page) == (len(results) > len(small))
