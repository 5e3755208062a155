"""Own recordings as benchmarks of Brain-Score's classes, scored by these and by the project's own encoding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scored_stand_in import made, reader

from bridge.errors import ConfigError, InputError
from bridge.recordings.assembly import to_assembly
from bridge.stimuli.stimulus_set import ArraySource, StimulusSet
from comparisons.brainscore import ours, theirs
from comparisons.brainscore.features import SiteActivations, feature_assembly
from comparisons.brainscore.known import Known, key_of
from comparisons.brainscore.known import known as known_of
from comparisons.brainscore.own import benchmark_of, ceiling_trials, complete, stimulus_set_of


@pytest.mark.parametrize(
    ("metric", "stratify"),
    [("pls", None), ("pls", "kind"), ("ridge", "kind"), ("neuron_to_neuron", None), ("rdm", None)],
)
def test_both_sides_give_the_same_numbers(metric: str, stratify: str | None) -> None:
    recordings, stimuli, features = made()
    benchmark = benchmark_of(recordings, "V4", metric, stimuli=stimuli, stratify=stratify)
    known = known_of(benchmark)
    assert isinstance(known, Known)
    ceiling = ours.fast_ceiling(known)
    read = reader(recordings, features)
    model = SiteActivations("net-0123", read)
    for site, strong in (("early", True), ("late", False)):
        layer = theirs.layer_score(benchmark, model, site)
        assembly = feature_assembly(read(site, known.keys), benchmark._assembly.stimulus_set, site, "net-0123")
        ready = theirs.precomputed_score(benchmark, assembly)
        fast = ours.fast_score(known, read(site, known.keys), ceiling)
        assert layer.r == ready.r
        assert (layer.r > 0.5) is strong
        # Features in float32, which scikit-learn predicts in.
        assert fast.r == pytest.approx(layer.r, abs=2e-6)
        assert fast.ceiling == pytest.approx(layer.ceiling, abs=1e-12)
        assert fast.r2_over_c == pytest.approx(layer.ceiled, abs=5e-6)
        assert fast.r_over_c_squared == pytest.approx((layer.r / layer.ceiling) ** 2, abs=2e-5)
        if metric != "rdm":
            assert fast.error == pytest.approx(layer.error, abs=1e-5)
            np.testing.assert_allclose(fast.per_neuroid, layer.per_neuroid, atol=3e-5)


def test_it_is_the_assembly_of_brainscores_own_recipe() -> None:
    from brainscore_vision.benchmark_helpers.neural_common import average_repetition

    recordings, stimuli, _ = made()
    benchmark = benchmark_of(recordings, "V4", stimuli=stimuli)
    images = stimulus_set_of(stimuli, None)
    averaged = average_repetition(to_assembly(recordings, images)).transpose("presentation", "neuroid")
    assert list(averaged["stimulus_id"].values) == list(benchmark._assembly["stimulus_id"].values)
    np.testing.assert_allclose(averaged.values, benchmark._assembly.values, rtol=0, atol=1e-14)
    assert benchmark._visual_degrees == 6.0
    assert benchmark.region == "V4"
    assert benchmark._number_of_trials == 4


def test_its_names_hold_the_responses_and_the_images() -> None:
    recordings, stimuli, _ = made()
    one = benchmark_of(recordings, "V4", stimuli=stimuli)
    again = benchmark_of(recordings, "V4", stimuli=stimuli)
    assert one.identifier == again.identifier
    assert "/" not in one.identifier
    changed = replace(recordings, data=recordings.data + 1e-9)
    assert benchmark_of(changed, "V4", stimuli=stimuli).identifier != one.identifier
    other = StimulusSet("my images", stimuli.table, ArraySource(stimuli.source.images + 1))  # type: ignore[union-attr]
    images = one._assembly.stimulus_set.identifier
    assert benchmark_of(recordings, "V4", stimuli=other)._assembly.stimulus_set.identifier != images


def test_a_model_that_looks_is_shown_the_images(tmp_path: Path) -> None:
    from brainscore_vision.benchmark_helpers import PrecomputedFeatures
    from PIL import Image

    recordings, stimuli, features = made()
    benchmark = benchmark_of(recordings, "V4", "ridge", stimuli=stimuli, folder=tmp_path)
    shown: list[Any] = []

    class Looking(PrecomputedFeatures):
        def look_at(self, given: Any, number_of_trials: int = 1) -> Any:
            shown.append(given)
            keys = [key_of(given, name) for name in given["stimulus_id"]]
            return feature_assembly(reader(recordings, features)("early", keys), given, "early", "net")

    benchmark(Looking({}, visual_degrees=6.0))
    (images,) = shown
    name = recordings.stimulus_ids[3]
    np.testing.assert_array_equal(np.asarray(Image.open(images.get_stimulus(name))), stimuli.image(3))
    assert len(list(tmp_path.iterdir())) == 40


def test_unequal_repetitions_keep_a_ceiling() -> None:
    recordings, stimuli, features = made(reps=8)
    data = recordings.data.copy()
    data[6:, :5] = np.nan  # each half of the numbers still holds all stimuli
    some = replace(recordings, data=data)
    trials, told = ceiling_trials(some)
    assert trials.shape == (8, 40, 6)
    assert not told
    data[2:, :5] = np.nan  # here some halves hold none of the first
    few = replace(recordings, data=data)
    trials, told = ceiling_trials(few)
    assert trials.shape == (2, 40, 6)
    assert "even and odd" in told
    np.testing.assert_allclose(trials[0, 30], recordings.data[::2, 30].mean(axis=0))
    np.testing.assert_allclose(trials[1, 0], recordings.data[1, 0])
    for one in (some, few):
        benchmark = benchmark_of(one, "V4", stimuli=stimuli)
        known = known_of(benchmark)
        assert isinstance(known, Known)
        score = theirs.layer_score(benchmark, SiteActivations("net", reader(one, features)), "early")
        assert 0.3 < score.ceiling < 1
        assert ours.fast_ceiling(known) == pytest.approx(score.ceiling, abs=1e-12)


def test_without_repetitions_there_is_a_raw_score_and_no_ceiling() -> None:
    recordings, stimuli, features = made(reps=1)
    benchmark = benchmark_of(recordings, "V4", stimuli=stimuli)
    score = theirs.layer_score(benchmark, SiteActivations("net", reader(recordings, features)), "early")
    assert score.r > 0.3
    assert np.isnan(score.ceiling)
    assert np.isnan(score.r2_over_c)
    known = known_of(benchmark)
    assert isinstance(known, Known)
    assert np.isnan(ours.fast_ceiling(known))


def test_what_cannot_be_a_benchmark_is_one_sentence() -> None:
    recordings, stimuli, _ = made()
    with pytest.raises(ConfigError, match=r"no region 'V5'; did you mean 'V4'\?"):
        benchmark_of(recordings, "V5", stimuli=stimuli)
    with pytest.raises(ConfigError, match=r"no Brain-Score metric 'pcs'; did you mean 'pls'\?"):
        benchmark_of(recordings, "V4", "pcs", stimuli=stimuli)
    with pytest.raises(ConfigError, match=r"no column 'kinds'; did you mean 'kind'\?"):
        benchmark_of(recordings, "V4", stimuli=stimuli, stratify="kinds")
    with pytest.raises(InputError, match="1 of 40 ids are not in stimulus set"):
        benchmark_of(recordings, "V4", stimuli=stimuli.select([k for k in range(40) if k != 7]))
    with pytest.raises(InputError, match="4 stimuli cannot be split"):
        benchmark_of(recordings.select(stimuli=np.arange(4)), "V4", stimuli=stimuli)
    data = recordings.data.copy()
    data[:, 3, 2] = np.nan
    lacking = replace(recordings, data=data)
    with pytest.raises(InputError, match=r"1 of 6 neuroids .* \(the first: 'u02'\)"):
        benchmark_of(lacking, "V4", stimuli=stimuli)
    whole = complete(lacking)
    assert list(whole.neuroids["neuroid_id"]) == ["u00", "u01", "u03", "u04", "u05"]
    assert "1 of 6 neuroids" in whole.dropped[0]
    assert benchmark_of(whole, "V4", stimuli=stimuli)._assembly.sizes["neuroid"] == 5
