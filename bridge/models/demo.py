"""The embedded networks, trained by this project on its own drawn scenes and shipped with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from typing_extensions import override

from bridge.errors import ConfigError
from bridge.models.base import Backbone, ModelSpec, Preprocessing
from bridge.models.seeding import drawn
from bridge.streams import BlockMap

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = Path(__file__).parent / "weights"
PREPROCESSING = Preprocessing(size=64, squash=True, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
NETWORKS: dict[str, dict[str, Any]] = {
    "residual": {"width": 16},
    "plain": {"width": 16, "plain": True},
    "residual-narrow": {"width": 8},
    "plain-narrow": {"width": 8, "plain": True},
    "residual-wide": {"width": 20},
    "residual-ticket": {"width": 16},
    "vit": {},
}


def build(name: str) -> nn.Module:
    """A network of this name with fresh weights from torch's global generator."""
    from bridge.models.networks.demo import Residual, ViT

    return ViT() if name == "vit" else Residual(**NETWORKS[name])


def checkpoint(network: str, training: int = 0) -> Path:
    """The weights of a network from one of its trainings. Raises ConfigError for a training that does not ship."""
    path = WEIGHTS / (f"{network}.{training}.safetensors" if training else f"{network}.safetensors")
    if not path.is_file():
        known = sorted(WEIGHTS.glob(f"{network}.*safetensors"))
        raise ConfigError(f"{network} ships with {len(known)} training(s), from 0; there is no training {training}.")
    return path


class DemoNetwork(ModelSpec):
    """A network that ships with the project: 64 x 64 inputs, eight categories of drawn objects."""

    kind: Literal["demo"] = "demo"
    network: Literal[
        "residual", "plain", "residual-narrow", "plain-narrow", "residual-wide", "residual-ticket", "vit"
    ] = "residual"
    """Pre-activation ResNet, its plain twin without skips, narrower ones of both and a wider one, a lottery ticket of
    it (80% of its weights pruned, rewound, trained again), or a small transformer."""
    training: Annotated[int, Field(ge=0, le=4)] = 0
    """Which training of the network, by its seed: the narrow ones ship with five (0 to 4), the others with one."""

    @override
    def fingerprint(self) -> dict[str, Any]:
        from bridge.models.checkpoints import weights_fingerprint

        return {**super().fingerprint(), **weights_fingerprint(self._checkpoint())}

    def _checkpoint(self) -> Path | None:
        return checkpoint(self.network, self.training) if not self.untrained else None

    @override
    def build(self) -> Backbone:
        from bridge.models.checkpoints import load_weights
        from bridge.models.networks.demo import BLOCKS_A_STAGE

        with drawn(self.seed):
            module = build(self.network)
        if (path := self._checkpoint()) is not None:
            load_weights(module, path, self.name)
        if self.network == "vit":
            blocks = [
                BlockMap(f"blocks.{n}", stage=1, attn=f"blocks.{n}.attn", mlp=f"blocks.{n}.mlp")
                for n in range(len(module.blocks))  # type: ignore[arg-type]
            ]
            return Backbone(self.name, module.eval(), blocks, PREPROCESSING, layout="btc", prefix=1)
        plain = NETWORKS[self.network].get("plain", False)
        blocks = [
            BlockMap(
                f"blocks.{n}",
                stage=n // BLOCKS_A_STAGE + 1,
                write=None if plain else f"blocks.{n}.conv2",
                skip=None if plain else f"blocks.{n}.skip",
                plain=plain,
                projected=n > 0 and n % BLOCKS_A_STAGE == 0,
            )
            for n in range(len(module.blocks))  # type: ignore[arg-type]
        ]
        return Backbone(self.name, module.eval(), blocks, PREPROCESSING)
