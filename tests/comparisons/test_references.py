"""RDMs that nothing was learnt for, beside the models'."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.errors import ConfigError
from bridge.filters import GaborBank, gabor_features
from bridge.stimuli.battery import Battery
from comparisons.baselines import BASELINES, baseline, small_greys
from comparisons.config import validated
from comparisons.rdms import UndefinedPatterns, correlation_rdm
from comparisons.references import Baselines, reference_rdms

STIMULI = Battery(name="few", families=["scenes"], limit={"scenes": 12}, size=48).load()


def test_a_gabor_bank_stands_beside_the_models() -> None:
    found = reference_rdms(Baselines(), STIMULI, [])
    assert [label for label, _, _ in found] == ["Gabor bank", "random convolutions"]
    features = gabor_features(small_greys(STIMULI), GaborBank(8, (1, 2, 4, 8, 12)), 4).reshape(12, -1)
    np.testing.assert_array_equal(found[0][1], correlation_rdm(features))


def test_random_features_are_drawn_by_seed() -> None:
    greys = small_greys(STIMULI)
    for name in BASELINES:
        one, again, other = (baseline(name, greys, seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one, again)
        assert np.array_equal(one, other) == (not name.startswith("random"))


def test_names_are_known_and_blanks_have_no_rdm() -> None:
    with pytest.raises(ConfigError, match="Gabor bank"):
        validated(Baselines, {"names": ["Gabors"]})
    blank = Battery(name="blanks", families=["blanks"], size=48).load()
    with pytest.raises(UndefinedPatterns):
        reference_rdms(Baselines(names=["Gabor bank"]), blank, [])
