"""Which region a site is closest to: by its share of the best for that region, not by similarities of unequal noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comparisons.report.closest import closest_regions
from comparisons.report.tables import card_choices
from comparisons.results import FeatureOf, Result, RunResults

COUNTS = {"n_stimuli": 9, "n_subjects": 1}
RunOf = Callable[..., RunResults]
EARLY, LATE = "blocks.0.hook_resid_post", "blocks.8.hook_resid_post"


def results(estimates: dict[tuple[str, str], float], **more: Any) -> list[Result]:
    """Of (site, region)."""
    about = {"comparison": "rsa", "measure": "corr", "recordings": "toy", "model": "net", **COUNTS}
    depths = {EARLY: 0.1, LATE: 1.0}
    return [
        Result(**{**about, "site": site, "depth": depths[site], "region": region, "estimate": value, **more})
        for (site, region), value in estimates.items()
    ]


NOISY_V1 = {(EARLY, "V1"): 0.10, (LATE, "V1"): 0.02, (EARLY, "IT"): 0.30, (LATE, "IT"): 0.60}


def test_a_region_of_little_signal_is_not_outvoted() -> None:
    found = closest_regions(results(NOISY_V1))
    assert found.of("net", EARLY) == "V1", "IT's number is larger at both sites"
    assert found.of("net", LATE) == "IT"
    assert found.measure == "corr"
    assert not found.simulated
    assert closest_regions(results(NOISY_V1, simulated=True)).simulated


def test_codes_stand_for_themselves_or_for_the_site_they_read() -> None:
    flipped = {(EARLY, "V1"): 0.02, (LATE, "V1"): 0.1, (EARLY, "IT"): 0.6, (LATE, "IT"): 0.3}
    codes = results(flipped, dictionary="topk", model="net · topk")
    found = closest_regions([*results(NOISY_V1), *codes])
    assert found.of("net", f"{EARLY}/topk") == "IT"
    assert found.of("net", f"{EARLY}/other") == found.of("net", EARLY) == "V1"
    assert found.of("other", EARLY) == ""


def test_one_region_or_one_site_says_nothing() -> None:
    assert closest_regions([]).regions == {}
    assert closest_regions(results({(EARLY, "V1"): 0.1, (LATE, "V1"): 0.2})).regions == {}
    assert closest_regions(results({(EARLY, "V1"): 0.1, (EARLY, "IT"): 0.2})).regions == {}
    assert closest_regions(results(dict.fromkeys(NOISY_V1, -0.1))).regions == {}
    assert closest_regions(results(NOISY_V1, comparison="probe")).regions == {}


def test_cards_are_chosen_by_it(run_of: RunOf) -> None:
    made = run_of()
    found = closest_regions(made.results)
    cards = [FeatureOf(model="resnet20", site=site, depth=0.0, number=1) for site in (EARLY, LATE)]
    choices = {attribute: values for attribute, _, values in card_choices(cards, found)}
    assert choices["region"] == ["V1", "IT"], "as the synthetic run has it, in ventral order"
    assert "region" not in {attribute for attribute, _, _ in card_choices(cards, closest_regions([]))}


def test_a_region_that_the_network_is_not_surely_like_is_none_to_be_closest_to() -> None:
    sure = results({(EARLY, "V1"): 0.1, (LATE, "V1"): 0.02}, interval=(0.01, 0.2))
    unsure = results({(EARLY, "IT"): 0.001, (LATE, "IT"): 0.0005}, interval=(-0.05, 0.05))
    found = closest_regions([*sure, *unsure])
    assert {found.of("net", EARLY), found.of("net", LATE)} == {"V1"}
    assert closest_regions(unsure).regions == {}
