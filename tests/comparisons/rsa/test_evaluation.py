"""The RSA engine against rsatoolbox on the same draws, and what it does at the edges."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.errors import InputError
from comparisons.rsa import MEASURES, RSA, evaluate
from comparisons.rsa.bootstrap import Draws

TOLERANCE = {"spearman": 1e-12, "rho-a": 1e-12, "tau-a": 1e-12}


def correlated(
    n: int, subjects: int, models: int = 5, ties: bool = False, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Model RDMs [models, pair] and subject RDMs [subjects, pair] with something in common."""
    rng = np.random.default_rng(seed)
    shared = rng.random(n * (n - 1) // 2)
    region = shared + rng.random((subjects, shared.size))
    model = 0.5 * shared + rng.random((models, shared.size))
    if ties:
        model[0] = rng.integers(0, 3, shared.size)
        model[1:3] = np.round(model[1:3], 1)
        region = np.round(region, 1)
    return model, region


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A call of an rsatoolbox evaluation that draws what it is told to."""
    import rsatoolbox.inference.evaluate as module
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    def run(name: str, models: np.ndarray, region: np.ndarray, measure: str, draws: Draws | None, **more: Any) -> Any:
        n_draws = 0 if draws is None else len(draws)
        at: Iterator[int] = iter(range(n_draws))

        def both(rdms: Any, rdm_descriptor: str = "index", pattern_descriptor: str = "index") -> Any:
            row = next(at)
            subjects, stimuli = draws.subjects[row], draws.stimuli[row]
            sample = rdms.subsample("index", subjects).subsample_pattern("index", stimuli)
            return sample, subjects, stimuli

        def stimuli(rdms: Any, pattern_descriptor: str = "index") -> Any:
            drawn = draws.stimuli[next(at)]
            return rdms.subsample_pattern("index", drawn), drawn

        def subjects(rdms: Any, rdm_descriptor: str = "index") -> Any:
            drawn = draws.subjects[next(at)]
            return rdms.subsample("index", drawn), drawn

        class Silent:
            trange = staticmethod(range)

        monkeypatch.setattr(module, "tqdm", Silent)
        monkeypatch.setattr(module, "bootstrap_sample", both)
        monkeypatch.setattr(module, "bootstrap_sample_pattern", stimuli)
        monkeypatch.setattr(module, "bootstrap_sample_rdm", subjects)
        fixed = [ModelFixed(str(index), rdm) for index, rdm in enumerate(models)]
        drawn = {} if draws is None else {"N": n_draws}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(module, name)(fixed, RDMs(region), method=measure, **drawn, **more)

    return run


def agrees_with_dual(ours: RSA, theirs: Any, tolerance: float) -> None:
    """Every draw's evaluations and (where resampled) ceilings, and all variances."""
    evaluations = theirs.evaluations[:, :, 0, 0, :].transpose(2, 0, 1)
    ceilings = theirs.noise_ceiling[:, :, 0, :].transpose(2, 1, 0)
    np.testing.assert_allclose(ours.resampled.evaluations, evaluations, rtol=0, atol=tolerance)
    if np.isfinite(ours.resampled.ceilings).any():
        np.testing.assert_allclose(ours.resampled.ceilings, ceilings, rtol=0, atol=tolerance)
        np.testing.assert_allclose(ours.resampled.ceiling_variance(), theirs.noise_ceil_var, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours.standard_error**2, np.maximum(theirs.model_var, 0), rtol=0, atol=tolerance)
    pairs = np.triu_indices(len(ours.estimate), 1)
    np.testing.assert_allclose(ours.resampled.difference_variance()[pairs], theirs.diff_var, rtol=0, atol=tolerance)
    assert ours.dof == theirs.dof


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("n", "subjects", "ties"),
    [(14, 5, False), (12, 4, True), (9, 2, True), (4, 3, True)],
    ids=["plain", "ties", "two subjects", "four stimuli"],
)
def test_dual_bootstrap_equals_rsatoolbox_on_the_same_draws(
    replayed: Any, measure: str, n: int, subjects: int, ties: bool
) -> None:
    models, region = correlated(n, subjects, ties=ties)
    draws = Draws.make("dual", 8 if measure.endswith("_cov") else 20, n, subjects, seed=3)
    ours = evaluate(models, region, measure=measure, replay=draws)
    theirs = replayed("eval_dual_bootstrap", models, region, measure, draws)
    agrees_with_dual(ours, theirs, TOLERANCE.get(measure, 1e-9))


@pytest.mark.parametrize("measure", MEASURES)
def test_estimates_and_ceilings_equal_the_fixed_evaluation(replayed: Any, measure: str) -> None:
    models, region = correlated(11, 4, ties=True)
    ours = evaluate(models, region, measure=measure, draws=0)
    theirs = replayed("eval_fixed", models, region, measure, None)
    tolerance = TOLERANCE.get(measure, 1e-9)
    np.testing.assert_allclose(ours.subjects, theirs.evaluations[0], rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours.estimate, theirs.get_means(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours.ceiling, [np.mean(side) for side in theirs.noise_ceiling], rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours.standard_error, theirs.get_sem(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours.p_differences(), theirs.test_pairwise(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.p_ceiling(), theirs.test_noise(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("measure", ["spearman", "corr", "cosine_cov"])
@pytest.mark.parametrize("kind", ["stimuli", "subjects"])
def test_bootstraps_of_one_factor_equal_rsatoolbox(replayed: Any, measure: str, kind: Any) -> None:
    models, region = correlated(10, 4, ties=True)
    draws = Draws.make(kind, 20, 10, 4, seed=1)
    ours = evaluate(models, region, measure=measure, replay=draws)
    name = {"stimuli": "eval_bootstrap_pattern", "subjects": "eval_bootstrap_rdm"}[kind]
    theirs = replayed(name, models, region, measure, draws)
    np.testing.assert_allclose(ours.resampled.evaluations[0], theirs.evaluations, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.resampled.ceilings[0].T, theirs.noise_ceiling, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.standard_error**2, theirs.model_var, rtol=0, atol=1e-9)
    assert ours.dof == theirs.dof


@pytest.mark.parametrize("measure", ["spearman", "rho-a", "corr", "cosine", "corr_cov"])
def test_a_single_rdm_is_resampled_over_stimuli_and_has_no_ceiling(replayed: Any, measure: str) -> None:
    models, region = correlated(10, 1)
    draws = Draws.make("stimuli", 20, 10, 1, seed=1)
    ours = evaluate(models, region, measure=measure, replay=draws)
    theirs = replayed("eval_bootstrap_pattern", models, region, measure, draws, boot_noise_ceil=False)
    np.testing.assert_allclose(ours.standard_error**2, theirs.model_var, rtol=0, atol=1e-9)
    assert ours.ceiling is None
    assert np.isnan(ours.p_ceiling()).all()
    assert "no noise ceiling" in ours.notes[0]
    with pytest.raises(InputError, match="needs several subjects"):
        evaluate(models, region, measure=measure, resampling="dual")


def test_three_stimuli_leave_few_usable_draws_and_say_so() -> None:
    models, region = correlated(3, 3)
    result = evaluate(models, region, draws=200, seed=0)
    usable = int(result.resampled.usable.sum())
    assert 0 < usable < 200
    assert f"{200 - usable} of 200 draws" in result.notes[-1]
    assert np.isfinite(result.standard_error).all()


def test_whitened_correlation_beyond_a_hundred_stimuli_equals_the_dense_solve() -> None:
    """rsatoolbox raises there once a draw holds a stimulus twice, so V is written out for one resample."""
    n = 30
    models, region = correlated(n, 3)
    draws = Draws.make("dual", 2, n, 3, seed=5)
    ours = evaluate(models, region, measure="corr_cov", replay=draws)
    drawn = np.sort(draws.stimuli[0])
    first, second = (side for side in np.triu_indices(n, 1))
    keep = drawn[first] != drawn[second]
    contrast = np.zeros((keep.sum(), n))
    rows = np.arange(keep.sum())
    contrast[rows, first[keep]], contrast[rows, second[keep]] = 1, -1
    v = (contrast @ contrast.T) ** 2

    def resampled(rdm: np.ndarray) -> np.ndarray:
        square = np.zeros((n, n))
        square[np.triu_indices(n, 1)] = rdm
        vector = (square + square.T)[drawn[first[keep]], drawn[second[keep]]]
        return vector - vector.mean()

    def product(x: np.ndarray, y: np.ndarray) -> float:
        return float(x @ np.linalg.solve(v, y))

    model = resampled(models[2])
    expected = np.mean(
        [
            product(model, resampled(rdm)) / np.sqrt(product(model, model) * product(resampled(rdm), resampled(rdm)))
            for rdm in region
        ]
    )
    assert ours.resampled.evaluations[2, 0, 2] == pytest.approx(expected, abs=1e-12)
    large = evaluate(*correlated(120, 2, models=1), measure="corr_cov", draws=4)
    assert np.isfinite(large.resampled.evaluations).all()


def test_tau_a_of_long_rdms_counts_draw_by_draw_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    import comparisons.rsa.tau_scores as tau

    models, region = correlated(9, 3, ties=True)
    together = evaluate(models, region, measure="tau-a", draws=12)
    monkeypatch.setattr(tau, "_LONGEST", 10)
    np.testing.assert_array_equal(
        evaluate(models, region, measure="tau-a", draws=12).resampled.evaluations, together.resampled.evaluations
    )
    assert np.isnan(together.resampled.ceilings).all()
    assert "was not resampled" in together.notes[-1]
    assert np.isfinite(together.p_ceiling()).all()


def test_draws_repeat_from_their_seed_and_from_a_file(tmp_path: Path) -> None:
    models, region = correlated(9, 3)
    first, again, other = (evaluate(models, region, draws=30, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.resampled.evaluations, again.resampled.evaluations)
    assert (first.standard_error != other.standard_error).any()
    draws = Draws.make("dual", 30, 9, 3, seed=4)
    draws.save(tmp_path / "draws.npz")
    read = Draws.load(tmp_path / "draws.npz")
    np.testing.assert_array_equal(
        evaluate(models, region, replay=read).resampled.evaluations, first.resampled.evaluations
    )
    with pytest.raises(InputError, match="make them for these data"):
        evaluate(*correlated(9, 4), replay=read)


def test_the_result_does_not_depend_on_the_chunks_of_draws_or_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    import comparisons.rsa.linear_scores as linear

    models, region = correlated(12, 3, models=7)
    whole = {measure: evaluate(models, region, measure=measure, draws=40) for measure in ("corr", "corr_cov")}
    monkeypatch.setattr(linear, "_BYTES", 2000)
    monkeypatch.setattr(linear, "_MODELS_AT_ONCE", 2)
    for measure, expected in whole.items():
        small = evaluate(models, region, measure=measure, draws=40)
        np.testing.assert_allclose(small.resampled.evaluations, expected.resampled.evaluations, rtol=0, atol=1e-13)


def test_long_rdms_take_another_route_to_the_same_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    import comparisons.rsa.linear_scores as linear

    models, region = correlated(21, 2, models=1)
    whole = evaluate(models, region, measure="corr", draws=20)
    monkeypatch.setattr(linear, "_MANY_STIMULI", 4)
    other = evaluate(models, region, measure="corr", draws=20)
    np.testing.assert_allclose(other.resampled.evaluations, whole.resampled.evaluations, rtol=0, atol=1e-13)


def test_p_values_are_two_sided_and_agree_with_the_interval() -> None:
    """Those of rsatoolbox against zero are one-sided: a strongly negative similarity has a p near 1 there."""
    models, region = correlated(20, 4)
    models[0] = -models[0]
    found = evaluate(models, region, draws=200)
    assert found.estimate[0] < 0
    assert found.p()[0] < 0.05
    covers_zero = (found.interval()[:, 0] < 0) & (found.interval()[:, 1] > 0)
    np.testing.assert_array_equal(covers_zero, found.p() > 0.05)
    assert (found.p_differences()[0, 1:] < 0.05).all()
    np.testing.assert_array_equal(np.diag(found.p_differences()), 1)


def test_on_draw_is_called_once_a_draw() -> None:
    calls: list[int] = []
    for measure in ("spearman", "corr"):
        evaluate(*correlated(8, 3), measure=measure, draws=37, on_draw=lambda: calls.append(1))
    assert len(calls) == 74


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda models, region: (models[:, :-1], region), "do not fit"),
        (lambda models, region: (models[:, :-1], region[:, :-1]), "belong to no number of stimuli"),
        (lambda models, region: (models * np.nan, region), "not finite"),
        (lambda models, region: (models * 0, region), "are constant"),
        (lambda models, region: (models[:0], region), "do not fit"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        evaluate(*change(*correlated(8, 3)))


def test_an_unknown_measure_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'spearman'"):
        evaluate(*correlated(8, 3), measure="spearmn")


def test_a_large_offset_costs_no_digits() -> None:
    models, region = correlated(10, 3)
    plain = evaluate(models, region, measure="corr", draws=30)
    shifted = evaluate(models * 1e-3 + 1e4, region + 1e6, measure="corr", draws=30)
    np.testing.assert_allclose(plain.standard_error, shifted.standard_error, rtol=1e-6)
    np.testing.assert_allclose(plain.estimate, shifted.estimate, rtol=0, atol=1e-7)


def regions_of_92(folder: Path) -> dict[str, np.ndarray]:
    """EVC and IT RDMs of 15 subjects, [15, 4186]."""
    import h5py

    upper = np.triu_indices(92, 1)
    with h5py.File(folder / "algonauts2019_92" / "target_fmri.mat") as file:
        return {name: np.asarray(file[f"{name}_RDMs"])[upper[0], upper[1]].T for name in ("EVC", "IT")}


@pytest.mark.data
def test_ninety_two_images_have_the_published_ceilings_and_rsatoolbox_numbers(data_folder: Path, replayed: Any) -> None:
    regions = regions_of_92(data_folder)
    models = np.stack([regions["EVC"].mean(axis=0), regions["IT"][0]])
    expected = {"EVC": (0.24, 0.39), "IT": (0.45, 0.54)}
    for name, bounds in expected.items():
        np.testing.assert_allclose(evaluate(models, regions[name], draws=0).ceiling, bounds, atol=0.005)
    for measure, n in (("spearman", 92), ("corr", 92), ("corr_cov", 40)):
        keep = (np.stack(np.triu_indices(92, 1)) < n).all(axis=0)
        draws = Draws.make("dual", 2, n, 15, seed=0)
        ours = evaluate(models[:, keep], regions["IT"][:, keep], measure=measure, replay=draws)
        theirs = replayed("eval_dual_bootstrap", models[:, keep], regions["IT"][:, keep], measure, draws)
        agrees_with_dual(ours, theirs, 1e-12)


@pytest.mark.parametrize(
    ("n", "subjects", "ties"), [(12, 4, True), (9, 2, True), (4, 3, True)], ids=["plain", "two subjects", "few stimuli"]
)
def test_resampled_ceilings_of_tau_a_equal_rsatoolbox(replayed: Any, n: int, subjects: int, ties: bool) -> None:
    models, region = correlated(n, subjects, ties=ties)
    draws = Draws.make("dual", 20, n, subjects, seed=3)
    ours = evaluate(models, region, measure="tau-a", replay=draws, tau_ceilings=True)
    known = np.isfinite(ours.resampled.evaluations).all(axis=2)
    assert known.sum() >= 30
    np.testing.assert_array_equal(np.isfinite(ours.resampled.ceilings).all(axis=2), known)
    theirs = replayed("eval_dual_bootstrap", models, region, "tau-a", draws)
    agrees_with_dual(ours, theirs, 1e-12)
    assert ours.notes == evaluate(models, region, measure="spearman", replay=draws).notes
