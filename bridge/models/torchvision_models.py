"""torchvision's residual networks: ResNet, ResNeXt, Wide ResNet, RegNet, ConvNeXt, ViT."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from typing_extensions import override

from bridge.errors import ConfigError, did_you_mean
from bridge.models.base import Backbone, ModelSpec, Preprocessing
from bridge.models.seeding import drawn


class Torchvision(ModelSpec):
    """A network of torchvision.models. Its blocks are found and checked by one forward pass."""

    kind: Literal["torchvision"] = "torchvision"
    architecture: str
    """A name of torchvision.models: `resnet18`, `resnext50_32x4d`, `wide_resnet50_2`, ..."""
    weights: Path | Literal["pretrained"] | None = None
    """`pretrained` (fetched by torchvision), a checkpoint file, or nothing: untrained."""
    version: str = "DEFAULT"
    """Which pretrained weights: `IMAGENET1K_V1`, `IMAGENET1K_V2`, ..., or torchvision's best."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the model's constructor."""
    image_size: int | None = Field(default=None, gt=0)
    """Pixels of the input's side, where it shall not be the one that the weights were trained with."""

    @override
    def fingerprint(self) -> dict[str, Any]:
        from bridge.hub import versions
        from bridge.models.checkpoints import weights_fingerprint

        path = self.weights if isinstance(self.weights, Path) and not self.untrained else None
        return {**super().fingerprint(), **weights_fingerprint(path), "versions": versions("torchvision")}

    @override
    def to_fetch(self) -> list[tuple[str, int | None]]:
        if self.weights != "pretrained" or self.untrained:
            return []
        from pathlib import PurePosixPath

        import torch
        import torchvision

        try:
            chosen = torchvision.models.get_model_weights(self.architecture)[self.version]
        except (KeyError, ValueError):
            return []  # no such network or weights: building it says so
        name = PurePosixPath(chosen.url).name
        if (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file():
            return []
        return [(name, round(chosen.meta["_file_size"] * 2**20))]

    @override
    def check_reachable(self) -> None:
        if self.to_fetch():
            import torchvision

            from bridge.data.fetching import check_address

            address = torchvision.models.get_model_weights(self.architecture)[self.version].url
            check_address(address, f"The weights of {self.name!r}", "or put the file into torch's hub folder")

    @override
    def build(self) -> Backbone:
        import torch
        import torchvision

        from bridge.hub import fetching
        from bridge.models.checkpoints import load_weights
        from bridge.models.mapping import block_paths, find_maps

        known = torchvision.models.list_models(module=torchvision.models)
        if self.architecture not in known:
            raise ConfigError(
                f"torchvision has no model {self.architecture!r}; {did_you_mean(self.architecture, known)}."
            )
        choices = torchvision.models.get_model_weights(self.architecture)
        if self.version not in choices.__members__:
            raise ConfigError(
                f"{self.architecture} has no weights {self.version!r}; "
                f"{did_you_mean(self.version, choices.__members__)}."
            )
        chosen = choices[self.version]
        given = chosen if self.weights == "pretrained" and not self.untrained else None
        with drawn(self.seed), fetching(f"torchvision's {self.architecture}"):
            module = torchvision.models.get_model(self.architecture, weights=given, **self.options).eval()
        if isinstance(self.weights, Path) and not self.untrained:
            load_weights(module, self.weights, self.name)

        transform = chosen.transforms()
        crop, resize = transform.crop_size[0], transform.resize_size[0]
        size = self.image_size or self.options.get("image_size") or crop
        preprocessing = Preprocessing(
            size=size,
            resize=round(resize * size / crop),
            mean=tuple(transform.mean),
            std=tuple(transform.std),
            interpolation=transform.interpolation.value,
        )
        image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        blocks = find_maps(module, self.name, block_paths(module), lambda: module(image))
        prefix = 1 if hasattr(module, "class_token") else 0
        return Backbone(self.name, module, blocks, preprocessing, prefix=prefix)
