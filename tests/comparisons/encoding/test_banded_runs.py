"""`kind: banded` in a config: what a run says against the pure functions, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.errors import ConfigError
from bridge.recordings.recordings import Recordings
from bridge.stimuli import load as load_stimuli
from bridge.store import Store
from bridge.streams import read
from comparisons.config import parse
from comparisons.encoding import LinearKernel
from comparisons.encoding.banded import banded_ridge, folds_of
from comparisons.plan import make_plan
from comparisons.report.methods import paragraphs
from comparisons.running import run

BANDS = {
    "early": {"sites": ["stem", "blocks.0.hook_resid_post"], "pool": "mean"},
    "late": {"sites": ["blocks.8.hook_resid_post"]},
}


@pytest.fixture
def banded(config: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def content(**changes: Any) -> dict[str, Any]:
        return {**config(), "comparisons": [{"kind": "banded", "bands": BANDS, "draws": 50, **changes}]}

    return content


def test_a_run_says_what_the_functions_say(
    banded: Callable[..., dict[str, Any]], recorded: Recordings, tmp_path: Path
) -> None:
    import torch

    parsed = parse(banded())
    found = run(parsed, tmp_path / "out")
    stimuli, backbone = load_stimuli(parsed.stimuli), parsed.models[0].load()
    inputs = backbone.prepare([stimuli.image(row) for row in stimuli.rows_of(recorded.stimulus_ids)])
    names = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.8.hook_resid_post"]
    with torch.inference_mode():
        site = {name: values.flatten(2).numpy() for name, values in read(backbone, inputs, names).items()}
    early = np.concatenate([site[name].reshape(59, -1, 16).mean(axis=1) for name in names[:2]], axis=1)
    late = site[names[2]].reshape(59, -1)
    responses = np.nanmean(recorded.data, axis=0)[:, :6]
    expected = banded_ridge(
        {"early": LinearKernel(early), "late": LinearKernel(late)}, responses, splits=folds_of(59), scale="bands"
    )
    of_v4 = {result.measure: result for result in found.results if result.region == "V4"}
    close = {"abs": 2e-3}  # float32 convolutions, another batch
    assert of_v4["R2 of all bands"].estimate == pytest.approx(expected.r2("early", "late").mean(), **close)
    assert of_v4["unique R2 of early"].estimate == pytest.approx(expected.unique("early").mean(), **close)
    assert of_v4["R2 of late alone"].estimate == pytest.approx(expected.r2("late").mean(), **close)
    parts = [of_v4[name].estimate for name in ("unique R2 of early", "unique R2 of late", "shared R2")]
    assert sum(parts) == pytest.approx(of_v4["R2 of all bands"].estimate)
    for measure in ("R2 of all bands", "unique R2 of early", "phi of early"):
        low, high = of_v4[measure].interval
        assert low < of_v4[measure].estimate < high
    assert of_v4["R2 of late alone"].interval is None
    assert any(text.title == "Banded encoding" for text in paragraphs(found))
    (picture,) = found.exhibits
    assert "only early" in picture.words
    assert (tmp_path / "out" / picture.drawing).exists()
    # IT is noise: nothing is explained, and no neuroid is reliable enough for phi, which is said.
    of_it = {result.measure: result for result in found.results if result.region == "IT"}
    assert of_it["R2 of all bands"].estimate < 0.05
    assert any("phi of early for recorded IT is undefined" in text for text in found.dropped) or "phi of early" in of_it


def test_region_choice_and_feature_scale_run(banded: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    bands = {name: {**band, "pool": "mean"} for name, band in BANDS.items()}
    found = run(parse(banded(choice="region", scale="features", bands=bands, draws=0)), tmp_path / "out")
    assert all(result.interval is None for result in found.results)
    assert {result.comparison for result in found.results} == {"banded encoding"}


def test_bad_configs_are_refused(banded: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bands"):
        parse(banded(bands={"early": BANDS["early"]}))
    with pytest.raises(ConfigError, match="No site matches"):
        make_plan(parse(banded(bands={**BANDS, "none": {"sites": ["blocks.77.*"]}})), Store(tmp_path))
    with pytest.raises(ConfigError, match="banded encoding needs recordings"):
        make_plan(parse({**banded(), "recordings": []}), Store(tmp_path))
