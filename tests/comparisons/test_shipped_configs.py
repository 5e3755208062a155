"""The configs that ship, run for real with few bootstrap draws: known numbers come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bridge.store import Store
from comparisons.config import load
from comparisons.results import Result, RunResults
from comparisons.running import run


def best(results: tuple[Result, ...], **where: object) -> Result:
    """The trained model's best resid_post by Spearman, where `where` holds."""
    chosen = [
        r
        for r in results
        if r.measure == "spearman"
        and r.site is not None
        and r.site.endswith("resid_post")
        and all(getattr(r, key) == value for key, value in where.items())
    ]
    return max(chosen, key=lambda r: r.estimate)


@pytest.mark.data
def test_resnet20_against_the_human_ventral_stream(data_folder: Path, tmp_path: Path) -> None:
    config = load(
        "resnet20_human_ventral",
        ["comparisons.0.draws=10", "comparisons.0.permutations=100", "comparisons.1.draws=100"],
    )
    whole = run(config, tmp_path / "a")
    results = whole.results
    told = [(v.prediction, v.subject, v.answer) for v in whole.verdicts]
    assert len(told) == len(set(told)) == 6
    assert {answer for prediction, _, answer in told if prediction == "P2 variability"} == {"NOT TESTABLE"}
    assert ("P1 persistence", "cichy2014-human", "INCONCLUSIVE") in told  # weak evidence decides nothing
    for region, ceiling in (("EVC", (0.24, 0.39)), ("IT", (0.45, 0.54))):
        one = best(results, recordings="cichy2014-human", region=region, role="trained")
        assert one.ceiling == pytest.approx(ceiling, abs=0.006)
        assert (one.n_subjects, one.n_stimuli) == (15, 92)
    evc = best(results, recordings="cichy2014-human", region="EVC", role="trained")
    it = best(results, recordings="cichy2014-human", region="IT", role="trained")
    assert (evc.site, it.site) == ("blocks.7.hook_resid_post", "blocks.8.hook_resid_post")
    assert (evc.estimate, it.estimate) == pytest.approx((0.133, 0.154), abs=0.002)
    named = {(r.model, r.recordings, r.region): r.estimate for r in results if r.measure == "spearman" and not r.site}
    for model, where, expected in (
        ("monkeyIT", ("cichy2014-human", "EVC"), 0.080),
        ("monkeyIT", ("cichy2014-human", "IT"), 0.272),
        ("animacy", ("cichy2014-human", "IT"), 0.255),
        ("Silhouette", ("cichy2014-human", "EVC"), 0.214),
    ):
        assert named[model, *where] == pytest.approx(expected, abs=0.002)
    assert ("monkeyIT", "kriegeskorte2008-monkey", "IT") not in named  # it is that region itself
    single = best(results, recordings="kriegeskorte2008-monkey", role="trained")
    assert single.ceiling is None
    assert single.interval is not None
    again = run(config, tmp_path / "b", store=Store(tmp_path / "empty")).results
    assert [r.estimate for r in again] == [r.estimate for r in results]
    assert again == results


FEWER = (
    "comparisons.0.draws=100",
    "comparisons.0.permutations=0",
    "comparisons.0.baselines=[]",
    "comparisons.1.images=4",
    "comparisons.0.simplicity_images=100",
    "comparisons.1.draws=200",
    "saes.0.training.epochs=3",
    "saes.0.models=[residual, plain twin, untrained]",
    "comparisons.3.draws=5",
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResults, Path]:
    folder = tmp_path_factory.mktemp("demo")
    return run(load("demo", FEWER), folder), folder


def test_the_demo_labels_what_is_simulated_and_sees_the_known_difference(demo: tuple[RunResults, Path]) -> None:
    made, folder = demo
    brains = ("residual brain", "hierarchical brain")
    assert all(r.simulated == (r.recordings in brains) for r in made.results)
    assert all(v.simulated == (v.subject in brains) for v in made.verdicts)
    assert "SIMULATED" in (folder / "report.html").read_text()
    assert {r.role for r in made.results} == {"trained", "untrained", "control", "reference"}
    late = {
        name: np.max(
            [r.estimate for r in made.results if (r.comparison, r.recordings, r.region) == ("rsa", name, "IT")]
        )
        for name in brains
    }
    assert late["residual brain"] > 0.1 > 0.05 > late["hierarchical brain"]


def test_the_demos_networks_and_brains_get_the_verdicts_that_are_true_of_them(demo: tuple[RunResults, Path]) -> None:
    answers = {(v.prediction[:2], v.subject): v.answer for v in demo[0].verdicts}
    assert answers["P1", "residual brain"] == answers["P2", "residual brain"] == "SUPPORTED"
    assert answers["P1", "hierarchical brain"] == answers["P2", "hierarchical brain"] == "REFUTED"
    assert (answers["P1", "residual"], answers["P1", "plain twin"]) == ("SUPPORTED", "REFUTED")
    assert (answers["P2", "residual"], answers["P2", "plain twin"]) == ("SUPPORTED", "REFUTED")
    assert answers["P1", "untrained"] == "INCONCLUSIVE", "nothing was there to lose"
    assert answers["P3", "residual brain"] == answers["P3", "hierarchical brain"] == "NOT TESTABLE", "no time bins"
    # A plain block takes away nearly all of what comes in; a residual one keeps most of it.
    kept = {v.subject: v.numbers["kept share"] for v in demo[0].verdicts if v.prediction.startswith("P3") and v.numbers}
    assert kept["residual"] > 0.5
    assert kept["residual"] > 3 * kept["plain twin"]


def test_the_demo_has_cards_of_six_latents_by_rank_of_simplicity(demo: tuple[RunResults, Path]) -> None:
    made, folder = demo
    cards = [one.feature for one in made.exhibits if one.feature is not None]
    assert [card.site for card in cards] == [
        f"blocks.{block}.hook_resid_post/topk" for block in (1, 11) for _ in range(3)
    ]
    for first in (0, 3):
        scores = [float(card.simplicity or 0) for card in cards[first : first + 3]]
        assert scores == sorted(scores, reverse=True)
    assert (folder / "report.html").read_text().count('<figure class="card"') == 6
    assert (folder / "report.html").stat().st_size < 15_000_000


def test_the_demo_draws_its_predictions(demo: tuple[RunResults, Path]) -> None:
    made, folder = demo
    drawn = {Path(one.file).stem: one for one in made.exhibits if one.drawing and one.feature is None}
    brains = {
        f"{kind}-{name}-brain" for kind in ("persistence", "variability") for name in ("residual", "hierarchical")
    }
    assert set(drawn) == {"survival-topk", "transfer", "transport", "edit-slopes", *brains}
    assert {name for name, one in drawn.items() if one.simulated} == brains
    assert all({one.file, one.drawing} < set(made.files) for one in drawn.values())
    assert "figures/verdicts.png" in made.files
    page = (folder / "report.html").read_text()
    assert page.count('aria-label="residual') >= 4
    assert "Deaths to be expected if no feature died and seeds alone disagreed" in page
    survival = [v for v in made.verdicts if v.prediction.startswith("P1") and "survival of topk" in " ".join(v.reasons)]
    assert [verdict.subject for verdict in survival] == ["residual", "plain twin", "untrained"]


def test_verdicts_do_not_change_with_the_order_of_sites(tmp_path: Path) -> None:
    asked = [
        "models=[{kind: demo, name: residual, network: residual}]",
        "recordings=[]",
        "saes=[]",
    ]
    sites = ["blocks.0.hook_resid_post", "blocks.6.hook_resid_post", "blocks.11.hook_resid_post"]
    found = []
    for number, order in enumerate((sites, sites[::-1])):
        part = "{kind: persistence, scenes: 0, gratings: 240, permutations: 0, draws: 100, baselines: [], "
        part += f"sites: [{', '.join(order)}]}}"
        found.append(run(load("demo", [*asked, f"comparisons=[{part}]"]), tmp_path / str(number)).verdicts)
    assert found[0] == found[1]
