"""The sparse forward and backward: latents are chosen, decoded and differentiated without the dense code.

Sizes: n tokens, d the width of the stream, s latents, k of them active at a token. Encoder and decoder are [s, d], a
row a latent. With C the codes [n, s], of which only the active entries are ever held:

    pre = x E' + b                at the active entries
    x_hat = C D

    d pre = (d x_hat) D'          at the active entries (sampled_addmm)
    d D = C' (d x_hat),  d E = (d pre)' x,  d b = (d pre)' 1       sums over the tokens at which a latent is active:
                                  the entries sorted by latent, then embedding_bag

Only blocks of `ROWS` x s pre-activations exist at a time. Gradients equal those of dense torch to float precision.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import torch
from torch.nn import functional

from saes.codes import SparseCodes

Precision = Literal["fp32", "bf16"]
ROWS = 512
"""Tokens whose pre-activations are held at once."""
GROUPS = 512
"""Groups of latents in the first stage of top-k."""


# ------------------------------------------------------------------------------------------------------- choosing


def top_k(pre: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest of each row, [n, k]: values and indices, in no particular order. Equal to torch.topk, ties aside.

    In two stages where rows are long: the k groups with the largest maxima hold the k largest values, since any group
    left out has k maxima above all that it holds. NaN counts as the largest, as in torch.topk.
    """
    n, s = pre.shape
    if s % GROUPS or s < 8 * GROUPS or k > GROUPS // 4 or pre.is_cuda:
        return pre.topk(k, dim=1, sorted=False)
    ranked = torch.float32 if pre.dtype in (torch.bfloat16, torch.float16) else pre.dtype  # torch ranks halves slowly
    grouped = pre.view(n, s // GROUPS, GROUPS)  # group g holds the latents g, g + GROUPS, ...
    groups = grouped.amax(1).to(ranked).topk(k, dim=1, sorted=False).indices
    members = grouped.gather(2, groups[:, None, :].expand(n, s // GROUPS, k)).reshape(n, -1)
    values, place = members.to(ranked).topk(k, dim=1, sorted=False)
    return values.to(pre.dtype), place // k * GROUPS + groups.gather(1, place % k)


def encode_top_k(
    x: torch.Tensor,
    encoder: torch.Tensor,
    bias: torch.Tensor,
    k: int,
    *,
    precision: Precision = "fp32",
    rows: int = ROWS,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest pre-activations of each token: indices int64 and values, [n, k] (before any ReLU).

    x [n, d], encoder [s, d], bias [s]. With `bf16` the product is computed in bfloat16 and proposes 1.25 k candidates
    (k + 8 at least), whose pre-activations are computed again in float32 before the k largest are taken: the values
    are float32's, and a latent is missed only if bfloat16, which errs by .4%, ranks it below all candidates.
    """
    n, (s, _) = len(x), encoder.shape
    indices = torch.empty(n, k, dtype=torch.int64, device=x.device)
    values = torch.empty(n, k, dtype=x.dtype, device=x.device)
    proposed = k + max(8, k // 4)
    low = precision == "bf16" and proposed < s
    weight, offset = (encoder.bfloat16().t(), bias.bfloat16()) if low else (encoder.t(), bias)
    inputs = x.bfloat16() if low else x
    held = torch.empty(min(rows, n), s, dtype=weight.dtype, device=x.device)
    for start in range(0, n, rows):
        part = slice(start, min(start + rows, n))
        pre = torch.addmm(offset, inputs[part], weight, out=held[: part.stop - start])
        if low:
            _, candidates = top_k(pre, proposed)
            exact = _at(x[part], encoder, candidates) + bias[candidates]
            chosen, place = exact.topk(k, dim=1, sorted=False)
            values[part], indices[part] = chosen, candidates.gather(1, place)
        else:
            values[part], indices[part] = top_k(pre, k)
    return indices, values


def _at(x: torch.Tensor, directions: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """x directions' at some latents of each token: indices and result [n, k]."""
    n, k = indices.shape
    offsets = torch.arange(0, n * k + 1, k, device=x.device)
    return sampled_product(x, directions, offsets, indices.reshape(-1)).view(n, k)


def sampled_product(
    x: torch.Tensor, directions: torch.Tensor, offsets: torch.Tensor, indices: torch.Tensor
) -> torch.Tensor:
    """x directions' at the entries of a sparse pattern (CSR), [active]: x [n, d], directions [s, d]."""
    zeros = torch.zeros(len(indices), dtype=x.dtype, device=x.device)
    pattern = _csr(offsets, indices, zeros, (len(x), len(directions)))
    return torch.sparse.sampled_addmm(pattern, x, directions.t(), beta=0.0).values()


def _csr(offsets: torch.Tensor, indices: torch.Tensor, values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)")
        return torch.sparse_csr_tensor(offsets, indices, values, size, check_invariants=False)


# ---------------------------------------------------------------------------------------------- differentiating


class Pattern:
    """Which latents are active at which tokens: CSR by token, and, once it is asked for, the same by latent."""

    def __init__(self, offsets: torch.Tensor, indices: torch.Tensor, width: int):
        self.offsets, self.indices, self.width = offsets, indices, width

    @cached_property
    def by_latent(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(order of the entries by latent, int64; their tokens in that order and the offsets of latents, int32)."""
        # Smaller keys sort faster; the order within a latent is fixed, so that sums are reproducible.
        keys = self.indices.to(torch.int16 if self.width <= 2**15 else torch.int32)
        order = torch.sort(keys, stable=True).indices
        counts = torch.bincount(self.indices, minlength=self.width)
        k, rest = divmod(len(self.indices), max(len(self.offsets) - 1, 1))
        if not rest and k and bool((self.offsets.diff() == k).all()):
            tokens = order // k
        else:
            places = torch.arange(len(self.offsets) - 1, device=order.device)
            tokens = torch.repeat_interleave(places, self.offsets.diff())[order]
        return order, tokens.int(), torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()

    def sum_over_tokens(self, weights: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """W' rows, [s, d], for the weights W [active] at the pattern's entries and rows [n, d]."""
        order, tokens, offsets = self.by_latent
        return _bags(rows, tokens, offsets, weights[order])

    def sum_over_latents(self, weights: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """W rows, [n, d], for the weights W [active] at the pattern's entries and rows [s, d]."""
        return _bags(rows, self.indices, self.offsets, weights)


def batch_top_k(
    x: torch.Tensor, encoder: torch.Tensor, bias: torch.Tensor, k: int, precision: Precision = "fp32"
) -> tuple[Pattern, torch.Tensor, float]:
    """The k n largest positive pre-activations of n tokens: (pattern, values [active], the smallest of them).

    Exact: each token proposes its m largest; where all m of some token are among the chosen, it may have more to
    propose, and m is doubled.
    """
    n, s = len(x), len(encoder)
    m = min(s, 2 * k)
    while True:
        indices, values = encode_top_k(x, encoder, bias, m, precision=precision)
        flat = values.reshape(-1)
        wanted = min(k * n, flat.numel())
        smallest = flat.topk(wanted, sorted=False).values.min().clamp_min(0) if wanted else flat.new_zeros(())
        kept = (values >= smallest) & (values > 0)
        if m == s or not bool(kept.all(1).any()):
            break
        m = min(s, 2 * m)
    counts = kept.sum(1)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Pattern(offsets, indices[kept], s), values[kept], float(smallest)


def _bags(rows: torch.Tensor, indices: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    if not len(indices):
        return rows.new_zeros(len(offsets) - 1, rows.shape[1])
    return functional.embedding_bag(
        indices, rows, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


class _Sampled(torch.autograd.Function):
    """Pre-activations at a pattern's entries, whose values are known already; differentiable in encoder and biases."""

    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        x: torch.Tensor,
        centre: torch.Tensor | None,
        encoder: torch.Tensor,
        bias: torch.Tensor,
        pattern: Pattern,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, encoder)
        ctx.pattern = pattern
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        x, encoder = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        to_encoder = pattern.sum_over_tokens(gradient, x) if ctx.needs_input_grad[3] else None
        to_bias = torch.zeros(pattern.width, dtype=x.dtype, device=x.device)
        to_bias.index_add_(0, pattern.indices, gradient)
        to_centre = -(to_bias @ encoder) if ctx.needs_input_grad[2] else None
        to_x = pattern.sum_over_latents(gradient, encoder) if ctx.needs_input_grad[1] else None
        return None, to_x, to_centre, to_encoder, to_bias, None


class _Error(torch.autograd.Function):
    """target - codes directions, differentiable in all three."""

    @staticmethod
    def forward(
        ctx: Any, target: torch.Tensor, values: torch.Tensor, directions: torch.Tensor, pattern: Pattern
    ) -> torch.Tensor:
        ctx.save_for_backward(values, directions)
        ctx.pattern = pattern
        return pattern.sum_over_latents(values, directions).neg_().add_(target)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        gradient = gradients[0].contiguous()
        values, directions = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        to_values = sampled_product(gradient, directions, pattern.offsets, pattern.indices).neg_()
        to_directions = pattern.sum_over_tokens(-values, gradient) if ctx.needs_input_grad[2] else None
        return gradient if ctx.needs_input_grad[0] else None, to_values, to_directions, None


class _Less(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(x)
        return x.sub_(vector)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return None, -gradients[0].sum(0)


class _MeanSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, error: torch.Tensor) -> torch.Tensor:
        ctx.error = error.detach()
        return torch.linalg.vector_norm(error).square() / len(error)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return ctx.error.mul_(2 * gradients[0] / len(ctx.error))


def less(x: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """x - vector, in the place of x [n, d], which has no gradient; differentiable in vector [d]."""
    out: torch.Tensor = _Less.apply(x, vector)
    return out


def mean_square(error: torch.Tensor) -> torch.Tensor:
    """Sum of squares of error [n, d] over n, a scalar; differentiating it once puts the gradient in error's place."""
    out: torch.Tensor = _MeanSquare.apply(error)
    return out


def pre_activations(
    values: torch.Tensor,
    x: torch.Tensor,
    encoder: torch.Tensor,
    bias: torch.Tensor,
    pattern: Pattern,
    *,
    centre: torch.Tensor | None = None,
) -> torch.Tensor:
    """`values` [active], with the gradients of x encoder' + bias at the pattern's entries.

    x [n, d] is what the encoder read: where a vector was subtracted from the activations first (b_dec), hand that
    over as `centre` [d], and it gets its gradient.
    """
    out: torch.Tensor = _Sampled.apply(values, x, centre, encoder, bias, pattern)
    return out


def decoding_error(
    target: torch.Tensor, values: torch.Tensor, directions: torch.Tensor, pattern: Pattern
) -> torch.Tensor:
    """target - codes @ directions, [n, d], for activations [active] and directions [s, d]; differentiable in all."""
    out: torch.Tensor = _Error.apply(target, values, directions, pattern)
    return out


def decode_sparse(codes: SparseCodes, directions: torch.Tensor) -> torch.Tensor:
    """codes @ directions, [n, d], from the rows of `directions` [s, d] that are active."""
    return _bags(directions, codes.indices, codes.offsets, codes.values)
