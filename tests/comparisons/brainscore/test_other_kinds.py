"""Benchmarks of other classes: by subject, with a fixed division, several in one, and tuning properties."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scored_stand_in import made, reader

from bridge.stimuli.brainscore import to_brainscore
from bridge.stimuli.stimulus_set import ArraySource, StimulusSet
from bridge.streams import Site
from comparisons.brainscore import ours, theirs
from comparisons.brainscore.benchmarks import Ready, of_names
from comparisons.brainscore.features import SiteActivations
from comparisons.brainscore.known import Known, key_of, known
from comparisons.brainscore.own import benchmark_of
from comparisons.brainscore.registered import ShownStimuli
from comparisons.brainscore.scoring import SitesScored

SITE = Site("early", "resid_post", 0, 0, 0.5, 60, 1, None, 0, "")


def two_subjects() -> tuple[Any, Any, Any]:
    """As `made`, with neuroids of two animals."""
    recordings, stimuli, features = made()
    neuroids = recordings.neuroids.assign(subject=["a", "b"] * 3)
    return type(recordings)(recordings.name, recordings.data, recordings.stimulus_ids, neuroids), stimuli, features


def test_rdms_subject_by_subject() -> None:
    from brainscore_vision.benchmark_helpers.neural_common import RSABenchmark

    recordings, stimuli, features = two_subjects()
    assembly = benchmark_of(recordings, "V4", "rdm", stimuli=stimuli)._assembly
    benchmark = RSABenchmark("mine-rdm", 1, assembly, "V4", 8, 1, "")
    of = known(benchmark)
    assert isinstance(of, Known)
    assert of.form == "r/c"
    read = reader(recordings, features)
    slow = theirs.layer_score(benchmark, SiteActivations("net", read), "early")
    fast = ours.fast_score(of, read("early", of.keys), ours.fast_ceiling(of))
    assert fast.r == pytest.approx(slow.r, abs=1e-6)
    assert fast.ceiling == pytest.approx(slow.ceiling, abs=1e-12)
    assert slow.ceiled == pytest.approx(slow.r / slow.ceiling)
    assert slow.r > 0.3


@pytest.mark.parametrize("by", [None, "subject"])
@pytest.mark.parametrize("metric", ["ridgecv_split", "ridge_split"])
def test_a_fixed_division(metric: str, by: str | None) -> None:
    import brainscore_vision
    from brainscore_vision.benchmark_helpers.neural_common import TrainTestNeuralBenchmark

    recordings, stimuli, features = two_subjects()
    parts = [recordings.select(stimuli=np.arange(*rows)) for rows in ((0, 28), (28, 40))]
    first, second = (benchmark_of(part, "V4", "rdm", stimuli=stimuli) for part in parts)
    assert first._assembly.stimulus_set.identifier != second._assembly.stimulus_set.identifier
    whole = benchmark_of(parts[1].select(stimuli=np.arange(12)), "V4", "rdm", stimuli=stimuli)
    ceiling = brainscore_vision.load_ceiling("internal_consistency")
    repeated = next(
        cell.cell_contents for cell in whole._ceiling_func.__closure__ if hasattr(cell.cell_contents, "dims")
    )
    benchmark = TrainTestNeuralBenchmark(
        "mine-split", lambda: ceiling(repeated), 1, first._assembly, second._assembly,
        brainscore_vision.load_metric(metric), 8, 1, "V4", alpha_coord=by,
    )  # fmt: skip
    of = known(benchmark)
    assert isinstance(of, Known)
    read = reader(recordings, features)
    slow = theirs.layer_score(benchmark, SiteActivations("net", read), "early")
    fast = ours.fast_score(of, read("early", of.keys), slow.ceiling)
    assert fast.r == pytest.approx(slow.r, abs=1e-5)
    assert slow.r > 0.5
    if by is None:
        assert fast.r2_over_c == pytest.approx(slow.ceiled, abs=1e-5)
    else:
        assert of.form == "mean of subjects' r^2/c"


def test_several_in_one_are_scored_on_ready_features() -> None:
    """As `Cowley2026.V4-pls`: sessions with images of their own, averaged by a class without a region."""
    from brainscore_vision.benchmarks.cowley2026.benchmark import _CombinedNeuralBenchmark

    recordings, stimuli, features = made(n=80)
    sessions = [
        benchmark_of(recordings.select(stimuli=np.arange(*rows)), "V4", "ridge", stimuli=stimuli)
        for rows in ((0, 40), (40, 80))
    ]
    combined = _CombinedNeuralBenchmark.__new__(_CombinedNeuralBenchmark)
    combined._sessions = sessions
    combined._identifier, combined._ceiling_func = "mine", lambda: None
    means = [float(one.ceiling) for one in sessions]

    def mean_ceiling() -> Any:
        from brainscore_core.metrics import Score

        return Score(np.mean(means))

    combined._ceiling_func = mean_ceiling
    ready = Ready("mine", combined, "ridge", "mine")
    assert ready.known is None
    assert ready.shape == (80, 6)
    work = SitesScored(
        [ready],
        {"early": SITE},
        reader(recordings, features),
        "net",
        {"model": "n", "artefacts": [], "predicted_gib": 0.1},
    )
    work.run("all", "stop", lambda share, text="": None)
    (record,) = work.records
    read = SiteActivations("net", reader(recordings, features))
    each = [theirs.layer_score(one, read, "early") for one in sessions]
    assert record["r"] == pytest.approx(np.mean([one.r for one in each]))
    assert record["score"] == pytest.approx(np.mean([one.ceiled for one in each]))
    assert record["fast_r"] is None
    assert any("_CombinedNeuralBenchmark is not computed here" in note for note in record["notes"])


def gratings(name: str, positions: list[float], orientations: int, blank: bool = False) -> StimulusSet:
    """Grating patches in the order and with the columns of Brain-Score's, 8 degrees wide."""
    rows, images = [], []
    axis = np.linspace(-4, 4, 32)
    for y, x, angle, phase in itertools.product(
        positions, positions, np.arange(orientations) * 180 / orientations, [0.0, 90.0, 180.0, 270.0]
    ):
        turned = np.deg2rad(angle)
        wave = np.cos(
            2 * np.pi * 0.5 * (np.cos(turned) * axis[None] + np.sin(turned) * axis[:, None]) + np.deg2rad(phase)
        )
        window = np.exp(-((axis[None] - 10 * x) ** 2 + (axis[:, None] - 10 * y) ** 2) / 8)
        images.append(np.repeat((128 + 120 * wave * window).astype(np.uint8)[..., None], 3, axis=2))
        rows.append((y, x, 1.0, 2.0, 1.0, angle, phase))
        if blank:
            images[-1][:] = 128
            break
    columns = ["position_y", "position_x", "contrast", "radius", "spatial_frequency", "orientation", "phase"]
    index = pd.Index([f"{name}{k:04d}" for k in range(len(rows))], name="stimulus_id")
    table = pd.DataFrame(rows, columns=columns, index=index)
    return StimulusSet(name, table, ArraySource(np.stack(images)), degrees=8.0)


def test_tuning_properties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Marques2020`: four stimulus sets are shown, and all of it is computed by Brain-Score's classes."""
    import brainscore_vision
    from brainscore_core.plugin_management.import_plugin import import_plugin
    from brainscore_core.supported_data_standards.brainio.assemblies import PropertyAssembly

    monkeypatch.setenv("BS_INSTALL_DEPENDENCIES", "no")
    sets = {
        "Marques2020_blank": gratings("blank", [0.0], 1, blank=True),
        "Marques2020_receptive_field": gratings("rf", [-0.02, 0.0, 0.02], 4),
        "Marques2020_orientation": gratings("or", [0.0], 12),
    }
    import_plugin("brainscore_vision", "data", "DeValois1982a")
    for name, one in sets.items():
        converted = to_brainscore(one, tmp_path / name)
        converted.identifier = name
        monkeypatch.setitem(brainscore_vision.stimulus_set_registry, name, lambda converted=converted: converted)
    rng = np.random.default_rng(0)

    def recorded() -> Any:
        coords = {
            "neuroid_id": ("neuroid", np.arange(50)),
            "region": ("neuroid", ["V1"] * 50),
            "neuronal_property": ["preferred_orientation"],
        }
        found = PropertyAssembly(rng.uniform(-22, 157, (50, 1)), coords=coords, dims=["neuroid", "neuronal_property"])
        found.attrs |= {
            "number_of_trials": 20,
            "preferred_orientation_bins": np.linspace(-22.5, 157.5, 9),
            "stimulus_set": brainscore_vision.load_stimulus_set("Marques2020_orientation"),
        }
        return found

    monkeypatch.setitem(brainscore_vision.data_registry, "DeValois1982a", recorded)
    name = "Marques2020_DeValois1982-pref_or"
    shown = ShownStimuli(name="Marques", benchmarks=(name,)).load()
    assert len(shown) == 1 + 9 * 4 * 4 + 12 * 4
    (ready,) = of_names([name])
    assert ready.known is None
    assert ready.shape == (len(shown), 50)
    assert ready.region == "V1"
    images = (
        np.stack([shown.image(row) for row in range(len(shown))]).reshape(len(shown), -1)[:, ::3] / 255.0 - 128 / 255
    )
    features = np.maximum(images @ rng.standard_normal((images.shape[1], 40)), 0).astype(np.float32)
    row = {key: at for at, key in enumerate(shown.ids)}
    # Units differ in where their receptive field lies: only those in its middle take part, here all.
    work = SitesScored(
        [ready], {"early": SITE}, lambda site, keys: features[[row[key] for key in keys]], "net-1",
        {"model": "n", "artefacts": [], "predicted_gib": 0.1},
    )  # fmt: skip
    work.run("all", "stop", lambda share, text="": None)
    (record,) = work.records
    assert 0 < record["r"] <= 1
    assert record["score"] is not None
    assert record["form"] == "its own"
    assert record["r2_over_c"] is None
    again = SitesScored(work.ready, work.sites, work.read, "net-1", work.about)
    again.run("all", "stop", lambda share, text="": None)
    assert again.records[0]["score"] == record["score"]  # its draws are seeded


def test_a_key_is_that_of_the_images_before_they_were_placed() -> None:
    table = pd.DataFrame(index=pd.Index(["a"], name="stimulus_id"))
    one = StimulusSet("x", table, ArraySource(np.zeros((1, 8, 8, 3), np.uint8)))

    class Named:
        identifier = "x--target8.00--source4.00"

    assert key_of(Named, one.ids[0]) == "x/a"
