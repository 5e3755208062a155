"""The sparse forward and backward against plain dense torch."""

import pytest
import torch

from saes.sparse_ops import Pattern, decoding_error, encode_top_k, pre_activations, top_k


def drawn(n: int, d: int, s: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((n, d), (s, d), (s,), (s, d), (d,))
    return tuple(torch.randn(*shape, generator=generator, dtype=dtype) for shape in shapes)


@pytest.mark.parametrize("k", [1, 7, 32, 100])
@pytest.mark.parametrize("s", [256, 4096, 8192])
def test_two_stages_find_the_k_largest(k: int, s: int) -> None:
    pre = torch.randn(50, s, generator=torch.Generator().manual_seed(k))
    values, indices = top_k(pre, k)
    assert torch.equal(values.sort(1).values, pre.topk(k, 1).values.sort(1).values)
    assert torch.equal(pre.gather(1, indices), values)


def test_all_large_values_in_one_group_are_found() -> None:
    pre = torch.zeros(3, 8192)
    pre[:, 5::512] = torch.arange(16.0) + 1  # all in group 5
    values, indices = top_k(pre, 16)
    assert torch.equal(values.sort(1).values[0], torch.arange(16.0) + 1)
    assert set((indices % 512).flatten().tolist()) == {5}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("k", [1, 8])
def test_gradients_equal_the_dense_ones(dtype: torch.dtype, tolerance: float, k: int) -> None:
    """Through top-k, ReLU, decoder and a squared error, for every tensor; some chosen values are below 0."""
    x, encoder, bias, decoder, centre = drawn(700, 12, 40, dtype)
    bias = bias - 9.0  # tokens with fewer than k positive pre-activations
    target = torch.randn_like(x)

    def leaves() -> list[torch.Tensor]:
        return [value.clone().requires_grad_() for value in (encoder, bias, decoder, centre)]

    def loss(x_hat: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (x_hat + b - target).square().sum() / len(x)

    e, b, d, c = dense = leaves()
    pre = (x - c) @ e.T + b
    values, indices = pre.topk(k, dim=1)
    codes = torch.zeros_like(pre).scatter(1, indices, values.relu())
    expected = loss(codes @ d, c)
    expected.backward()
    assert (values < 0).any()
    assert (values > 0).any()

    e, b, d, c = sparse = leaves()
    centred = x - c.detach()
    with torch.no_grad():
        chosen, at = encode_top_k(centred, e, b, k)
    pattern = Pattern(torch.arange(0, chosen.numel() + 1, k), chosen.reshape(-1), len(encoder))
    active = pre_activations(at.reshape(-1), centred, e, b, pattern, centre=c).relu()
    found = decoding_error(target - c, active, d, pattern).square().sum() / len(x)
    found.backward()

    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(sparse, dense, strict=True):
        scale = theirs.grad.abs().max()
        assert (mine.grad - theirs.grad).abs().max() <= tolerance * scale


def test_gradients_with_a_different_number_of_latents_a_token() -> None:
    x, encoder, bias, decoder, _ = drawn(60, 6, 20)
    mask = torch.rand(60, 20, generator=torch.Generator().manual_seed(1)) < 0.2
    mask[3] = False  # a token without any
    x.requires_grad_()
    e1, d1 = encoder.clone().requires_grad_(), decoder.clone().requires_grad_()
    ((((x @ e1.T + bias) * mask) @ d1).square().sum()).backward()
    expected, x.grad = (e1.grad, d1.grad, x.grad), None

    e2, d2 = encoder.clone().requires_grad_(), decoder.clone().requires_grad_()
    rows, indices = mask.nonzero(as_tuple=True)
    pattern = Pattern(torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum(1).cumsum(0)]), indices, 20)
    values = (x.detach() @ e2.detach().T + bias)[rows, indices]
    zeros = torch.zeros(60, 6, dtype=x.dtype)
    decoding_error(zeros, pre_activations(values, x, e2, bias, pattern), d2, pattern).square().sum().backward()
    for mine, theirs in zip((e2.grad, d2.grad, x.grad), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_no_active_latent_at_all() -> None:
    _, _, _, decoder, _ = drawn(4, 3, 5)
    decoder.requires_grad_()
    pattern = Pattern(torch.zeros(5, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), 5)
    out = decoding_error(
        torch.zeros(4, 3, dtype=decoder.dtype), decoder.new_zeros(0).requires_grad_(), decoder, pattern
    )
    out.sum().backward()
    assert not out.any()
    assert not decoder.grad.any()


def test_bfloat16_with_rescoring_finds_what_float32_finds() -> None:
    x, encoder, bias, *_ = drawn(2000, 64, 4096, torch.float32)
    exact, values = encode_top_k(x, encoder, bias, 16)
    found, rescored = encode_top_k(x, encoder, bias, 16, precision="bf16")
    same = [len(set(a) & set(b)) for a, b in zip(exact.tolist(), found.tolist(), strict=True)]
    assert sum(same) / (2000 * 16) == 1.0
    torch.testing.assert_close(rescored.sort(1).values, values.sort(1).values, rtol=1e-5, atol=1e-5)


def test_blocks_of_rows_change_nothing() -> None:
    x, encoder, bias, *_ = drawn(130, 8, 64)
    for got, want in zip(encode_top_k(x, encoder, bias, 4, rows=7), encode_top_k(x, encoder, bias, 4), strict=True):
        torch.testing.assert_close(got.sort(1).values, want.sort(1).values)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_gradients() -> None:
    results = []
    for device in ("cpu", "cuda"):
        x, encoder, bias, decoder, _ = (value.to(device) for value in drawn(300, 16, 64, torch.float32))
        encoder.requires_grad_(), decoder.requires_grad_()
        with torch.no_grad():
            chosen, at = encode_top_k(x, encoder, bias, 4)
        pattern = Pattern(torch.arange(0, chosen.numel() + 1, 4, device=device), chosen.reshape(-1), 64)
        active = pre_activations(at.reshape(-1), x, encoder, bias, pattern).relu()
        decoding_error(x, active, decoder, pattern).square().sum().backward()
        results.append((encoder.grad.cpu(), decoder.grad.cpu()))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
