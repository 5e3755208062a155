"""Losses and gradients of every architecture against dense float64 torch, written here from the papers' equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bridge.errors import ConfigError
from saes.architectures.base import Batch
from saes.auxk import aux_loss
from saes.settings import Training
from saes.sparse_ops import Pattern, batch_top_k, pre_activations

N, D, S, K = 90, 12, 40, 3
KINDS = ("topk", "batchtopk", "matryoshka", "relu", "jumprelu", "gated")
Tensors = dict[str, torch.Tensor]


def architecture(kind: str, **more: Any) -> Any:
    settings = {"kind": kind, "latents": S, **more}
    if kind not in ("relu", "gated"):
        settings.setdefault("k", K)
    return Training(architecture=settings).architecture


def drawn(
    kind: str, *, d_out: int = D, skip: bool = False, seed: int = 0
) -> tuple[Tensors, torch.Tensor, torch.Tensor]:
    """Tensors as they stand in the midst of a training, and tokens: x, and y, which is x unless d_out differs."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    decoder = normal(S, d_out)
    tensors = {
        "encoder": normal(S, D) / 2,
        "decoder": decoder / decoder.norm(dim=1, keepdim=True),
        "b_enc": 0.3 * normal(S) - 0.5,
        "b_dec": 0.2 * normal(d_out),
    }
    if skip:
        tensors["skip"] = normal(d_out, D) / 5
    if kind == "gated":
        tensors |= {"r_mag": 0.3 * normal(S), "b_mag": 0.3 * normal(S)}
    if kind == "jumprelu":
        # Some thresholds lie within half a bandwidth of 0, where silent latents must not count as near them.
        tensors["log_threshold"] = torch.linspace(0.005, 0.4, S, dtype=torch.float64).log()
    x = normal(N, D)
    return tensors, x, x if d_out == D and not skip else normal(N, d_out)


def differentiated(loss: Callable[[Tensors], torch.Tensor], tensors: Tensors) -> tuple[torch.Tensor, Tensors]:
    """(the loss, its gradients by name; zeros for what it does not depend on)."""
    leaves = {name: value.clone().requires_grad_() for name, value in tensors.items()}
    found = loss(leaves)
    if not found.requires_grad:
        return found, {name: torch.zeros_like(value) for name, value in tensors.items()}
    found.backward()
    return found.detach(), {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()
    }


def assert_same(mine: tuple[torch.Tensor, Tensors], theirs: tuple[torch.Tensor, Tensors]) -> None:
    torch.testing.assert_close(mine[0], theirs[0], rtol=1e-10, atol=0)
    assert mine[1].keys() == theirs[1].keys()
    for name, expected in theirs[1].items():
        assert (mine[1][name] - expected).abs().max() <= 1e-9 * expected.abs().max().clamp_min(1e-12), name


# ------------------------------------------------------------------------------------- the papers' equations, densely


def squares(error: torch.Tensor) -> torch.Tensor:
    return error.square().sum() / len(error)


def dense_loss(
    kind: str,
    t: Tensors,
    x: torch.Tensor,
    y: torch.Tensor,
    spec: Any,
    *,
    warm: float = 1.0,
    dead: torch.Tensor | None = None,
    transcodes: bool = False,
) -> torch.Tensor:
    inputs = x if transcodes else x - t["b_dec"]
    product = inputs @ t["encoder"].T
    pre = product + t["b_enc"]
    base = t["b_dec"] + (x @ t["skip"].T if "skip" in t else 0)
    more = torch.zeros((), dtype=x.dtype)
    if kind == "topk":  # Gao et al. 2024, eq. 1 and 2
        kept = torch.zeros_like(pre).scatter(1, pre.topk(K, dim=1).indices, 1.0)
        latents = (pre * kept).relu()
    elif kind in ("batchtopk", "matryoshka"):  # Bussmann et al. 2024, eq. 4
        kept = torch.zeros(pre.numel(), dtype=x.dtype)
        kept[pre.relu().flatten().topk(K * len(x)).indices] = 1.0
        latents = pre.relu() * kept.view_as(pre)
    elif kind == "relu":  # Bricken et al. 2023
        latents = pre.relu()
        more = spec.l1 * warm * latents.sum() / len(x)
    elif kind == "gated":  # Rajamanoharan et al. 2024a, eq. 6 to 8
        gates = pre.relu()
        latents = (pre > 0) * (product * t["r_mag"].exp() + t["b_mag"]).relu()
        frozen = gates @ t["decoder"].detach() + base.detach()
        more = spec.l1 * warm * gates.sum() / len(x) + squares(y - frozen)
    else:  # Rajamanoharan et al. 2024b, eq. 11 and 12 with the rectangle kernel; written as surrogates of value 0
        threshold = t["log_threshold"].exp()
        value, at = pre.detach(), threshold.detach()
        kernel = ((value - at).abs() < spec.bandwidth / 2) / spec.bandwidth
        moved = threshold - at
        open_ = (value > at).double()
        latents = pre * open_ - at * kernel * moved
        l0 = (open_ - kernel * moved).sum() / len(x)
        more = spec.sparsity * warm * (l0 / K - 1).square()
    x_hat = latents @ t["decoder"] + base
    if kind == "matryoshka":  # Bussmann et al. 2025, eq. 4
        sizes = [max(1, round(share * S)) for share in spec.levels]
        loss = torch.stack([squares(y - latents[:, :m] @ t["decoder"][:m] - base) for m in sizes]).mean()
    else:
        loss = squares(y - x_hat)
    loss = loss + more
    if dead is not None:  # Gao et al. 2024, A.2
        error = (y - x_hat).detach()
        k_aux = min(spec.k_aux_for(y.shape[1]), len(dead))
        silent = pre[:, dead]
        kept = torch.zeros_like(silent).scatter(1, silent.topk(k_aux, dim=1).indices, 1.0)
        e_hat = (silent * kept).relu() @ t["decoder"][dead]
        loss = loss + spec.aux_coefficient * (e_hat - error).square().sum() / (error - error.mean(0)).square().sum()
    return loss


CASES = [
    (kind, False, False, dead) for kind in KINDS for dead in (False, True) if not (dead and kind in ("relu", "gated"))
]
CASES += [
    (kind, True, skip, False) for kind in ("batchtopk", "matryoshka", "relu", "jumprelu") for skip in (False, True)
]


@pytest.mark.parametrize(("kind", "transcodes", "skip", "with_dead"), CASES)
def test_loss_and_gradients_are_the_papers(kind: str, transcodes: bool, skip: bool, with_dead: bool) -> None:
    spec = architecture(kind)
    tensors, x, y = drawn(kind, d_out=7 if transcodes else D, skip=skip)
    dead = torch.tensor([0, 3, 5, 6, 11, 20, 21, 22, 30, 31, 39]) if with_dead else None
    for progress, warm in ((0.01, 0.2), (0.5, 1.0)):

        def ours(t: Tensors, progress: float = progress) -> torch.Tensor:
            outcome = spec.forward(t, Batch(x, y, dead=dead, progress=progress, transcodes=transcodes))
            assert outcome.l0 > 0.5
            return outcome.loss

        def theirs(t: Tensors, warm: float = warm) -> torch.Tensor:
            return dense_loss(kind, t, x, y, spec, warm=warm, dead=dead, transcodes=transcodes)

        mine, expected = differentiated(ours, tensors), differentiated(theirs, tensors)
        assert_same(mine, expected)
        for name, gradient in mine[1].items():
            assert gradient.any(), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_watched_is_what_the_equations_give(kind: str) -> None:
    spec = architecture(kind)
    tensors, x, _ = drawn(kind)
    outcome = spec.forward(tensors, Batch(x, x))
    torch.testing.assert_close(outcome.share, squares(outcome.error))
    assert outcome.fired.shape == (S,)
    assert 0 < outcome.fired.sum() <= S
    assert not outcome.error.requires_grad
    if kind in ("topk", "batchtopk", "matryoshka"):
        assert outcome.l0 <= K
    if kind in ("batchtopk", "matryoshka"):
        assert outcome.l0 == K


# --------------------------------------------------------------------------------------- defects of existing tools


def test_auxk_moves_the_encoders_of_dead_latents() -> None:
    """A fused top-k hands on values without a gradient, and dead latents' encoders never move."""
    spec = architecture("topk")
    tensors, x, _ = drawn("topk")
    dead = torch.arange(0, S, 3)
    error = spec.forward(tensors, Batch(x, x)).error

    def ours(t: Tensors) -> torch.Tensor:
        return aux_loss(t, x - t["b_dec"].detach(), t["b_dec"], error, dead, 4)

    def fused(t: Tensors) -> torch.Tensor:
        with torch.no_grad():
            values, chosen = ((x - t["b_dec"]) @ t["encoder"][dead].T + t["b_enc"][dead]).topk(4, dim=1)
        e_hat = (values.relu()[:, :, None] * t["decoder"][dead[chosen]]).sum(1)
        return (e_hat - error).square().sum() / (error - error.mean(0)).square().sum()

    mine, defective = differentiated(ours, tensors), differentiated(fused, tensors)
    torch.testing.assert_close(mine[0], defective[0])
    assert not defective[1]["encoder"].any()
    assert mine[1]["encoder"][dead].abs().sum(1).gt(0).sum() > len(dead) / 2
    living = torch.ones(S, dtype=torch.bool).index_fill(0, dead, False)
    assert not mine[1]["encoder"][living].any()
    assert not mine[1]["decoder"][living].any()


def test_auxk_decodes_without_the_bias() -> None:
    """The error holds no bias; with the bias in its reconstruction, dead latents would learn -b_dec."""
    tensors, x, _ = drawn("topk")
    tensors["b_dec"] = tensors["b_dec"] + 9.0
    x = x + 9.0
    dead = torch.arange(0, S, 2)
    error = architecture("topk").forward(tensors, Batch(x, x)).error
    read = x - tensors["b_dec"]
    silent = read @ tensors["encoder"][dead].T + tensors["b_enc"][dead]
    kept = torch.zeros_like(silent).scatter(1, silent.topk(4, dim=1).indices, 1.0)
    e_hat = (silent * kept).relu() @ tensors["decoder"][dead]
    total = (error - error.mean(0)).square().sum()
    found = aux_loss(tensors, read, None, error, dead, 4)
    torch.testing.assert_close(found, (e_hat - error).square().sum() / total)
    assert (e_hat + tensors["b_dec"] - error).square().sum() / total > 2 * found


def test_auxk_of_no_error_is_zero() -> None:
    tensors, x, _ = drawn("topk")
    loss, gradients = differentiated(lambda t: aux_loss(t, x, None, torch.zeros_like(x), torch.arange(10), 4), tensors)
    assert loss == 0
    assert not any(gradient.isinf().any() for gradient in gradients.values())


def test_no_gradient_through_latents_that_relu_closes() -> None:
    """Where fewer than k pre-activations are above 0, top-k chooses some below; they must not learn."""
    spec = architecture("topk")
    tensors, x, _ = drawn("topk")
    tensors["b_enc"] = tensors["b_enc"] - 100.0
    _, gradients = differentiated(lambda t: spec.forward(t, Batch(x, x)).loss, tensors)
    for name in ("encoder", "decoder", "b_enc"):
        assert not gradients[name].any(), name

    def leaking(t: Tensors) -> torch.Tensor:  # ReLU in the values alone
        read = x - t["b_dec"]
        pre = read @ t["encoder"].T + t["b_enc"]
        chosen = pre.topk(K, dim=1)
        values = chosen.values + (chosen.values.relu() - chosen.values).detach()
        return squares(read - (values[:, :, None] * t["decoder"][chosen.indices]).sum(1))

    assert differentiated(leaking, tensors)[1]["encoder"].any()


def test_silent_latents_do_not_move_small_thresholds() -> None:
    """JumpReLU: were it applied to relu(pre), every silent latent would lie at 0, within the kernel of a threshold
    below half a bandwidth."""
    spec = architecture("jumprelu")
    tensors, x, _ = drawn("jumprelu")
    tensors["b_enc"] = tensors["b_enc"] - 100.0
    tensors["log_threshold"] = torch.full((S,), spec.bandwidth / 4, dtype=torch.float64).log()
    _, gradients = differentiated(lambda t: spec.forward(t, Batch(x, x)).loss, tensors)
    assert not gradients["log_threshold"].any()


# -------------------------------------------------------------------------------------------------- batch top-k


def test_batch_top_k_is_exact_where_one_token_holds_most() -> None:
    """All of the batch's largest activations stand at a few tokens: more than the 2 k that each proposes at first."""
    _, x, _ = drawn("batchtopk")
    encoder = torch.randn(S, D, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    x[:3] *= 50
    bias = torch.zeros(S, dtype=torch.float64)
    pattern, values, least = batch_top_k(x, encoder, bias, 1)
    expected = (x @ encoder.T).flatten().topk(N).values
    torch.testing.assert_close(values.sort(descending=True).values, expected)
    assert least == pytest.approx(float(expected[-1]), rel=1e-12)
    assert pattern.offsets.diff().max() > 2
    assert (pattern.offsets.diff() == 0).any()


def test_batch_top_k_of_nothing_positive_is_empty() -> None:
    _, x, _ = drawn("batchtopk")
    encoder, bias = torch.ones(S, D, dtype=torch.float64), torch.full((S,), -1e3, dtype=torch.float64)
    pattern, values, _ = batch_top_k(x, encoder, bias, 2)
    assert len(values) == 0
    assert len(pattern.offsets) == N + 1


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "matryoshka"])
def test_all_latents_may_be_kept(kind: str) -> None:
    tensors, x, _ = drawn(kind)
    spec = architecture(kind, k=S)
    assert spec.forward(tensors, Batch(x, x)).l0 <= S


@pytest.mark.parametrize("kind", KINDS)
def test_one_token_alone(kind: str) -> None:
    spec = architecture(kind)
    tensors, x, _ = drawn(kind)
    mine = differentiated(lambda t: spec.forward(t, Batch(x[:1], x[:1])).loss, tensors)
    assert_same(mine, differentiated(lambda t: dense_loss(kind, t, x[:1], x[:1], spec), tensors))


# ------------------------------------------------------------------------------------------------------ settings


def test_defaults_fit_narrow_streams() -> None:
    """ResNet-20's sites have 16, 32 and 64 dimensions: k is a quarter of that at most."""
    spec = Training().architecture
    assert [spec.k_for(d) for d in (2, 16, 32, 64, 128, 768)] == [1, 4, 8, 16, 32, 32]
    assert [spec.width(d) for d in (16, 768)] == [128, 6144]
    assert [spec.k_aux_for(d) for d in (1, 2, 16, 63, 64, 768, 4096)] == [1, 1, 8, 16, 32, 256, 512]


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="k is 9 and the dictionary has 8 latents; give a smaller k"):
        Training(architecture={"kind": "topk", "k": 9, "latents": 8}).architecture.check(4)
    for levels in ([0.5, 0.25, 1.0], [0.25, 0.5], [0.5, 0.5, 1.0]):
        with pytest.raises(ConfigError, match="ascending shares of the latents that end with 1"):
            architecture("matryoshka", levels=levels).check(D)
    with pytest.raises(ConfigError, match="no top-k transcoder"):
        architecture("topk").inference(transcodes=True)
    with pytest.raises(ConfigError, match="gated transcoder cannot be stored"):
        architecture("gated").inference(transcodes=True)


def test_gradient_to_the_input_through_pre_activations() -> None:
    tensors, x, _ = drawn("topk")
    x.requires_grad_()
    pattern = Pattern(torch.arange(N + 1), torch.arange(N) % S, S)
    values = (x.detach() * tensors["encoder"][pattern.indices]).sum(1) + tensors["b_enc"][pattern.indices]
    pre_activations(values, x, tensors["encoder"], tensors["b_enc"], pattern).sum().backward()
    torch.testing.assert_close(x.grad, tensors["encoder"][pattern.indices])
