"""Agreement with the property functions of Brain-Score's Marques2020 benchmarks where both define the same measure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from probes.tuning import circular
from probes.tuning.analysis import analyse_tuning
from probes.tuning.grid import factorial, grating_grid
from probes.tuning.modulation import harmonics, preferred_condition
from probes.tuning.series import colour_index, frequency_peak, size_tuning, sparseness, texture_modulation

RADII = np.round(np.geomspace(0.25, 3.75, 8), 5)


def firing(gratings: Any, features: int = 60) -> np.ndarray:
    """Firing rates, [720, feature]: tuned, rectified, with a baseline and noise, as the benchmarks take them."""
    rng = np.random.default_rng(0)
    tuned = gratings.tuned(
        rng.uniform(0, 180, features),
        rng.uniform(0.1, 6, features),
        rng.choice(np.unique(gratings.frequency), features),
    )
    modulated = np.maximum(1 + 2 * rng.random(features) * gratings.drift(rng.uniform(0, 360, features)), 0)
    return np.maximum(40 * tuned * modulated + 3 + rng.standard_normal(tuned.shape), 0)


def assembly(gratings: Any, responses: np.ndarray) -> tuple[Any, Any]:
    """The benchmarks' arguments: responses [neuroid, presentation] in their order, and a blank's."""
    from brainscore_core.supported_data_standards.brainio.assemblies import DataAssembly

    order = np.lexsort((gratings.phase, gratings.orientation, gratings.frequency))
    names = {"orientation": gratings.orientation, "spatial_frequency": gratings.frequency, "phase": gratings.phase}
    coords: dict[str, Any] = {name: ("presentation", values[order]) for name, values in names.items()}
    coords |= {name: ("presentation", np.ones(720)) for name in ("position_x", "position_y", "contrast", "radius")}
    coords["neuroid_id"] = ("neuroid", np.arange(responses.shape[1]))
    found = DataAssembly(responses[order].T.copy(), coords=coords, dims=["neuroid", "presentation"])
    blank = DataAssembly(
        np.full((responses.shape[1], 1), 3.0),
        coords={"neuroid_id": ("neuroid", np.arange(responses.shape[1])), "shown": ("presentation", ["blank"])},
        dims=["neuroid", "presentation"],
    )
    return found, blank


def property_of(module: str, function: str, arguments: tuple[Any, Any]) -> Any:
    """A property function of a benchmark, without its cache on disk."""
    import importlib

    place = importlib.import_module(f"brainscore_vision.benchmarks.marques2020.benchmarks.{module}")
    return getattr(place, function).__wrapped__("test", *arguments)


def test_ringach2002(gratings: Any) -> None:
    responses = firing(gratings)
    theirs = property_of("ringach2002_benchmark", "ringach2002_properties", assembly(gratings, responses))
    assert len(theirs) == responses.shape[1], "every neuroid passes their threshold"
    ours = analyse_tuning(
        responses, gratings.orientation, gratings.frequency, gratings.phase, component="mean", permutations=20
    )
    grid = grating_grid(responses, gratings.orientation, gratings.frequency, gratings.phase)
    best = preferred_condition(harmonics(grid), component="mean")
    pairs = {
        "max_dc": ours.response,
        "circular_variance": ours.circular_variance,
        "bandwidth": ours.half_bandwidth,
        "orthogonal_preferred_ratio": circular.orthogonal_ratio(best.over_orientation),
        "modulation_ratio": ours.f1_f0,
        "min_dc": best.over_orientation.min(axis=1),
    }
    for name, values in pairs.items():
        np.testing.assert_allclose(values, theirs.sel(neuronal_property=name).values, rtol=1e-9, err_msg=name)
    assert np.isnan(ours.half_bandwidth).any(), "some curves are too broad for a bandwidth, on both sides"


def test_devalois1982(gratings: Any) -> None:
    responses = firing(gratings)
    arguments = assembly(gratings, responses)
    grid = grating_grid(responses, gratings.orientation, gratings.frequency, gratings.phase)
    best = preferred_condition(harmonics(grid), np.full(responses.shape[1], 3.0))
    peak, _ = frequency_peak(best.over_frequency, grid.frequencies)
    theirs = property_of("devalois1982b_benchmark", "devalois1982b_properties", arguments)
    np.testing.assert_allclose(peak, theirs.values[:, 0], rtol=1e-9)


def test_schiller1976(gratings: Any) -> None:
    responses = firing(gratings)
    theirs = property_of("schiller1976_benchmark", "schiller1976_properties", assembly(gratings, responses))
    grid = grating_grid(responses, gratings.orientation, gratings.frequency, gratings.phase)
    _, octaves = frequency_peak(preferred_condition(harmonics(grid), component="mean").over_frequency, grid.frequencies)
    expected = theirs.sel(neuronal_property="spatial_frequency_bandwidth").values
    assert np.isfinite(expected).sum() > 5
    np.testing.assert_allclose(100 / 2**octaves, expected, rtol=1e-9)


def test_cavanaugh2002_sizes() -> None:
    from brainscore_vision.benchmark_helpers.properties_common import calc_size_tuning

    rng = np.random.default_rng(1)
    centre, surround = rng.uniform(0.3, 1.5, (2, 80, 1))
    curves = 30 * (1 - np.exp(-((RADII / centre) ** 2))) - rng.uniform(0, 20, (80, 1)) * (
        1 - np.exp(-((RADII / (centre + surround)) ** 2))
    )
    ours = size_tuning(curves, RADII)
    theirs = np.array([calc_size_tuning(curve, RADII) for curve in curves])
    assert np.isfinite(theirs[:, 0]).sum() > 20
    np.testing.assert_allclose(ours.summation, theirs[:, 0])
    np.testing.assert_allclose(ours.surround, theirs[:, 1])
    np.testing.assert_allclose(ours.suppression, theirs[:, 3])


def test_freemanziemba2013() -> None:
    from brainscore_vision.benchmark_helpers.properties_common import calc_sparseness, calc_texture_modulation

    responses = np.random.default_rng(2).gamma(2, size=(30, 2, 15, 15))
    families = responses.mean(axis=3)
    theirs = [calc_texture_modulation(one)[0] for one in families]
    np.testing.assert_allclose(texture_modulation(families[:, 1], families[:, 0]), theirs, rtol=1e-12)
    flat = responses.reshape(30, -1)
    np.testing.assert_allclose(sparseness(flat), [calc_sparseness(one) for one in flat], rtol=1e-12)


@pytest.mark.parametrize("shape", [(4, 2), (5, 8)])
def test_a_factorial_is_rearranged_by_its_labels(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    a, b = (axis.ravel() for axis in np.meshgrid(*(rng.permutation(n) for n in shape), indexing="ij"))
    values = (10.0 * a + b)[:, None]
    found, levels = factorial(values, {"a": a, "b": b})
    np.testing.assert_array_equal(found[0], 10.0 * levels["a"][:, None] + levels["b"])


def test_colour_index() -> None:
    np.testing.assert_allclose(
        colour_index(np.array([2.0, 0.0, 1.0, -1.0, 0.0]), np.array([0.0, 3.0, 1.0, 1.0, -1.0])),
        [1, -1, 0, -1, np.nan],
    )
