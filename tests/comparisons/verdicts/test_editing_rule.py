"""The rule of P3: which latents count, and what their shares say."""

from __future__ import annotations

import numpy as np
import pytest

from comparisons.editing.gating import Gating
from comparisons.editing.slopes import Slopes
from comparisons.verdicts.editing import Counts, editing_verdict, sort_latents


def sorted_one(beta=-0.4, se=0.01, mod=0.2, mod_se=0.02, elsewhere=0.01, active=400, tokens=5000):
    """One latent among three others that are kept."""
    slopes = Slopes(
        np.array([beta, 0, 0, 0.0]), np.array([se, 0.01, 0.01, 0.01]), np.array([active, 400, 400, 400]), tokens
    )
    quiet = np.zeros(3)
    gating = Gating(np.append(mod, quiet), np.append(mod_se, quiet + 0.02), np.append(elsewhere, quiet + 0.01), 0.7, 1)
    return sort_latents(slopes, gating)


@pytest.mark.parametrize(
    ("changed", "edited"),
    [
        ({}, True),
        ({"mod_se": 0.1}, False),  # z below Bonferroni
        ({"mod": 0.05, "mod_se": 0.001, "beta": -0.1}, False),  # mod below .06
        ({"elsewhere": 0.07}, False),  # other latents' writes are gated as much
        ({"beta": -0.9}, False),  # static deletion through an imperfect dictionary
        ({"beta": -0.06}, False),  # the slope may be 0
        ({"active": 299}, False),
        ({"tokens": 199}, False),  # fewer than 50 tokens a latent
        ({"mod": -0.2}, False),
        ({"mod": np.nan}, False),
    ],
)
def test_an_edited_latent_passes_every_test(changed: dict[str, float], edited: bool) -> None:
    assert sorted_one(**changed).edited[0] == edited
    assert not sorted_one(**changed).edited[1:].any()


def test_kept_latents_have_slopes_near_zero() -> None:
    found = sorted_one()
    np.testing.assert_array_equal(found.kept, [False, True, True, True])
    assert found.counts == Counts(4, 1, 3)
    assert not sorted_one(beta=0.0, se=0.2, mod=0.0).kept[0], "an uncertain slope is not kept"
    constant = sort_latents(
        Slopes(np.array([np.nan]), np.array([np.nan]), np.array([500]), 5000),
        Gating(*(np.array([np.nan]),) * 3, predicted=np.nan, negative=0),
    )
    assert constant.counts == Counts(0, 0, 0)


@pytest.mark.parametrize(
    ("trained", "untrained", "answer", "why"),
    [
        (Counts(256, 30, 150), [Counts(256, 0, 200)], "SUPPORTED", "11.7%"),
        (Counts(256, 30, 150), [Counts(256, 28, 200)], "INCONCLUSIVE", "not larger than in the untrained"),
        (Counts(256, 30, 150), [Counts(256, 0, 200), Counts(40, 6, 9)], "INCONCLUSIVE", "not larger"),
        (Counts(256, 30, 20), [Counts(256, 0, 200)], "INCONCLUSIVE", "no editing of a part"),
        (Counts(256, 0, 200), [Counts(256, 0, 200)], "REFUTED", "a hidden gate would not be seen"),
        (Counts(256, 0, 0), [Counts(256, 0, 200)], "REFUTED", "hidden gate"),
        (Counts(100, 0, 90), [Counts(256, 0, 200)], "INCONCLUSIVE", "too few live"),
        (Counts(150, 0, 90), [Counts(256, 0, 200)], "INCONCLUSIVE", "too few live"),
        (Counts(256, 7, 200), [Counts(256, 6, 200)], "INCONCLUSIVE", "either side of 4%"),
        (Counts(1000, 12, 900), [Counts(1000, 0, 900)], "INCONCLUSIVE", "more than in the untrained copies, but few"),
        (Counts(256, 30, 150), [], "INCONCLUSIVE", "no untrained copy"),
        (Counts(0, 0, 0), [Counts(256, 0, 200)], "NOT TESTABLE", "no latent is active"),
    ],
)
def test_the_rule(trained: Counts, untrained: list[Counts], answer: str, why: str) -> None:
    verdict = editing_verdict("net", trained, untrained)
    assert verdict.answer == answer
    assert why in " ".join(verdict.reasons)
