"""Metrics against their definitions, and against the defective formulas that are in use elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from bridge.errors import ConfigError, InputError
from saes.codes import SparseCodes
from saes.metrics import BINS, Evaluation, LatentUse, evaluate, evaluate_all
from saes.reconstruction import ReconstructionError
from saes.sae import SAEConfig, SparseAutoencoder


def dictionary(d: int = 6, s: int = 20, k: int = 3, seed: int = 0, **config: object) -> SparseAutoencoder:
    generator = torch.Generator().manual_seed(seed)
    w_dec = torch.nn.functional.normalize(torch.randn(s, d, generator=generator), dim=1)
    config = {"architecture": "topk", "k": k, **config}
    tensors = {"W_enc": w_dec.T.clone(), "W_dec": w_dec, "b_dec": torch.full((d,), 0.3), "b_enc": torch.zeros(s)}
    return SparseAutoencoder(SAEConfig(d_in=d, d_sae=s, **config), tensors)


def tokens(n: int = 500, d: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + torch.linspace(-3, 5, d)


def error_of(x: torch.Tensor, reconstruction: torch.Tensor, batch: int | None = None) -> ReconstructionError:
    error = ReconstructionError()
    for some, same in zip(x.split(batch or len(x)), reconstruction.split(batch or len(x)), strict=True):
        error.add(some, same)
    return error


# -------------------------------------------------------------------------------------------------------------- FVU


@pytest.mark.parametrize("batch", [1, 7, 64, 500])
def test_fvu_over_batches_is_that_of_all_tokens_at_once(batch):
    x = tokens()
    reconstruction = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    a, b = x.double().numpy(), reconstruction.double().numpy()
    error = error_of(x, reconstruction, batch)
    assert error.tokens == 500
    assert error.fvu == pytest.approx(((a - b) ** 2).sum() / ((a - a.mean(0)) ** 2).sum(), rel=1e-12)
    assert error.mse == pytest.approx(((a - b) ** 2).mean(), rel=1e-12)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert error.cosine == pytest.approx(cosines.mean(), rel=1e-12)
    per_dimension = 1 - ((a - b) ** 2).sum(0) / ((a - a.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(error.explained_variance, per_dimension, rtol=1e-10)


def test_predicting_the_mean_vector_explains_nothing():
    """Defect elsewhere: variance about one scalar mean, where dimensions with different means pass for variance."""
    x = tokens(4000) * torch.tensor([1, 1, 1, 1, 1, 0.5])
    mean = x.mean(0, keepdim=True).expand_as(x)
    defective = 1 - (x - mean).square().sum() / (x - x.mean()).square().sum()
    assert defective > 0.8
    assert error_of(x, mean, 256).fvu == pytest.approx(1, abs=1e-6)


def test_quiet_tokens_do_not_count_more_than_others():
    """Defect elsewhere: the mean of the tokens' own ratios, which have no bound near the mean."""
    x = tokens(1000)
    x[:5] = x.mean(0) + 1e-3
    reconstruction = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    ratios = (x - reconstruction).square().sum(1) / (x - x.mean(0)).square().sum(1)
    assert 1 - ratios.mean() < -10
    assert 1 - error_of(x, reconstruction).fvu > 0.85


def test_images_by_tokens_are_tokens():
    """Defect elsewhere: 3-d inputs centred on the mean over images, one for each place, as if places were features."""
    generator = torch.Generator().manual_seed(3)
    places = 4 * torch.randn(1, 16, 6, generator=generator)
    x = places + torch.randn(40, 16, 6, generator=generator)
    reconstruction = x + torch.randn(x.shape, generator=generator)
    right = error_of(x.reshape(-1, 6), reconstruction.reshape(-1, 6)).fvu
    defective = ((x - reconstruction).square().sum() / (x - x.mean(0)).square().sum()).item()
    assert defective > 5 * right
    assert error_of(x, reconstruction, 7).fvu == pytest.approx(right, rel=1e-12)
    sae = dictionary()
    flat, shaped = evaluate(sae, [x.reshape(-1, 6)]), evaluate(sae, [x])
    assert shaped.tokens == 640
    assert shaped.fvu == pytest.approx(flat.fvu, rel=1e-12)
    assert np.array_equal(shaped.density, flat.density)


def test_a_large_mean_does_not_cancel():
    """Defect elsewhere: SST = sum x^2 - n mean^2, of which nothing is left where the mean is large."""
    deviations = torch.randn(2000, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    x = 1e9 + deviations
    reconstruction = x + 0.1
    exact = 4 * 2000 * 0.01 / (deviations - deviations.mean(0)).square().sum().item()
    raw = (x.square().sum(0) - len(x) * x.mean(0).square()).sum().item()
    assert abs(8000 * 0.01 / raw / exact - 1) > 0.01
    assert error_of(x, reconstruction, 128).fvu == pytest.approx(exact, rel=1e-5)


def test_what_has_no_variance_has_no_fvu():
    constant = torch.full((50, 3), 0.1)
    assert np.isnan(error_of(constant, constant + 1, 8).fvu)
    assert np.isnan(error_of(tokens(1), tokens(1)).fvu)
    one_constant = tokens(50, 3)
    one_constant[:, 1] = 0.1
    explained = error_of(one_constant, one_constant, 8).explained_variance
    assert np.isnan(explained[1])
    assert explained[0] == explained[2] == 1
    nothing = error_of(torch.zeros(4, 3), torch.ones(4, 3))
    assert np.isnan(nothing.cosine)
    assert nothing.mse == 1
    assert np.isnan(ReconstructionError().fvu)
    assert np.isnan(ReconstructionError().mse)


def test_values_that_are_not_finite_are_refused_and_leave_no_trace():
    x = tokens()
    error = error_of(x, x + 1)
    before = error.fvu, error.tokens, error.mse, error.cosine
    for bad in (float("nan"), float("inf")):
        broken = tokens(9000)
        broken[8000, 2] = bad
        with pytest.raises(InputError, match="the activations of tokens 4596 to 8691"):
            error.add(broken, tokens(9000))
        with pytest.raises(InputError, match="the reconstructions of tokens"):
            error.add(tokens(9000), broken)
        assert (error.fvu, error.tokens, error.mse, error.cosine) == before
    with pytest.raises(InputError, match=r"shape \[5, 6\] have reconstructions of shape \[5, 7\]"):
        error.add(torch.zeros(5, 6), torch.zeros(5, 7))
    with pytest.raises(InputError, match="width 7 came after some of width 6"):
        error.add(torch.zeros(5, 7), torch.zeros(5, 7))


# ---------------------------------------------------------------------------------------------------------- latents


def test_metrics_are_those_of_the_dense_codes():
    sae, x = dictionary(), tokens(3000)
    metrics = evaluate(sae, x.split(700))
    latents = sae.encode(x).double().numpy()
    fires = (latents != 0).sum(0)
    assert metrics.tokens == 3000
    assert metrics.l0 == pytest.approx((latents != 0).sum(1).mean())
    assert metrics.l0_deviation == pytest.approx((latents != 0).sum(1).std())
    assert np.array_equal(metrics.density, fires / 3000)
    assert metrics.dead == (fires == 0).mean()
    assert metrics.dense == (fires > 300).mean()
    assert 0 < metrics.dead < 1
    assert 0 < metrics.dense < 1
    assert metrics.mean_activation == pytest.approx(latents[latents != 0].mean())
    alive = fires > 0
    assert np.isnan(metrics.activations[~alive]).all()
    np.testing.assert_allclose(metrics.activations[alive], latents.sum(0)[alive] / fires[alive])
    assert metrics.histogram.sum() == alive.sum()
    assert np.array_equal(metrics.histogram, np.histogram(np.log10(fires[alive] / 3000), BINS)[0])
    reconstruction = sae(x).double().numpy()
    a = x.double().numpy()
    expected = ((a - reconstruction) ** 2).sum() / ((a - a.mean(0)) ** 2).sum()
    assert metrics.fvu == pytest.approx(expected, rel=1e-5)


def test_stored_zeros_are_not_active():
    codes = SparseCodes(torch.tensor([0, 2, 4]), torch.tensor([0, 1, 1, 2]), torch.tensor([1.0, 0.0, 2.0, 4.0]), 5)
    use = LatentUse(5)
    use.add(codes)
    use.add(codes)
    assert use.fires.tolist() == [2, 2, 2, 0, 0]
    assert use.sums.tolist() == [2, 4, 8, 0, 0]
    assert use.l0 == (1.5, 0.5)
    assert use.histogram()[BINS.searchsorted(np.log10(0.5)) - 1] == use.histogram().sum() == 3
    with pytest.raises(InputError, match="Codes of 5 latents were given where 4"):
        LatentUse(4).add(codes)


def test_a_latent_that_is_always_active_is_in_the_last_bin():
    use = LatentUse(2)
    use.add(SparseCodes.of(torch.tensor([[1.0, 0.0], [2.0, 0.0]])))
    assert use.histogram()[-1] == 1
    assert use.histogram().sum() == 1


def test_an_all_dead_dictionary_has_stated_metrics():
    sae = dictionary(architecture="standard", k=None)
    sae.b_enc.data.fill_(-1e6)
    x = tokens()
    metrics = evaluate(sae, [x])
    assert (metrics.l0, metrics.dead, metrics.dense) == (0, 1, 0)
    assert np.isnan(metrics.mean_activation)
    assert np.isnan(metrics.activations).all()
    assert metrics.histogram.sum() == 0
    a = x.double()
    expected = (a - 0.3).square().sum() / (a - a.mean(0)).square().sum()
    assert metrics.fvu == pytest.approx(float(expected), rel=1e-6)
    written = json.loads(json.dumps(metrics.as_json(), allow_nan=False))
    assert written["mean_activation"] is None
    assert written["dead"] == 1


def test_json_states_bins_and_counts():
    values = json.loads(json.dumps(evaluate(dictionary(), [tokens()]).as_json(), allow_nan=False))
    assert values["tokens"] == 500
    assert len(values["log10_density"]["edges"]) == len(values["log10_density"]["latents"]) + 1
    assert values["log10_density"]["edges"][0] == -8
    assert values["log10_density"]["edges"][-1] == 0


# ---------------------------------------------------------------------------------------------------------- batches


def test_batches_by_site_and_several_dictionaries_in_one_pass():
    early = dictionary(metadata={"hook_name": "blocks.0.hook_resid_post"})
    late = dictionary(seed=5, k=4, metadata={"hook_name": "blocks.1.hook_resid_post"})
    one, two = tokens(), tokens(seed=8)
    passes = []

    def batches():
        passes.append(1)
        for a, b in zip(one.split(128), two.split(128), strict=True):
            yield {"blocks.0.hook_resid_post": a, "blocks.1.hook_resid_post": b.numpy()}

    seen: list[int] = []
    both = evaluate_all({"early": early, "late": late}, batches(), progress=seen.append)
    assert len(passes) == 1
    assert seen == [128, 256, 384, 500]
    assert both["early"].fvu == evaluate(early, one.split(128)).fvu
    assert both["late"].fvu == evaluate(late, two.split(128)).fvu
    with pytest.raises(ConfigError, match=r"is of blocks.0.hook_resid_post, which the batch lacks; did you mean"):
        evaluate(early, [{"blocks.0.hook_resid_pre": one, "blocks.1.hook_resid_post": one}])
    assert evaluate(dictionary(), [{"whatever": one}]).tokens == 500
    aliased = dictionary(metadata={"hook_name": "blocks.0.hook_out"})
    assert evaluate(aliased, batches()).fvu == both["early"].fvu
    with pytest.raises(ConfigError, match="do not name"):
        evaluate(dictionary(), [{"a": one, "b": one}])


def test_transcoders_are_measured_against_their_target():
    s, d = 20, 6
    base = dictionary()
    names = {"hook_name": "in", "hook_name_out": "out"}
    config = SAEConfig("transcoder", d, s, d_out=4, metadata=names)
    tensors = {**base.tensors(), "W_dec": torch.randn(s, 4, generator=torch.Generator().manual_seed(0)),
               "b_dec": torch.zeros(4)}  # fmt: skip
    sae = SparseAutoencoder(config, tensors)
    x, target = tokens(), tokens(d=4, seed=3)
    metrics = evaluate(sae, [(x, target)])
    a, b = target.double(), sae(x).double()
    expected = (a - b).square().sum() / (a - a.mean(0)).square().sum()
    assert metrics.fvu == pytest.approx(float(expected), rel=1e-5)
    assert evaluate(sae, [{"in": x, "out": target, "other": x}]).fvu == metrics.fvu
    with pytest.raises(InputError, match="give pairs"):
        evaluate(sae, [x])
    with pytest.raises(InputError, match=r"shape \[500, 6\] have reconstructions of shape \[500, 4\]"):
        evaluate(sae, [(x, x)])


def test_crosscoders_take_their_sites_together():
    sae = dictionary(metadata={"sites": ["a", "b"], "widths": [2, 4]})
    x = tokens()
    assert evaluate(sae, [{"b": x[:, 2:], "a": x[:, :2]}]).fvu == evaluate(sae, [x]).fvu


def test_bad_batches_get_one_sentence_and_lose_nothing():
    sae = dictionary()
    with pytest.raises(InputError, match="give at least one batch"):
        evaluate(sae, [])
    with pytest.raises(InputError, match="give at least one batch"):
        evaluate(sae, [torch.zeros(0, 6)])
    with pytest.raises(InputError, match="width 5"):
        evaluate(sae, [torch.zeros(3, 5)])
    running = Evaluation(sae)
    running.add(tokens())
    before = running.result()
    broken = tokens()
    broken[3, 3] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        running.add(broken)
    assert running.result().as_json() == before.as_json()


def test_one_token():
    metrics = evaluate(dictionary(), [tokens(1)])
    assert metrics.tokens == 1
    assert metrics.l0 <= 3
    assert np.isnan(metrics.fvu)
    assert np.isfinite(metrics.mse)
