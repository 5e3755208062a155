"""One dictionary while it is trained: its tensors, Adam's moments, and which latents are dead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from bridge.errors import ConfigError
from saes.architectures.base import Batch, Outcome
from saes.initial import initial_tensors
from saes.input_scaling import Scaling, folded
from saes.sae import Architecture, SAEConfig, SparseAutoencoder
from saes.settings import Training

ROWS = 128  # of a tensor at once: what is multiplied stays in the cache
BETAS, EPSILON = (0.9, 0.999), 6.25e-10  # Gao et al. 2024, A.3


class Trainee:
    """Tensors of scaled activations, updated a batch at a time.

    Each tensor is updated as soon as its gradient is complete, which is then freed: at no time do the gradients of
    encoder and decoder exist together. Decoder rows have norm 1: the gradient's part along them is taken out before
    the update, and they are brought back to norm 1 after it.
    """

    def __init__(
        self,
        name: str,
        training: Training,
        sample_x: torch.Tensor,
        sample_y: torch.Tensor | None,
        *,
        parts: list[int] | None = None,
        skip: bool = False,
        start: int | None = None,
        dead_after: int,
        steps: int,
        device: str = "cpu",
    ):
        """`sample_x` [n, d_in] (and `sample_y` [n, d_out] for transcoders) are raw activations to measure scales on;
        `parts` are the widths of the sites that a crosscoder concatenates; `start` is the seed of the first directions
        (default: the training's).

        Raises ConfigError for settings that do not fit the width, InputError for activations that cannot be learnt.
        """
        self.name, self.training, self.device = name, training, device
        self.transcodes = sample_y is not None
        self.skip, self.steps, self.dead_after = skip, steps, dead_after
        architecture = training.architecture
        architecture.check(sample_x.shape[1])
        self.kind: Architecture = architecture.inference(transcodes=self.transcodes)  # refused before hours of work
        if skip and not self.transcodes:
            raise ConfigError("A dictionary has a linear skip only where it transcodes; leave out `skip`.")
        if skip:
            self.kind = "jumprelu_skip_transcoder" if self.kind.startswith("jumprelu") else "skip_transcoder"
        # Also where it is not used, it refuses what cannot be learnt.
        self.reads = Scaling.fitted(sample_x, parts, name)
        self.writes = self.reads if sample_y is None else Scaling.fitted(sample_y, None, name)
        if training.scale == "none":
            self.reads, self.writes = (Scaling.none(len(part.mean)) for part in (self.reads, self.writes))
        x = self.reads.apply(sample_x)
        y = x if sample_y is None else self.writes.apply(sample_y)
        self.variance = float((y - y.mean(0)).double().square().sum() / len(y))
        """Total variance of the scaled targets about their mean vector; 1 unless `scale` is none."""
        seed = training.seed if start is None else start
        tensors = initial_tensors(architecture, x, y, seed, transcodes=self.transcodes, skip=skip)
        self.tensors = {key: value.to(device).requires_grad_() for key, value in tensors.items()}
        self.reads, self.writes = (
            Scaling(part.mean.to(device), part.scale.to(device)) for part in (self.reads, self.writes)
        )
        self.latents = len(tensors["encoder"])
        self.silent = torch.zeros(self.latents, dtype=torch.int64, device=device)
        """Tokens since each latent was active."""
        self.threshold: torch.Tensor | None = None
        self.step_number = 0
        self.optimisers: dict[str, torch.optim.Adam] = {}
        for key, tensor in self.tensors.items():
            adam = torch.optim.Adam([tensor], betas=BETAS, eps=EPSILON, fused=True)
            self.optimisers[key] = adam
            tensor.register_post_accumulate_grad_hook(_update(key, adam))

    @property
    def dead(self) -> torch.Tensor:
        """The latents that are dead now, int64."""
        return (self.silent >= self.dead_after).nonzero().flatten()

    def batch(self, x: torch.Tensor, y: torch.Tensor | None, *, in_place: bool = False) -> Batch:
        """Raw activations, scaled, with what a forward pass has to know."""
        scaled = self.reads.apply(x.to(self.device), in_place=in_place)
        target = scaled if y is None else self.writes.apply(y.to(self.device), in_place=in_place)
        progress = (self.step_number + 1) / self.steps
        dead = self.dead
        return Batch(
            scaled,
            target,
            dead if len(dead) else None,
            progress,
            self.training.precision,
            transcodes=y is not None,
            in_place=in_place,
        )

    def step(self, x: torch.Tensor, y: torch.Tensor | None = None, *, in_place: bool = False) -> Outcome:
        """One step on raw activations x [n, d_in] (y [n, d_out] for transcoders), which `in_place` overwrites.

        Where the loss is not finite nothing is changed, and the caller is left to say why.
        """
        outcome = self.training.architecture.forward(self.tensors, self.batch(x, y, in_place=in_place))
        if not torch.isfinite(outcome.loss):
            return outcome
        rate = self.training.learning_rate(self.latents) * self.training.rate_at(self.step_number, self.steps)
        for adam in self.optimisers.values():
            adam.param_groups[0]["lr"] = rate
        outcome.loss.backward()
        self.silent += len(x)
        self.silent[outcome.fired] = 0
        self.step_number += 1
        return outcome

    # ------------------------------------------------------------------------------------------- to and from disk

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that the next step depends on, by name."""
        state = {f"tensors.{key}": value.detach() for key, value in self.tensors.items()}
        for key, adam in self.optimisers.items():
            for name, value in adam.state.get(self.tensors[key], {}).items():
                state[f"adam.{key}.{name}"] = value
        # No tensor stands there twice: safetensors refuses what shares memory, and copies would take as much again.
        scales = {"reads": self.reads} | ({"writes": self.writes} if self.transcodes else {})
        state |= {
            f"{name}.{part}": getattr(scale, part) for name, scale in scales.items() for part in ("mean", "scale")
        }
        return state | {"silent": self.silent, "step": torch.tensor(self.step_number)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `state` gave."""
        with torch.no_grad():
            for key, tensor in self.tensors.items():
                tensor.copy_(state[f"tensors.{key}"])
                moments = {
                    name.removeprefix(f"adam.{key}."): value.to(self.device, copy=True)
                    for name, value in state.items()
                    if name.startswith(f"adam.{key}.")
                }
                if moments:
                    self.optimisers[key].state[tensor] = moments
        self.reads, self.writes = (
            Scaling(state[f"{name}.mean"].to(self.device), state[f"{name}.scale"].to(self.device))
            for name in ("reads", "writes" if self.transcodes else "reads")
        )
        self.silent = state["silent"].to(self.device, copy=True)
        self.step_number = int(state["step"])

    def finished(self, metadata: Mapping[str, Any]) -> SparseAutoencoder:
        """The dictionary of the activations themselves, as it is saved and applied."""
        architecture = self.training.architecture
        tensors = {key: value.detach().cpu() for key, value in self.tensors.items()}
        named = architecture.inference_tensors(tensors, self.threshold)
        reads, writes = (Scaling(part.mean.cpu(), part.scale.cpu()) for part in (self.reads, self.writes))
        d_in, d_out = named["W_enc"].shape[0], named["W_dec"].shape[1]
        config = SAEConfig(
            architecture=self.kind,
            d_in=d_in,
            d_sae=self.latents,
            d_out=d_out if self.transcodes else None,
            k=getattr(architecture, "k_for")(d_in) if self.kind == "topk" else None,  # noqa: B009
            apply_b_dec_to_input=not self.transcodes,
            metadata=dict(metadata),
        )
        return SparseAutoencoder(config, folded(named, reads, writes, transcodes=self.transcodes))


def _update(key: str, adam: torch.optim.Adam) -> Any:
    """What happens to a tensor once its gradient is complete."""

    @torch.no_grad()
    def hook(tensor: torch.Tensor) -> None:
        gradient = tensor.grad
        assert gradient is not None
        if key == "decoder":
            for part, row in zip(gradient.split(ROWS), tensor.split(ROWS), strict=True):
                part.addcmul_(row, (part * row).sum(1, keepdim=True), value=-1)
        adam.step()
        tensor.grad = None
        if key == "decoder":
            tensor.div_(tensor.norm(dim=1, keepdim=True).clamp_min(torch.finfo(tensor.dtype).tiny))

    return hook
