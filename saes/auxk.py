"""AuxK: dead latents reconstruct what the living ones leave over (Gao et al. 2024, A.2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from saes.sparse_ops import Pattern, Precision, decoding_error, encode_top_k, pre_activations


def aux_loss(
    tensors: Mapping[str, torch.Tensor],
    x: torch.Tensor,
    centre: torch.Tensor | None,
    error: torch.Tensor,
    dead: torch.Tensor,
    k_aux: int,
    precision: Precision = "fp32",
) -> torch.Tensor:
    """|e - e_hat|^2 / |e - mean e|^2, e_hat from the k_aux dead latents with the largest pre-activations a token.

    The error [n, d_out] is y - y_hat and holds no bias, so none is added to e_hat. It is a constant here: of the
    latents the loss moves dead ones only, their encoders included. x [n, d_in] is what the encoder read; dead int64
    [some]. 0 where the ratio is undefined (no error at all).
    """
    error = error.detach()
    k = min(k_aux, len(dead))
    with torch.no_grad():
        encoder, bias = tensors["encoder"][dead], tensors["b_enc"][dead]
        chosen, values = encode_top_k(x, encoder, bias, k, precision=precision)
    offsets = torch.arange(0, chosen.numel() + 1, k, device=x.device)
    pattern = Pattern(offsets, dead[chosen.reshape(-1)], len(tensors["encoder"]))
    pre = pre_activations(values.reshape(-1), x, tensors["encoder"], tensors["b_enc"], pattern, centre=centre)
    left = decoding_error(error, pre.relu(), tensors["decoder"], pattern)
    ratio = left.square().sum() / (error - error.mean(0)).square().sum()
    return ratio.nan_to_num(0.0, posinf=0.0)
