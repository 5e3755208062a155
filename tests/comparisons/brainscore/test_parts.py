"""What is known before anything is scored: memory, features that cannot be, names of benchmarks, identifiers."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from bridge.brainscore import imported
from bridge.errors import InputError
from bridge.stimuli.stimulus_set import ArraySource, StimulusSet
from bridge.store import cache_folder
from comparisons.brainscore.checks import rank_at_most, wrong_with
from comparisons.brainscore.features import identified
from comparisons.brainscore.known import Known
from comparisons.brainscore.memory import GIB, demand, fitted
from comparisons.brainscore.registered import PUBLIC, checked_disjoint, compares_features, family, metric_of, names

KEYS = [f"set/i{k}" for k in range(40)]


def test_every_public_benchmark_is_registered_and_named_by_its_images() -> None:
    assert set(PUBLIC) <= set(names())
    assert all(compares_features(name) for name in PUBLIC)
    assert {family(name) for name in PUBLIC} == {"FreemanZiemba2013public", "MajajHong2015public"}
    assert family("Marques2020_Ringach2002-or_bandwidth") == "Marques2020_Ringach2002"
    assert compares_features("Marques2020_Ringach2002-or_bandwidth")
    assert metric_of("MajajHong2015public.V4-temporal-pls") == "temporal-pls"
    assert metric_of("Cadena2017-pls") == "pls"
    assert metric_of("Marques2020_Ringach2002-or_bandwidth") == "or_bandwidth"
    assert not compares_features("Geirhos2021colour-top1")
    assert "Bracci2019_RSA-V1" not in names()  # a comment in its source
    assert not [name for name in names() if "<" in name]


def test_identifiers_change_with_whatever_features_depend_on() -> None:
    one = identified("net / 1", ["activations/a", "codes/b", "none"])
    assert one == identified("net / 1", ["codes/b", "activations/a", "none"])
    assert "/" not in one
    assert one != identified("net / 1", ["activations/a", "codes/c", "none"])  # another dictionary or revision


def test_brainscore_is_set_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """It installs nothing, and keeps what it keeps in this project's cache, unless the user says where."""
    for name in ("BS_INSTALL_DEPENDENCIES", "RESULTCACHING_HOME", "BRAINSCORE_HOME"):
        monkeypatch.setenv(name, "yes")
        monkeypatch.delenv(name)
    imported()
    assert os.environ["BS_INSTALL_DEPENDENCIES"] == "no"
    for name in ("RESULTCACHING_HOME", "BRAINSCORE_HOME"):
        assert Path(os.environ[name]).is_relative_to(cache_folder())
        assert version("brainscore-vision") in os.environ[name]
    monkeypatch.setenv("RESULTCACHING_HOME", "/mine")
    monkeypatch.setenv("BS_INSTALL_DEPENDENCIES", "yes")
    imported()
    assert os.environ["RESULTCACHING_HOME"] == "/mine"
    assert os.environ["BS_INSTALL_DEPENDENCIES"] == "no"


def test_memory_is_kept_under_the_limit_alike_at_all_sites() -> None:
    need = demand(3200, ["pls"], theirs=True)
    sizes = {"early": (3136, 256), "late": (49, 2048)}
    assert need.bytes(8192) < 2 * GIB
    assert need.bytes(3136 * 256) > 60 * GIB  # that is what Brain-Score's own formula says of it
    assert fitted({"late": (1, 2048)}, 3200, need, 8 * GIB, "none", "stop").told == ""
    pooled = fitted(sizes, 3200, need, 8 * GIB, "none", "mean")
    assert (pooled.pool, pooled.keep) == ("mean", None)
    assert pooled.bytes <= 8 * GIB
    assert "tokens were pooled by their mean" in pooled.told
    chosen = fitted(sizes, 3200, need, 8 * GIB, "none", "select")
    assert chosen.pool == "none"
    assert chosen.keep is not None
    assert need.bytes(chosen.keep) <= 8 * GIB < need.bytes(chosen.keep + 1)
    with pytest.raises(InputError, match=r"3200 stimuli x 802816 features of early would take [\d.]+ GiB"):
        fitted(sizes, 3200, need, 8 * GIB, "none", "stop")
    with pytest.raises(InputError, match="more than the limit"):
        fitted({"wide": (1, 10**7)}, 3200, need, 8 * GIB, "none", "mean")
    assert demand(100, ["pls"], theirs=True, bins=10).each > 8 * demand(100, ["pls"], theirs=True).each
    assert demand(3200, ["pls"], theirs=False).bytes(8192) < need.bytes(8192)


@pytest.mark.parametrize("sparse", [False, True])
def test_features_that_cannot_be_scored(sparse: bool) -> None:
    rng = np.random.default_rng(0)
    good = np.maximum(rng.standard_normal((40, 300)), 0).astype(np.float32)
    responses = rng.standard_normal((40, 10))

    def said(values: np.ndarray, method: str, components: int = 25, fitted_on: int = 36) -> str:
        splits = ((np.arange(fitted_on), np.arange(fitted_on, 40)),)
        known = Known(method, tuple(KEYS), responses, splits, components, None)  # type: ignore[arg-type]
        return wrong_with(csr_array(values) if sparse else values, known)

    for method in ("pls", "rdm", "ridge", "neuron-to-neuron"):
        assert said(good, method) == ""
    zero = good.copy()
    zero[[3, 7]] = 0
    assert "2 of 40 stimuli have the same value in all features, all of them zero (the first: 'set/i3')" in said(
        zero, "rdm"
    )
    assert said(zero, "pls") == ""
    low = rng.standard_normal((40, 5)) @ rng.standard_normal((5, 300))
    assert "its 300 features have rank 5 over these stimuli, fewer than the 25 components" in said(low, "pls")
    assert said(low, "pls", components=5) == ""
    assert said(low, "ridge") == ""
    assert "20 stimuli are fitted on, too few" in said(good, "pls", fitted_on=20)
    assert "the 10 neuroids have rank 10" in said(good, "reverse pls")
    assert "the same for all stimuli" in said(np.ones((40, 300)) * good[0], "ridge")
    bad = good.copy()
    bad[1, 2] = np.nan
    assert "NaN or infinite" in said(bad, "pls")


def test_rank_is_counted_without_the_mean_and_in_blocks() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((30, 4)) @ rng.standard_normal((4, 5000)) + 100 * rng.standard_normal(5000)
    assert rank_at_most(features, 25) == 4
    assert rank_at_most(features[:, :3], 25) == 3
    assert rank_at_most(rng.standard_normal((30, 5000)), 25) == 25
    assert rank_at_most(np.ones((30, 5000)), 25) == 0


def test_images_that_features_are_chosen_on_are_none_of_the_benchmarks() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (6, 4, 4, 3), dtype=np.uint8)

    def made(rows: list[int], name: str) -> StimulusSet:
        table = pd.DataFrame(index=pd.Index([f"{name}{row}" for row in rows], name="stimulus_id"))
        return StimulusSet(name, table, ArraySource(pixels[rows]))

    checked_disjoint(made([0, 1, 2], "a"), made([3, 4, 5], "b"))
    with pytest.raises(InputError, match=r"1 of 3 images of 'b'.*\(the first: 'b2'\)"):
        checked_disjoint(made([0, 1, 2], "a"), made([2, 3, 4], "b"))
