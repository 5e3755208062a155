"""The picture of feature survival: curves, ceilings and numbers at risk are those that were found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from comparisons.persistence.matched_latents import Matched
from comparisons.persistence.survival import GROUPS, Ceiling, Features
from comparisons.persistence.survival_results import expected_deaths, in_words, summarised
from comparisons.report.exhibits.survival import survival

SITES, LATENTS = 4, 80


def planted(keep: dict[str, float], *, rate: float = 0.8, simple: float = 0.5, seed: int = 0) -> dict[str, Any]:
    """Latents of which each stratum is found again at each later site with its own probability."""
    rng = np.random.default_rng(seed)
    features, partners = [], {}
    for _ in range(SITES):
        score = np.where(rng.random(LATENTS) < simple, 0.9, 0.0) + 0.05 * rng.random(LATENTS)
        features.append(Features(np.ones(LATENTS, bool), score, rng.uniform(0.01, 0.2, LATENTS), rng.random(LATENTS)))
    for k in range(SITES):
        for j in range(k):
            chance = np.where(features[j].simplicity > 0.5, keep["simple"], keep["complex"])
            partners[j, k] = np.where(rng.random(LATENTS) < chance, np.arange(LATENTS), -1)
    ceilings = {name: Ceiling(np.full((SITES, SITES), rate), np.full((SITES, SITES), 40.0)) for name in GROUPS}
    told = summarised(Matched(features, partners, ceilings, []))
    return {"dictionary": "topk", "seeds": 3, "sites": [f"blocks.{k}.hook_resid_post" for k in range(SITES)], **told}


def network(name: str, role: str, *found: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "role": role, "survival": list(found)}


def steps(axes: Any) -> list[list[float]]:
    return [np.round(line.get_ydata(), 6).tolist() for line in axes.lines]


def test_curves_ceilings_and_numbers_at_risk_are_those_that_were_found() -> None:
    found = planted({"simple": 0.9, "complex": 0.3})
    (picture,) = survival([network("net", "trained", found), network("untrained", "untrained", found)])
    above, other, below, _ = picture.figure.axes
    for stratum in ("simple", "not simple"):
        curve = found["curves"][stratum]
        assert np.round([1, *curve["survival"]], 6).tolist() in steps(above)
        assert np.round([1, *np.cumprod(curve["ceiling"])], 6).tolist() in steps(above)
        assert np.round([1, *curve["corrected"]], 6).tolist() in steps(below)
        written = [text.get_text() for text in below.texts]
        place = written.index(stratum)
        counts = [str(count) for count in curve["at_risk"]]
        assert written[place + 1 : place + 1 + len(counts)] == counts
    ratio = found["hazard"]["ratio"]
    assert ratio < 1
    assert f"hazard ratio of simplicity {ratio:.2f}" in above.texts[0].get_text()
    assert above.get_title(loc="left") == "net (trained)"
    assert other.get_title(loc="left") == "untrained"
    assert "over the seed ceiling" in picture.words
    assert "No hazard ratio" not in picture.caption
    assert "is open" not in picture.caption
    every = found["curves"]["all"]
    expected = sum(0.2 * count for count in every["at_risk"])
    assert expected_deaths(every) == pytest.approx(expected)
    assert f"{expected:.0f} of {sum(every['deaths'])} in net and" in picture.caption
    rare = any(count < 10 for group in ("simple", "not simple") for count in found["curves"][group]["at_risk"])
    assert ("Thin lines" in picture.caption) == rare


def test_what_cannot_be_said_is_said_in_words() -> None:
    few = planted({"simple": 1.0, "complex": 1.0})
    (picture,) = survival([network("net", "trained", few)])
    above, _ = picture.figure.axes
    assert above.texts[0].get_text() == "no hazard ratio (see caption)"
    assert "No hazard ratio, net: 0 deaths of" in picture.caption
    alone = planted({"simple": 0.9, "complex": 0.3}, simple=0.0)
    (picture,) = survival([network("net", "trained", alone)])
    assert "no simple features to follow" in picture.words

    unknown = planted({"simple": 0.9, "complex": 0.3}, rate=0.0)
    (picture,) = survival([network("net", "trained", unknown)])
    _, below = picture.figure.axes
    assert "no survival over the ceiling" in below.texts[0].get_text()
    assert "over the seed ceiling" not in picture.words


def test_words_say_how_much_of_it_is_the_seeds_and_what_stays_open() -> None:
    said = in_words(planted({"simple": 0.5, "complex": 0.5}, rate=0.5))
    assert "would not be if seeds alone disagreed" in said
    assert "which cannot tell whether simple ones last longer" in said
    assert "of the simple ones are left over the seed ceiling" in said
    told = in_words(planted({"simple": 0.9, "complex": 0.2}))
    assert "cannot tell" not in told
    unknown = in_words(planted({"simple": 1.0, "complex": 1.0}, rate=float("nan")))
    assert "no hazard ratio (0 deaths of" in unknown
    assert "seeds alone" not in unknown
    assert "ceiling" not in unknown


def test_a_network_without_dictionaries_is_left_out_and_each_dictionary_has_its_picture() -> None:
    one = planted({"simple": 0.9, "complex": 0.3})
    other = {**one, "dictionary": "jump relu"}
    assert list(survival([network("net", "trained")])) == []
    pictures = list(survival([network("net", "trained", one, other), network("bare", "control")]))
    assert [picture.name for picture in pictures] == ["survival-topk", "survival-jump-relu"]
    assert all(len(picture.figure.axes) == 2 for picture in pictures)


@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_networks_fits(count: int) -> None:
    found = planted({"simple": 0.9, "complex": 0.3})
    (picture,) = survival([network(f"net {number}", "trained", found) for number in range(count)])
    shown = [axes for axes in picture.figure.axes if axes.get_visible()]
    assert len(shown) == 2 * count
