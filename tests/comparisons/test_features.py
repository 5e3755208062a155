"""Features of a model as comparisons read them: rows by id, tokens as columns or pooled."""

from pathlib import Path

import numpy as np
import pytest

from bridge.errors import ConfigError, InputError
from bridge.readers import Activations
from bridge.store import Store
from comparisons.config import Config, parse
from comparisons.encoding.recordings_encoded import constant
from comparisons.features import site_features
from comparisons.plan import Planner
from comparisons.running import Silent, execute


@pytest.fixture
def planned(tiny: dict, tmp_path: Path) -> tuple[Planner, Config]:
    config = parse(tiny)
    return Planner(config, Store(tmp_path / "store")), config


def test_reads_rows_by_id_and_pools_tokens(planned: tuple[Planner, Config], tmp_path: Path) -> None:
    planner, config = planned
    features = site_features(planner, config.models[0], ["stem", "blocks.*.hook_resid_post"])
    assert len(features.needs) == 1
    assert list(features.sites) == list(features.stages)
    plan = planner.finish(list(features.needs))
    needed, _ = execute(plan, planner.store, Silent())
    folder = needed[features.needs[0]]
    name, ids = next(iter(features.sites)), planner.stimuli.ids[::-1][:5]
    whole = Activations(folder).read(name, ids)
    np.testing.assert_array_equal(features.read(needed, name, ids), whole.reshape(5, -1))
    np.testing.assert_array_equal(features.read(needed, name, ids, "mean"), whole.mean(axis=1))
    np.testing.assert_array_equal(features.read(needed, name, ids, "max"), whole.max(axis=1))
    with pytest.raises(InputError, match="not among the activations"):
        features.read(needed, name, ["nowhere"])


def test_a_glob_that_matches_nothing_is_refused(planned: tuple[Planner, Config]) -> None:
    planner, config = planned
    with pytest.raises(ConfigError, match="No site matches"):
        site_features(planner, config.models[0], ["blocks.99.*"])


def test_constant_features_are_seen_dense_and_sparse() -> None:
    from scipy.sparse import csr_array

    same = np.tile([0.0, 2.0, 1.0], (4, 1))
    other = same.copy()
    other[2, 0] = 1e-3
    assert constant(same)
    assert constant(csr_array(same))
    assert not constant(other)
    assert not constant(csr_array(other))
