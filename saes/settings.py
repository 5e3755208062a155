"""How dictionaries are trained: what a config can ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bridge.spec import Seed, Spec
from saes.architectures import AnyArchitecture
from saes.architectures.topk import TopK


class Training(Spec):
    """The recipe of Gao et al. 2024, with defaults that fit streams of 16 to 4,096 dimensions."""

    architecture: AnyArchitecture = TopK()
    """Kind of dictionary, with its own settings (number of latents, k or penalty)."""
    seed: Seed = 0
    """Seed of the first directions and of the order of tokens."""
    batch: Annotated[int, Field(ge=1)] = 4096
    """Tokens a step."""
    epochs: Annotated[float, Field(gt=0)] = 8
    """How often each token is seen; a fraction stops within the epoch."""
    tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens to train on in all, instead of `epochs`."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Adam's learning rate; where left out 2e-4 / sqrt(latents / 2^14) (Gao et al. 2024, A.3), 3e-3 at most."""
    warm_up: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Share of the steps over which the learning rate rises to its full size."""
    decay: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the steps, at the end, over which it falls to 0."""
    dead_after: Annotated[int, Field(ge=1)] | None = None
    """A latent that has not been active for so many tokens is dead; where left out an epoch's, and not more than 10
    million or an eighth of the training."""
    scale: Literal["variance", "none"] = "variance"
    """`variance`: activations are centred and divided by one number, so that their total variance is 1, and this is
    folded into the saved tensors; `none`: as they are."""
    sample: Annotated[int, Field(ge=2)] = 32768
    """Tokens on which scale, first bias and first gain are measured."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the stimuli that are not trained on; quality is measured on them."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: the encoder's product proposes latents in bfloat16, and float32 scores them again (where the processor
    has bfloat16; top-k kinds only)."""

    def learning_rate(self, latents: int) -> float:
        """The learning rate at its height."""
        return self.lr or min(3e-3, 2e-4 / (latents / 2**14) ** 0.5)

    def steps(self, tokens_an_epoch: int) -> int:
        """Number of steps, for so many tokens in an epoch; the last, shorter batch of an epoch is a step."""
        if self.tokens is not None:
            return max(1, -(-self.tokens // self.batch))
        return max(1, round(self.epochs * -(-tokens_an_epoch // self.batch)))

    def dead_tokens(self, tokens_an_epoch: int) -> int:
        """Tokens without activity after which a latent is dead."""
        training = self.steps(tokens_an_epoch) * min(self.batch, tokens_an_epoch)
        return self.dead_after or max(1, min(10_000_000, tokens_an_epoch, training // 8))

    def rate_at(self, step: int, steps: int) -> float:
        """Share of the learning rate at a step: up over `warm_up`, flat, down to 0 over `decay`."""
        up = min(1.0, (step + 1) / max(1.0, self.warm_up * steps))
        down = min(1.0, (steps - step) / max(1.0, self.decay * steps)) if self.decay else 1.0
        return min(up, down)
