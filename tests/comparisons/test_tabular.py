"""Results as pandas, xarray and rsatoolbox objects, from a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bridge.errors import InputError
from bridge.store import Store
from comparisons.config import parse
from comparisons.results import RunResults
from comparisons.running import run

SITES = ["blocks.0.hook_resid_post", "blocks.11.hook_resid_post"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def found(store: Path) -> RunResults:
    config = parse(
        {
            "name": "small",
            "question": "What is <here>?",
            "stimuli": {"kind": "battery", "name": "few", "families": ["scenes"], "limit": {"scenes": 60}, "size": 32},
            "models": [
                {"kind": "demo", "name": "trained"},
                {"kind": "demo", "name": "untrained", "untrained": True},
            ],
            "recordings": [{"kind": "simulated", "name": "brain", "simple_dimensions": 8, "complex_dimensions": 8}],
            "capture": {"workers": 0},
            "comparisons": [
                {"kind": "rsa", "sites": SITES, "draws": 20, "permutations": 0, "measures": ["spearman", "corr"]},
                {"kind": "variability", "models": [], "draws": 100, "permutations": 100},
            ],
        }
    )
    return run(config, store / "out", store=Store(store))


def test_every_number_is_a_row(found: RunResults) -> None:
    table = found.table()
    assert len(table) == len(found.results)
    own = table[(table.measure == "spearman") & (table.site == SITES[0]) & (table.model == "trained")]
    assert (own.lower <= own.estimate).all()
    assert set(own.region) == {"V1", "V2", "V4", "IT"}
    verdicts = found.verdict_table()
    assert list(verdicts.prediction) == ["P2 variability"]
    assert verdicts.simulated.all()
    assert RunResults.model_validate({**found.model_dump(), "verdicts": ()}).verdict_table().empty


def test_one_measure_is_an_array_of_models_sites_and_regions(found: RunResults) -> None:
    grid = found.grid("spearman")
    assert grid.dims == ("model", "site", "region")
    assert list(grid.site.values) == SITES
    (one,) = [
        r for r in found.results
        if (r.measure, r.model, r.site, r.region) == ("spearman", "untrained", SITES[1], "V4")
    ]  # fmt: skip
    assert float(grid.sel(model="untrained", site=SITES[1], region="brain, V4")) == one.estimate
    with pytest.raises(InputError, match=r"has no measure 'pearson'; it has .*spearman"):
        found.grid("pearson")


def test_rdms_are_rsatoolboxs(found: RunResults, store: Path, tmp_path: Path) -> None:
    from rsatoolbox.rdm import compare

    rdms = found.rdms(store)
    assert (rdms.n_rdm, rdms.n_cond) == (4, 60)
    assert list(zip(rdms.rdm_descriptors["model"], rdms.rdm_descriptors["site"], strict=True)) == [
        (model, site) for model in ("trained", "untrained") for site in SITES
    ]
    assert compare(rdms[0], rdms[0], "spearman")[0, 0] == pytest.approx(1)
    assert np.isfinite(rdms.dissimilarities).all()
    with pytest.raises(InputError, match="run the config again"):
        found.rdms(tmp_path)
    with pytest.raises(InputError, match="compared no RDMs"):
        RunResults.model_validate({**found.model_dump(), "provenance": {"artefacts": {}}}).rdms(store)


def test_a_notebook_shows_the_question_and_the_verdicts(found: RunResults) -> None:
    shown = found._repr_html_()
    assert "What is &lt;here&gt;?" in shown
    assert "SIMULATED" in shown
    assert "P2 variability" in shown
