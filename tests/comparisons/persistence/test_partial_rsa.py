"""Partial RSA: what is the region's own comes back, what only the nuisances share does not."""

from __future__ import annotations

import numpy as np
import pytest
from planned import made

from bridge.errors import InputError
from comparisons.persistence.partial_rsa import partial_rsa, rdm_coupling

PAIRS = 40 * 39 // 2


def rdm(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(PAIRS)


def test_a_share_of_its_own_is_left_and_a_borrowed_one_is_not() -> None:
    simple, other, noise = rdm(1), rdm(2), rdm(3)
    both = np.stack([simple + other + 0.3 * rdm(10 + s) for s in range(4)])
    own = partial_rsa(simple, {"complex": other}, both, draws=100)
    assert own.rsa.estimate[0] > 0.8 > own.without.estimate[0]
    assert own.coupling < 0.02
    assert not own.coupled
    borrowed = simple + 2 * other  # like the region only through `other`
    alone = np.stack([other + 0.3 * rdm(20 + s) for s in range(4)])
    found = partial_rsa(borrowed, {"complex": other, "pixels": noise}, alone, measure="corr", draws=100)
    assert found.without.estimate[0] > 0.7
    assert abs(found.rsa.estimate[0]) < 0.15
    assert found.coupled
    assert found.nuisances == ("complex", "pixels")


def test_coupling_is_r2_of_least_squares() -> None:
    simple, other = rdm(1), rdm(2)
    x = np.column_stack([np.ones(PAIRS), simple, other])
    target = simple + other + rdm(4)
    fitted = x @ np.linalg.lstsq(x, target, rcond=None)[0]
    expected = 1 - ((target - fitted) ** 2).sum() / ((target - target.mean()) ** 2).sum()
    assert rdm_coupling(target, np.stack([simple, other]), ranks=False) == pytest.approx(expected)


def test_nuisances_that_say_nothing_are_left_out() -> None:
    region = np.stack([rdm(1), rdm(2)])
    found = partial_rsa(rdm(3), {"complex": rdm(4), "category": np.ones(PAIRS)}, region, draws=20)
    assert found.nuisances == ("complex",)
    with pytest.raises(InputError, match="None of the nuisance"):
        partial_rsa(rdm(3), {"category": np.ones(PAIRS)}, region)


def test_rdms_never_decide(made_dataset: object) -> None:
    """A data set of RDMs in V1 and IT: partial and plain numbers for both regions; the verdict decides nothing."""
    stimuli = {"kind": "battery", "name": "few", "families": ["gratings"], "limit": {"gratings": 12}, "size": 32}
    content = {
        "name": "rdms",
        "stimuli": stimuli,
        "models": [{"kind": "cifar-resnet", "name": "net", "untrained": True}],
        "recordings": [{"kind": "dataset", "name": "made"}],
        "capture": {"workers": 0},
        "comparisons": [
            {
                "kind": "persistence", "sites": ["blocks.0.hook_resid_post"], "scenes": 0, "gratings": 120,
                "draws": 100, "permutations": 0, "baselines": [], "simplicity_images": 50,
                "complex": {"model": "net", "sites": ["blocks.8.hook_resid_post"]},
            }
        ],
    }  # fmt: skip
    told = made(content)
    numbers = {(one.measure, one.region): one for one in told.results if one.recordings == "made"}
    assert set(numbers) == {
        (f"{kind}RSA of simple features", region) for kind in ("partial ", "") for region in ("V1", "IT")
    }
    assert numbers["RSA of simple features", "V1"].ceiling is not None
    (verdict,) = (one for one in told.verdicts if one.subject == "made")
    assert verdict.answer == "INCONCLUSIVE"
    assert "weak" in verdict.reasons[-1]
    del content["comparisons"][0]["complex"]  # type: ignore[attr-defined]
    (verdict,) = (one for one in made(content).verdicts if one.subject == "made")
    assert verdict.answer == "NOT TESTABLE"
