"""One dictionary in training: its step against plain torch, what is finished of it, and its dead latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from planted import Planted, planted

from saes.architectures.base import Batch, Outcome
from saes.checkpoints import read_folder, save
from saes.input_scaling import Scaling
from saes.reconstruction import ReconstructionError
from saes.sae import SparseAutoencoder
from saes.settings import Training
from saes.sources import ArrayTokens
from saes.sparse_ops import encode_top_k
from saes.trainee import Trainee
from saes.training import Job, calibrated_threshold

KINDS = ("topk", "batchtopk", "matryoshka", "relu", "jumprelu", "gated")
TRANSCODERS = ("batchtopk", "matryoshka", "relu", "jumprelu")


def training(kind: str = "topk", *, batch: int = 256, **more: Any) -> Training:
    of_kind = {name: more.pop(name) for name in ("k", "latents", "aux_coefficient", "l1") if name in more}
    settings: dict[str, Any] = {"lr": 0.01, "warm_up": 0, "decay": 0, **more}
    return Training(architecture={"kind": kind, "latents": 64, **of_kind}, batch=batch, **settings)


def trainee(
    settings: Training,
    x: torch.Tensor,
    y: torch.Tensor | None = None,
    *,
    steps: int = 100,
    dead_after: int = 10**9,
    **more: Any,
) -> Trainee:
    return Trainee("site", settings, x, y, steps=steps, dead_after=dead_after, **more)


def taught(trainee: Trainee, x: torch.Tensor, y: torch.Tensor | None = None, steps: int = 20) -> list[Outcome]:
    """Steps on the tokens' batches, over and over."""
    size = trainee.training.batch
    parts = list(zip(x.split(size), (x if y is None else y).split(size), strict=True))
    return [
        trainee.step(parts[number % len(parts)][0], None if y is None else parts[number % len(parts)][1])
        for number in range(steps)
    ]


def unexplained(reconstruct: Any, x: torch.Tensor, y: torch.Tensor | None = None) -> float:
    error = ReconstructionError()
    error.add(x if y is None else y, reconstruct(x))
    return error.fvu


@pytest.fixture(scope="module")
def data() -> Planted:
    return planted(n=2048, d=16, s=24, mean=3.0, scale=7.0)


# ---------------------------------------------------------------------------------------------------------- a step


def dense_steps(
    tensors: dict[str, torch.Tensor], batches: list[torch.Tensor], lr: float, k: int, *, projected: bool = True
) -> dict[str, torch.Tensor]:
    """Gao et al. 2024, A.3 in plain torch: Adam, decoder gradients orthogonal to their rows, rows of norm 1 after."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in tensors.items()}
    adam = torch.optim.Adam(leaves.values(), lr=lr, betas=(0.9, 0.999), eps=6.25e-10, foreach=False)
    for x in batches:
        adam.zero_grad()
        read = x - leaves["b_dec"]
        pre = read @ leaves["encoder"].T + leaves["b_enc"]
        kept = torch.zeros_like(pre).scatter(1, pre.topk(k, dim=1).indices, 1.0)
        ((read - (pre * kept).relu() @ leaves["decoder"]).square().sum() / len(x)).backward()
        decoder, gradient = leaves["decoder"].detach(), leaves["decoder"].grad
        assert gradient is not None
        if projected:
            gradient -= (gradient * decoder).sum(1, keepdim=True) * decoder
        adam.step()
        with torch.no_grad():
            leaves["decoder"] /= leaves["decoder"].norm(dim=1, keepdim=True)
    return {name: leaf.detach() for name, leaf in leaves.items()}


def test_steps_are_those_of_plain_adam(data: Planted) -> None:
    """Adam's first steps are the gradient's signs, so the few entries whose gradient is next to 0 may differ."""
    lr = 0.003
    mine = trainee(training(lr=lr, k=4), data.x)
    start = {name: value.detach().clone() for name, value in mine.tensors.items()}
    batches = list(data.x[:1024].split(256))
    scaled = [mine.reads.apply(batch) for batch in batches]
    for batch in batches:
        mine.step(batch)
    expected = dense_steps(start, scaled, lr, 4)
    otherwise = dense_steps(start, scaled, lr, 4, projected=False)
    for name, tensor in mine.tensors.items():
        assert (expected[name] - start[name]).abs().max() > lr, name
        away = (tensor.detach() - expected[name]).abs().flatten()
        assert away.quantile(0.99) < 1e-3 * lr, name
    away = (mine.tensors["decoder"].detach() - otherwise["decoder"]).abs().flatten()
    assert away.quantile(0.99) > 0.1 * lr


@pytest.mark.parametrize("kind", KINDS)
def test_decoder_rows_have_norm_one_after_every_step(kind: str, data: Planted) -> None:
    mine = trainee(training(kind, lr=0.05), data.x)
    for batch in data.x.split(256):
        before = mine.tensors["decoder"].detach().clone()
        mine.step(batch)
        assert not torch.equal(before, mine.tensors["decoder"])
        torch.testing.assert_close(mine.tensors["decoder"].norm(dim=1), torch.ones(64))
        assert all(tensor.grad is None for tensor in mine.tensors.values())


def test_a_loss_that_is_not_finite_changes_nothing(data: Planted) -> None:
    mine = trainee(training(), data.x)
    taught(mine, data.x, steps=2)
    before = {name: value.clone() for name, value in mine.state().items()}
    bad = data.x[:256].clone()
    bad[3, 2] = float("nan")
    assert not torch.isfinite(mine.step(bad).loss)
    after = mine.state()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_state_goes_on_bitwise(data: Planted) -> None:
    one, other = trainee(training("jumprelu"), data.x), trainee(training("jumprelu"), data.x)
    taught(one, data.x, steps=7)
    other.restore({name: value.clone() for name, value in one.state().items()})
    for mine in (one, other):
        taught(mine, data.x, steps=5)
    assert one.state().keys() == other.state().keys()
    for name, value in one.state().items():
        assert torch.equal(value, other.state()[name]), name


def test_scaling_in_place_gives_the_same_step(data: Planted) -> None:
    one, other = trainee(training(), data.x), trainee(training(), data.x)
    for batch in data.x.split(256):
        one.step(batch)
        other.step(batch.clone(), in_place=True)
    assert torch.equal(one.tensors["encoder"], other.tensors["encoder"])


# ------------------------------------------------------------------------------------------------- what is finished


def finished(mine: Trainee, x: torch.Tensor, y: torch.Tensor | None = None) -> SparseAutoencoder:
    """The dictionary, with batch top-k's threshold set by these tokens."""
    if mine.training.architecture.kind in ("batchtopk", "matryoshka"):  # type: ignore[attr-defined]
        job = Job("site", ("x",), mine.training.model_copy(update={"batch": len(x)}), None if y is None else "y")
        mine.threshold = calibrated_threshold(job, mine, ArrayTokens({"x": x, "y": x if y is None else y}))
    return mine.finished({})


def own_reconstruction(mine: Trainee, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
    """The trainee's forward pass on scaled activations, in the units of the stream."""
    batch = mine.batch(x, y)
    outcome = mine.training.architecture.forward(mine.tensors, batch)
    return ((batch.y - outcome.error) * mine.writes.scale + mine.writes.mean).detach()


def written(data: Planted, d_out: int = 9) -> torch.Tensor:
    """Another site's values: of another width and scale, partly predictable from x."""
    draw = torch.Generator().manual_seed(5)
    return 0.01 * (data.codes @ torch.randn(data.codes.shape[1], d_out, generator=draw)) - 2.0


CASES = [(kind, "autoencoder") for kind in KINDS]
CASES += [(kind, what) for kind in TRANSCODERS for what in ("transcoder", "skip transcoder")]
CASES += [(kind, "crosscoder") for kind in KINDS]


def case(kind: str, what: str, data: Planted) -> tuple[Trainee, torch.Tensor, torch.Tensor | None]:
    x, y, more = data.x, None, dict[str, Any]()
    if "transcoder" in what:
        y, more = written(data), {"skip": what.startswith("skip")}
    if what == "crosscoder":
        x = torch.cat([data.x, written(data)], 1)
        more = {"parts": [16, 9]}
    mine = trainee(training(kind), x, y, **more)
    taught(mine, x, y)
    return mine, x, y


@pytest.mark.parametrize(("kind", "what"), CASES)
def test_the_finished_dictionary_acts_on_the_stream_as_the_trained_one_does(
    kind: str, what: str, data: Planted, tmp_path: Path
) -> None:
    """Scaling is in the tensors, in memory and on disk; without it the same tensors explain nothing."""
    mine, x, y = case(kind, what, data)
    some, target = x[:512], None if y is None else y[:512]
    sae = finished(mine, some, target)
    expected = own_reconstruction(mine, some, target)
    if "skip" in what:
        assert mine.tensors["skip"].abs().max() > 0.01
    spread = expected.std(0)
    for found in (sae(some), read_folder(save(sae, tmp_path))(some), sae.decode_sparse(sae.encode_sparse(some), some)):
        assert ((found - expected) / spread).abs().max() < 1e-4
        assert ((found - expected) / spread).square().mean().sqrt() < 1e-5
    assert unexplained(sae, some, target) < 0.9

    unfolded = mine.training.architecture.inference_tensors(
        {name: value.detach() for name, value in mine.tensors.items()}, mine.threshold
    )
    assert unexplained(SparseAutoencoder(sae.config, unfolded), some, target) > 1


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("topk", "autoencoder"),
        ("gated", "autoencoder"),
        ("relu", "skip transcoder"),
        ("batchtopk", "transcoder"),
        ("jumprelu", "crosscoder"),
    ],
)
def test_a_mean_that_is_large_beside_the_deviations(kind: str, what: str) -> None:
    far = planted(n=2048, d=16, s=24, mean=0.0)
    far.x = far.x / far.x.std() + 1000.0
    mine, x, y = case(kind, what, far)
    own = unexplained(lambda some: own_reconstruction(mine, some, y), x, y)
    assert unexplained(finished(mine, x, y), x, y) == pytest.approx(own, rel=0.01)
    assert own < 0.9


def test_the_finished_dictionary_is_the_trained_one_whatever_mode_it_is_in(data: Planted) -> None:
    """Nothing is kept from before the last step, and nothing changes when training goes on."""
    mine = trainee(training(), data.x)
    taught(mine, data.x, steps=5)
    stale = mine.finished({})
    taught(mine, data.x, steps=1)
    sae = mine.finished({})
    expected = own_reconstruction(mine, data.x[:256])
    spread = expected.std()
    for found in (sae.train()(data.x[:256]), sae.eval()(data.x[:256]), sae.train().eval()(data.x[:256])):
        assert (found - expected).abs().max() < 1e-4 * spread
    assert (stale.eval()(data.x[:256]) - expected).abs().max() > 1e-2 * spread
    kept = {name: value.clone() for name, value in sae.tensors().items()}
    taught(mine, data.x, steps=3)
    assert all(torch.equal(value, kept[name]) for name, value in sae.tensors().items())


@pytest.mark.parametrize("kind", KINDS)
def test_activations_with_more_axes(kind: str, data: Planted) -> None:
    """[images, patches, d] gives what its tokens give; batch top-k over a leading axis gives something else."""
    mine = trainee(training(kind), data.x)
    taught(mine, data.x)
    sae = finished(mine, data.x)
    tokens = data.x[:240]
    images = tokens.view(12, 20, 16)
    torch.testing.assert_close(sae.encode(images), sae.encode(tokens).view(12, 20, 64))
    torch.testing.assert_close(sae(images), sae(tokens).view(12, 20, 16))
    if kind == "batchtopk":
        pre = sae.pre_activation(images)
        k = mine.training.architecture.k_for(16)  # type: ignore[attr-defined]
        kept = torch.zeros_like(pre).flatten().index_fill(0, pre.flatten().topk(k * len(images)).indices, 1.0)
        defective = pre.relu() * kept.view_as(pre)
        assert (defective != 0).sum() < 0.2 * (sae.encode(images) != 0).sum()


# ------------------------------------------------------------------------------------------- batch top-k's threshold


def test_calibrated_threshold_keeps_k_latents_a_token(tmp_path: Path) -> None:
    """A moving average of each batch's least activation (SAELens: .01 of it a step) lags behind: after 100 steps it
    lets more through. The calibrated threshold is kept on disk and holds on tokens that it has not seen."""
    k = 4
    more = planted(n=24_000, d=16, s=24, mean=3.0, scale=7.0)
    x, unseen = more.x[:20_000], more.x[20_000:]
    mine = trainee(training("batchtopk", k=k, lr=0.003), x, steps=100)
    average = 0.0
    for outcome in taught(mine, x, steps=100):
        assert outcome.threshold is not None
        average += 0.01 * (outcome.threshold - average)

    def l0(sae: SparseAutoencoder) -> float:
        return float((sae.encode(unseen) > 0).sum(1).float().mean())

    sae = read_folder(save(finished(mine, x), tmp_path))
    assert "threshold" in sae.state_dict()
    assert l0(sae) == pytest.approx(k, rel=0.03)
    mine.threshold = torch.tensor(average)
    assert l0(mine.finished({})) > 1.2 * k


def test_threshold_lies_between_the_last_that_is_kept_and_the_first_that_is_not(data: Planted) -> None:
    mine = trainee(training("batchtopk", k=4), data.x)
    taught(mine, data.x)
    sae = finished(mine, data.x)
    assert int((sae.encode(data.x) > 0).sum()) == 4 * len(data.x)


# ------------------------------------------------------------------------------------------------------ dead latents


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "matryoshka", "jumprelu"])
def test_auxk_revives_dead_latents(kind: str, data: Planted) -> None:
    dead = []
    for coefficient in (0.0, 1 / 32):
        mine = trainee(training(kind, aux_coefficient=coefficient), data.x, steps=250, dead_after=2048)
        with torch.no_grad():
            mine.tensors["encoder"][:32] *= 0.02  # above 0 at half of the tokens, and never among the k largest
        taught(mine, data.x, steps=9)
        assert set(range(32)) <= set(mine.dead.tolist())
        taught(mine, data.x, steps=240)
        dead.append(len(mine.dead))
    without, with_aux = dead
    assert without > 16
    assert with_aux <= without / 2


def test_a_latent_is_dead_after_so_many_silent_tokens(data: Planted) -> None:
    mine = trainee(training(lr=1e-9), data.x, dead_after=600)
    with torch.no_grad():
        mine.tensors["b_enc"][5] = -100.0
    counts = []
    for batch in data.x[:1024].split(256):
        counts.append(5 in mine.dead.tolist())
        mine.step(batch)
    assert counts == [False, False, False, True]
    assert mine.silent[5] == 1024
    with torch.no_grad():
        mine.tensors["b_enc"][5] = 100.0
    mine.step(data.x[:256])
    assert 5 not in mine.dead.tolist()


def test_an_activation_counts_from_a_thousandth_on() -> None:
    from saes.architectures.base import fired_at

    found = fired_at(torch.tensor([0, 1, 1, 3]), torch.tensor([9e-4, 0.0, 2e-3, 0.5]), 5)
    assert found.tolist() == [False, True, False, True, False]


def test_without_dead_latents_there_is_no_auxiliary_loss(data: Planted) -> None:
    spec = training().architecture
    mine = trainee(training(), data.x)
    batch = mine.batch(data.x[:64], None)
    plain = spec.forward(mine.tensors, batch)
    assert plain.parts == {}
    torch.testing.assert_close(plain.loss, plain.share)
    dead = spec.forward(mine.tensors, Batch(batch.x, batch.y, dead=torch.arange(8)))
    assert dead.loss > dead.share
    assert dead.parts["aux"] > 0


# --------------------------------------------------------------------------------------------------------- bfloat16


def test_bfloat16_chooses_the_latents_of_float32() -> None:
    data = planted(n=4096, d=32, s=48)
    found = {}
    for precision in ("fp32", "bf16"):
        mine = trainee(training(precision=precision, latents=256, k=8, lr=0.003), data.x)
        taught(mine, data.x, steps=100)
        found[precision] = unexplained(mine.finished({}), data.x)
        if precision == "fp32":
            x = mine.reads.apply(data.x) - mine.tensors["b_dec"].detach()
            weights = mine.tensors["encoder"].detach(), mine.tensors["b_enc"].detach()
            exact, _ = encode_top_k(x, *weights, 8)
            low, _ = encode_top_k(x, *weights, 8, precision="bf16")
            same = sum(len(set(a) & set(b)) for a, b in zip(exact.tolist(), low.tolist(), strict=True))
            assert same > 0.999 * exact.numel()
            unscored = (x.bfloat16() @ weights[0].bfloat16().T + weights[1].bfloat16()).topk(8).indices
            without = sum(len(set(a) & set(b)) for a, b in zip(exact.tolist(), unscored.tolist(), strict=True))
            assert without < same
    assert found["bf16"] == pytest.approx(found["fp32"], rel=0.01)


# ------------------------------------------------------------------------------------------------------------ scale


def test_activations_as_they_are(data: Planted) -> None:
    mine = trainee(training(scale="none"), data.x)
    assert torch.equal(mine.reads.apply(data.x), data.x)
    assert mine.variance == pytest.approx(float((data.x - data.x.mean(0)).square().sum() / len(data.x)), rel=1e-4)
    taught(mine, data.x)
    torch.testing.assert_close(mine.finished({}).W_enc.T, mine.tensors["encoder"].detach())
    assert isinstance(mine.reads, Scaling)
