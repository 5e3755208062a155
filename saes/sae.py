"""A sparse autoencoder, ready to be applied: from a stream's activations to latents and back.

The tensors and the configuration are SAELens's (its inference architectures, under its names and in its shapes), so
that what stands here is what stands on disk; `SparseAutoencoder` gives the same numbers as `sae_lens.SAE` does.

    x_in    = normalise(x) - b_dec * apply_b_dec_to_input
    pre     = x_in W_enc + b_enc                                          [n, d_sae]
    latents = relu(top k of pre)              topk                        Gao et al. 2024, eq. 1
              relu(pre)                       standard, transcoder        Bricken et al. 2023
              relu(pre) [pre > threshold]     jumprelu                    Rajamanoharan et al. 2024b, eq. 3
              relu(x_in (W_enc exp(r_mag)) + b_mag) [x_in W_enc + b_gate > 0]   gated    2024a, eq. 6
    x_hat   = denormalise(latents W_dec + b_dec) (+ x W_skip' for skip transcoders)

BatchTopK and Matryoshka dictionaries are jumprelu ones at inference: one fixed threshold, so that a token's latents do
not depend on the batch it stands in. A crosscoder is a dictionary of the concatenated sites (`metadata["sites"]`,
`metadata["widths"]`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import nn

from bridge.errors import InputError
from saes.codes import SparseCodes
from saes.sparse_ops import decode_sparse, encode_top_k

Architecture = Literal[
    "standard",
    "topk",
    "jumprelu",
    "gated",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
]
Normalisation = Literal["none", "expected_average_only_in", "layer_norm", "constant_norm_rescale"]
ROWS = 512
"""Tokens that are encoded at once: a block of pre-activations stays small, whatever the caller hands over."""


@dataclass(frozen=True)
class SAEConfig:
    """What a dictionary is, in SAELens's terms. `metadata` is its provenance.

    metadata keys that this project writes and reads: `model_name`, `hook_name` (the site), `hook_name_out`
    (transcoders), `sites` and `widths` (crosscoders), `weights` (sha256 of the model's tensors), `stimuli`, `tokens`
    (class, patches, all), `seed`, `trained_as` (topk, batchtopk, matryoshka, ...), `metrics`, `sae_lens_version`; and
    of what was loaded `source` (repository or folder, and place in it), `revision` (commit), `files` (sha256 by name)
    and `measured` (explained variance on loading).
    """

    architecture: Architecture
    d_in: int
    d_sae: int
    d_out: int | None = None
    """Width of what transcoders write; None where it is d_in."""
    k: int | None = None
    """Latents a token (topk)."""
    rescale_acts_by_decoder_norm: bool = False
    """topk: latents are chosen by pre x |decoder direction|, and scaled by it."""
    apply_b_dec_to_input: bool = True
    normalize_activations: Normalisation = "none"
    """Per-token normalisation of the input, undone at the output. A constant scale is folded into the tensors instead
    (SAELens's expected_average_only_in is stated, but does nothing once it is folded)."""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def transcodes(self) -> bool:
        """Whether the output is another site's value than the input."""
        return self.architecture.endswith("transcoder")

    @property
    def width_out(self) -> int:
        """Width of the reconstruction."""
        return self.d_out if self.d_out is not None else self.d_in

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors of this architecture and their shapes."""
        d_in, d_sae, d_out = self.d_in, self.d_sae, self.width_out
        shapes: dict[str, tuple[int, ...]] = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_out), "b_dec": (d_out,)}
        if self.architecture == "gated":
            shapes |= {"b_gate": (d_sae,), "b_mag": (d_sae,), "r_mag": (d_sae,)}
        else:
            shapes |= {"b_enc": (d_sae,)}
        if self.architecture.startswith("jumprelu"):
            shapes |= {"threshold": (d_sae,)}
        if "skip" in self.architecture:
            shapes |= {"W_skip": (d_out, d_in)}
        return shapes


class SparseAutoencoder(nn.Module):
    """Encode, decode, and the directions in between. Inputs are the stream's own activations, [..., d_in]: whatever
    normalisation the dictionary was trained with is in its tensors or in its config.

    Parameters do not require gradients (what flows through `encode` and `decode` to the input does). Results are in
    the parameters' type.
    """

    W_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter
    # Only some architectures have these (SAEConfig.shapes):
    b_enc: nn.Parameter
    threshold: nn.Parameter
    b_gate: nn.Parameter
    b_mag: nn.Parameter
    r_mag: nn.Parameter
    W_skip: nn.Parameter

    def __init__(self, config: SAEConfig, tensors: Mapping[str, torch.Tensor]):
        """Raises InputError for an unknown architecture or normalisation, for missing, surplus or wrongly shaped
        tensors, values that are not finite, and k outside 1 .. d_sae."""
        super().__init__()
        _check(config, tensors)
        self.config = config
        for name, value in tensors.items():
            self.register_parameter(name, nn.Parameter(value.detach(), requires_grad=False))

    # ------------------------------------------------------------------------------------------------ encoding

    def pre_activation(self, x: torch.Tensor) -> torch.Tensor:
        """Before top-k, ReLU and thresholds, [..., d_sae]. Of a gated dictionary: of its magnitudes."""
        inputs, _ = self._normalised(x)
        if self.config.architecture == "gated":
            return inputs @ (self.W_enc * self.r_mag.exp()) + self.b_mag
        pre = inputs @ self.W_enc + self.b_enc
        return pre * self.W_dec.norm(dim=-1) if self.config.rescale_acts_by_decoder_norm else pre

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Latents, [..., d_sae]. Raises InputError if the last axis of `x` is not d_in."""
        pre = self.pre_activation(x)
        kind = self.config.architecture
        if kind == "topk":
            assert self.config.k is not None
            values, indices = pre.topk(self.config.k, dim=-1, sorted=False)
            return torch.zeros_like(pre).scatter(-1, indices, values.relu())
        if kind == "gated":
            inputs, _ = self._normalised(x)
            return pre.relu() * (inputs @ self.W_enc + self.b_gate > 0)
        if kind.startswith("jumprelu"):
            return pre.relu() * (pre > self.threshold)
        return pre.relu()

    @torch.no_grad()
    def encode_sparse(self, x: torch.Tensor) -> SparseCodes:
        """The active latents of tokens [n, d_in], block by block: the dense latents are never held at once.

        Equal to `encode` (ties among pre-activations aside). Raises InputError if `x` is not [n, d_in].
        """
        if x.ndim != 2:
            raise InputError(f"Tokens of shape {list(x.shape)} were given to encode_sparse; give [n, {self.d_in}].")
        parts = [self._encode_block(block) for block in (x.split(ROWS) if len(x) else (x,))]
        return SparseCodes.cat(parts)

    def _encode_block(self, x: torch.Tensor) -> SparseCodes:
        config = self.config
        if config.architecture != "topk" or config.rescale_acts_by_decoder_norm:
            return SparseCodes.of(self.encode(x))
        assert config.k is not None
        inputs, _ = self._normalised(x)
        indices, values = encode_top_k(inputs, self.W_enc.t(), self.b_enc, config.k, rows=ROWS)
        return SparseCodes.of_top_k(indices, values.relu(), config.d_sae)

    # ------------------------------------------------------------------------------------------------ decoding

    def decode(self, latents: torch.Tensor, x: torch.Tensor | None = None) -> torch.Tensor:
        """Reconstruction from latents, [..., d_out].

        `x` [..., d_in] is the input they are of: needed where a per-token normalisation has to be undone, or a skip
        transcoder adds its linear part. Raises InputError if it is needed and left out.
        """
        return self._finish(latents @ self._decoder + self.b_dec, x)

    def decode_sparse(self, codes: SparseCodes, x: torch.Tensor | None = None) -> torch.Tensor:
        """Reconstruction from sparse codes, [n, d_out], without forming the dense ones; see `decode`."""
        return self._finish(decode_sparse(codes, self._decoder) + self.b_dec, x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruction of activations [..., d_in]: [..., d_out]."""
        return self.decode(self.encode(x), x)

    @property
    def _decoder(self) -> torch.Tensor:
        if not self.config.rescale_acts_by_decoder_norm:
            return self.W_dec
        return self.W_dec / self.W_dec.norm(dim=-1, keepdim=True)

    @property
    def decoder_directions(self) -> torch.Tensor:
        """What each latent writes, at unit norm, [d_sae, d_out]; a zero row stays zero."""
        return self.W_dec / self.W_dec.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(self.W_dec.dtype).tiny)

    # --------------------------------------------------------------------------------------------------- parts

    @property
    def d_in(self) -> int:
        """Width of the input."""
        return self.config.d_in

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return self.config.d_sae

    @property
    def site(self) -> str | None:
        """The site that it was trained on, by TransformerLens's name; None where the checkpoint does not say."""
        return self.config.metadata.get("hook_name")

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors by SAELens's names, detached."""
        return {name: value.detach() for name, value in self.named_parameters()}

    def _normalised(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
        """The encoder's input, and (shift, scale) of each token if it was normalised on its own."""
        if x.shape[-1] != self.d_in:
            raise InputError(
                f"Activations of width {x.shape[-1]} (shape {list(x.shape)}) were given to a dictionary of "
                f"{self.site or 'an unnamed site'} with d_in {self.d_in}; give it that site's activations."
            )
        x = x.to(self.W_enc.dtype)
        undo = None
        if self.config.normalize_activations == "layer_norm":
            # As SAELens has it: the unbiased deviation, and no epsilon on the way back.
            shift = x.mean(-1, keepdim=True)
            scale = (x - shift).std(-1, keepdim=True)
            x, undo = (x - shift) / (scale + 1e-5), (shift, scale)
        elif self.config.normalize_activations == "constant_norm_rescale":
            scale = x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny) / self.d_in**0.5
            x, undo = x / scale, (torch.zeros_like(scale), scale)
        if self.config.apply_b_dec_to_input and not self.config.transcodes:
            x = x - self.b_dec
        return x, undo

    def _finish(self, out: torch.Tensor, x: torch.Tensor | None) -> torch.Tensor:
        skips = "skip" in self.config.architecture
        normalised = self.config.normalize_activations in ("layer_norm", "constant_norm_rescale")
        if not (skips or (normalised and not self.config.transcodes)):
            return out
        if x is None:
            raise InputError("This dictionary's output depends on its input too; give `decode` the activations as `x`.")
        x = x.to(out.dtype)
        if skips:
            return out + x @ self.W_skip.T
        _, undo = self._normalised(x)
        assert undo is not None
        return out * undo[1] + undo[0]


def _check(config: SAEConfig, tensors: Mapping[str, torch.Tensor]) -> None:
    if config.architecture not in get_args(Architecture):
        raise InputError(
            f"The dictionary's architecture is {config.architecture!r}; these can be applied: "
            f"{', '.join(get_args(Architecture))}."
        )
    if config.normalize_activations not in get_args(Normalisation):
        raise InputError(
            f"The dictionary normalises its input by {config.normalize_activations!r}, which cannot be applied here; "
            f"fold it into the tensors first ({', '.join(get_args(Normalisation))} can be)."
        )
    if config.architecture == "topk" and not (config.k and 1 <= config.k <= config.d_sae):
        raise InputError(f"The dictionary has k = {config.k} of {config.d_sae} latents; k must lie in 1 to d_sae.")
    shapes = config.shapes()
    missing, surplus = sorted(shapes.keys() - tensors.keys()), sorted(tensors.keys() - shapes.keys())
    if missing or surplus:
        raise InputError(
            f"A {config.architecture} dictionary has the tensors {', '.join(shapes)}; "
            + "; ".join(
                f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("surplus", surplus)) if names
            )
            + ". Is the architecture stated in cfg.json the right one?"
        )
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise InputError(
                f"{name} has the shape {list(tensors[name].shape)}; d_in {config.d_in}, d_sae {config.d_sae} and d_out "
                f"{config.width_out} ask for {list(shape)}: tensors and configuration are not of one dictionary."
            )
        if not torch.isfinite(tensors[name]).all():
            raise InputError(f"{name} holds values that are not finite; the dictionary cannot be applied.")
