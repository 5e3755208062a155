"""RSA with recordings that saw only some of a run's stimuli: each region against its own images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from bridge.errors import InputError
from bridge.recordings.recordings import RegionRDMs
from comparisons.kinds.rsa import shown
from comparisons.rdms import pairs_of


def test_pairs_of_some_stimuli_are_found_among_those_of_all() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((9, 4))
    ids = tuple("abcdefghi")
    rows = np.array([1, 2, 5, 8])
    np.testing.assert_array_equal(pdist(values)[pairs_of(ids, tuple(ids[row] for row in rows))], pdist(values[rows]))
    assert pairs_of(ids, ids) == slice(None)


def test_a_region_keeps_the_stimuli_that_it_was_shown() -> None:
    values = np.random.default_rng(1).standard_normal((5, 3))
    rdms = RegionRDMs("r", "V1", pdist(values)[None], ("c", "a", "x", "d", "b"), ("m",))
    found = shown(rdms, ("a", "b", "q", "c", "d"))
    assert found.stimulus_ids == ("a", "b", "c", "d")
    np.testing.assert_allclose(found.rdms[0], pdist(values[[1, 4, 0, 3]]))
    assert found.dropped == ("1 of 5 stimuli, which were not shown to r V1",)
    with pytest.raises(InputError, match="3 were shown to r V1; comparing RDMs needs 4"):
        shown(rdms, ("a", "b", "c"))
