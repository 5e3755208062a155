"""Flexible models against rsatoolbox's cross-validated dual bootstrap, with the same draws and folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import comparisons.rsa.flexible as flexible
from bridge.errors import InputError
from comparisons.rsa.bootstrap import Draws
from comparisons.rsa.flexible import FlexibleModel, evaluate_flexible


def data(n: int, subjects: int, seed: int = 0) -> tuple[list[FlexibleModel], np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = rng.random((3, n * (n - 1) // 2))
    region = 0.7 * parts[0] + 0.3 * parts[1] + 0.3 * rng.random((subjects, parts.shape[1]))
    kinds = (("fixed", parts[:1]), ("weighted", parts), ("interpolated", parts[:2]), ("selected", parts))
    return [FlexibleModel(kind, rdms) for kind, rdms in kinds], region  # type: ignore[arg-type]


@pytest.mark.parametrize("measure", ["corr", "cosine", "corr_cov"])
def test_cross_validated_dual_bootstrap_equals_rsatoolbox(monkeypatch: pytest.MonkeyPatch, measure: str) -> None:
    import rsatoolbox.inference.evaluate as module
    from rsatoolbox.model import ModelFixed, ModelInterpolate, ModelSelect, ModelWeighted
    from rsatoolbox.model.fitter import fit_interpolate, fit_mock, fit_regress_nn, fit_select
    from rsatoolbox.rdm import RDMs

    n, subjects, n_draws = 24, 8, 4
    models, region = data(n, subjects)
    draws = Draws.make("dual", n_draws, n, subjects, seed=0)
    made: list[flexible.Folds] = []
    make = flexible.Folds.make

    def recorded(*args: Any) -> flexible.Folds:
        made.append(make(*args))
        return made[-1]

    monkeypatch.setattr(flexible.Folds, "make", recorded)
    ours = evaluate_flexible(models, region, measure=measure, folds=(2, 2), replay=draws)
    assert ours.resampled.usable.all()
    made = made[20:]
    order = iter(
        made[kind * 2 * n_draws + 2 * draw + r] for draw in range(n_draws) for r in (0, 1) for kind in (0, 1, 2)
    )
    at = iter(range(n_draws))

    def sample(rdms: Any, **_: Any) -> Any:
        row = next(at)
        drawn = rdms.subsample("index", draws.subjects[row]).subsample_pattern("index", draws.stimuli[row])
        return drawn, draws.subjects[row], draws.stimuli[row]

    def sets(rdms: Any, **_: Any) -> Any:
        one = next(order)
        train_set, test_set, ceil_set = [], [], []
        for tested in one.subjects:
            train = rdms.subsample("index", np.flatnonzero(~tested & one.subjects.any(axis=0)))
            test = rdms.subsample("index", np.flatnonzero(tested))
            for stimuli in one.stimuli:
                rest = np.flatnonzero(~stimuli & one.stimuli.any(axis=0))
                chosen = np.flatnonzero(stimuli)
                train_set.append([train.subset_pattern("index", rest), rest])
                test_set.append([test.subset_pattern("index", chosen), chosen])
                ceil_set.append([train.subset_pattern("index", chosen), chosen])
        return train_set, test_set, ceil_set

    class Silent:
        trange = staticmethod(range)

    monkeypatch.setattr(module, "tqdm", Silent)
    monkeypatch.setattr(module, "bootstrap_sample", sample)
    monkeypatch.setattr(module, "sets_k_fold", sets)
    classes = (ModelFixed, ModelWeighted, ModelInterpolate, ModelSelect)
    theirs = module.eval_dual_bootstrap(
        [
            make_model(m.kind, m.rdms[0] if m.kind == "fixed" else m.rdms)
            for make_model, m in zip(classes, models, strict=True)
        ],
        RDMs(region),
        method=measure,
        fitter=[fit_mock, fit_regress_nn, fit_interpolate, fit_select],
        k_pattern=2,
        k_rdm=2,
        N=n_draws,
        n_cv=2,
    )
    evaluations = theirs.evaluations.mean(axis=(2, 3)).transpose(2, 0, 1)
    # rsatoolbox finds the interpolation by a bounded search that stops early; all else is exact.
    exact = [0, 1, 3]
    close = 1e-6 if measure.endswith("_cov") else 1e-9  # its whitening is a conjugate-gradient solution
    np.testing.assert_allclose(ours.resampled.evaluations[..., exact], evaluations[..., exact], rtol=0, atol=close)
    np.testing.assert_allclose(ours.resampled.evaluations[..., 2], evaluations[..., 2], rtol=0, atol=1e-4)
    ceilings = theirs.noise_ceiling.mean(axis=2).transpose(2, 1, 0)
    np.testing.assert_allclose(ours.resampled.ceilings, ceilings, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        ours.standard_error[exact] ** 2, np.maximum(theirs.model_var, 0)[exact], rtol=0, atol=close
    )


def test_a_weighted_model_finds_the_composition_and_noise_gains_nothing() -> None:
    models, region = data(30, 4)
    rng = np.random.default_rng(1)
    noise = FlexibleModel("weighted", rng.random((20, region.shape[1])))
    found = evaluate_flexible([*models, noise], region, draws=0)
    fixed, weighted, interpolated, selected, of_noise = found.estimate
    assert weighted > fixed + 0.02
    assert interpolated == pytest.approx(weighted, abs=0.01)
    assert selected == pytest.approx(fixed, abs=1e-9)
    assert of_noise < 0.1
    assert found.ceiling[0] < found.ceiling[1]


def test_a_single_rdm_is_cross_validated_over_stimuli() -> None:
    models, region = data(20, 1)
    found = evaluate_flexible(models, region, draws=20)
    assert found.ceiling is None
    assert np.isfinite(found.standard_error).all()
    assert found.dof == 19


def test_the_seed_decides_the_folds_too() -> None:
    models, region = data(20, 4)
    first, again, other = (evaluate_flexible(models, region, draws=10, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.resampled.evaluations, again.resampled.evaluations)
    assert (first.estimate != other.estimate).any()


def test_what_cannot_be_cross_validated_is_refused() -> None:
    models, region = data(8, 3)
    with pytest.raises(InputError, match="too few"):
        evaluate_flexible(models, region, folds=(3, 2))
    with pytest.raises(InputError, match="fitted by"):
        evaluate_flexible(models, region, measure="spearman")
    with pytest.raises(InputError, match="holds one RDM"):
        evaluate_flexible([FlexibleModel("fixed", models[1].rdms)], region)
    with pytest.raises(InputError, match="two or more"):
        evaluate_flexible(models, region, assignments=1)
