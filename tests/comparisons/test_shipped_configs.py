"""The configs that ship, run for real with few bootstrap draws: known numbers come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bridge.store import Store
from comparisons.config import load
from comparisons.results import Result
from comparisons.run import run


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
    config = load("resnet20_human_ventral", ["comparisons.0.draws=10", "comparisons.0.permutations=100"])
    results = run(config, tmp_path / "a").results
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


def test_the_demo_labels_what_is_simulated_and_sees_the_known_difference(tmp_path: Path) -> None:
    config = load("demo", ["comparisons.0.draws=5", "comparisons.0.permutations=0"])
    made = run(config, tmp_path)
    assert all(r.simulated for r in made.results)
    assert "SIMULATED" in (tmp_path / "report.html").read_text()
    assert {r.role for r in made.results} == {"trained", "untrained", "control", "reference"}
    late = {
        name: np.max([r.estimate for r in made.results if (r.recordings, r.region) == (name, "IT")])
        for name in ("residual brain", "hierarchical brain")
    }
    assert late["residual brain"] > 0.1 > 0.05 > late["hierarchical brain"]
