"""The CIFAR ResNets of He et al. 2016 with option-A shortcuts: ResNet-20, 32, 44, 56, 110.

Checkpoints: those of akamaster/pytorch_resnet_cifar10 ({best_prec1, state_dict}, keys prefixed `module.`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from typing_extensions import override

from bridge.models.base import Backbone, ModelSpec, Preprocessing
from bridge.models.seeding import drawn
from bridge.streams import BlockMap

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class CifarResNet(ModelSpec):
    """A CIFAR ResNet: 32 x 32 inputs, three stages of 16, 32 and 64 channels, post-addition ReLU."""

    kind: Literal["cifar-resnet"] = "cifar-resnet"
    depth: Literal[20, 32, 44, 56, 110] = 20
    """Number of layers."""
    weights: Path | Literal["pretrained"] | None = None
    """`pretrained` (CIFAR-10; fetched once, for depth 20 and 44), a checkpoint file, or nothing: untrained."""

    @override
    def fingerprint(self) -> dict[str, Any]:
        from bridge.models.checkpoints import weights_fingerprint

        content = super().fingerprint()
        if self.weights == "pretrained" and not self.untrained:
            from bridge.data import dataset

            return {**content, "weights": dataset("resnet_cifar10").entry(f"resnet{self.depth}").sha256}
        return {**content, **weights_fingerprint(self._checkpoint())}

    @override
    def check_reachable(self) -> None:
        if self.weights == "pretrained" and not self.untrained:
            from bridge.data import dataset

            dataset("resnet_cifar10").check_reachable()

    def datasets(self) -> tuple[str, ...]:
        """The one that holds the pretrained weights, if they are asked for."""
        return ("resnet_cifar10",) if self.weights == "pretrained" else ()

    def _checkpoint(self) -> Path | None:
        if self.untrained:
            return None
        if self.weights == "pretrained":
            from bridge.data import dataset

            return dataset("resnet_cifar10").file(f"resnet{self.depth}")
        return self.weights

    @override
    def build(self) -> Backbone:
        from bridge.models.checkpoints import load_weights
        from bridge.models.networks.cifar_resnet import ResNet

        blocks_a_stage = (self.depth - 2) // 6
        with drawn(self.seed):
            module = ResNet(blocks_a_stage)
        if (path := self._checkpoint()) is not None:
            load_weights(module, path, self.name)
        blocks = [
            BlockMap(
                module=f"layer{stage}.{number}",
                stage=stage,
                write=f"layer{stage}.{number}.bn2",
                skip=f"layer{stage}.{number}.shortcut",
                act=True,
                projected=stage > 1 and number == 0,
            )
            for stage in (1, 2, 3)
            for number in range(blocks_a_stage)
        ]
        return Backbone(
            self.name,
            module.eval(),
            blocks,
            Preprocessing(size=32, squash=True, interpolation="bicubic"),
            classes=CLASSES,
        )
