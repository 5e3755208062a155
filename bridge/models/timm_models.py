"""timm's residual networks: ResNets (v1, pre-activation), vision transformers, ConvNeXt, and what else adds."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from typing_extensions import override

from bridge.errors import ConfigError, did_you_mean
from bridge.models.base import Backbone, ModelSpec, Preprocessing
from bridge.models.seeding import drawn

if TYPE_CHECKING:
    from torch import nn


class Timm(ModelSpec):
    """A network of timm: `resnet50.a1_in1k`, `resnetv2_50x1_bit`, `vit_base_patch14_dinov2`, `convnext_tiny`, ...

    Its blocks are found and checked by one forward pass; a network that is no sequence of residual blocks is
    refused. timm itself draws ResNets with their last norm at zero, so that untrained blocks write nothing; here an
    untrained one writes, unless `options: {zero_init_last: true}` is stated.
    """

    kind: Literal["timm"] = "timm"
    architecture: str
    """timm's name of the model, with or without the tag of its weights."""
    weights: Path | Literal["pretrained"] | None = None
    """`pretrained` (fetched by timm), a checkpoint file, or nothing: untrained."""
    revision: str | None = None
    """Commit of the hub repository that the pretrained weights come from; without it, its newest."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of timm.create_model: img_size, depth, ..."""
    image_size: int | None = Field(default=None, gt=0)
    """Pixels of the input's side of a convolutional network, where it shall not be the one of its weights."""

    @override
    def fingerprint(self) -> dict[str, Any]:
        from bridge.hub import versions
        from bridge.models.checkpoints import weights_fingerprint

        path = self.weights if isinstance(self.weights, Path) and self._has_weights else None
        drawn_as = {} if self._has_weights else {"zero_init_last": self.options.get("zero_init_last", False)}
        return {**super().fingerprint(), **weights_fingerprint(path), **drawn_as, "versions": versions("timm")}

    @property
    def _has_weights(self) -> bool:
        """Whether weights replace those that are drawn."""
        return self.weights is not None and not self.untrained

    @override
    def to_fetch(self) -> list[tuple[str, int | None]]:
        if self.weights != "pretrained" or self.untrained:
            return []
        import timm

        from bridge.hub import to_fetch

        # Where nothing is named, building it says what is wrong, or fetches from elsewhere.
        return to_fetch(_repository_of(timm.get_pretrained_cfg(self.architecture)))

    @override
    def build(self) -> Backbone:
        import torch

        from bridge.models.checkpoints import load_weights
        from bridge.models.mapping import block_paths, find_maps

        module = self._module().eval()
        if isinstance(self.weights, Path) and not self.untrained:
            load_weights(module, self.weights, self.name)
        preprocessing = preprocessing_of(module, self.image_size)
        size = preprocessing.size
        image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        blocks = find_maps(module, self.name, block_paths(module), lambda: module(image))
        grid = getattr(getattr(module, "patch_embed", None), "grid_size", None)
        return Backbone(
            self.name,
            module,
            blocks,
            preprocessing,
            layout="nhwc" if getattr(module, "output_fmt", None) == "NHWC" else "nchw",
            prefix=getattr(module, "num_prefix_tokens", 0),
            grid=None if grid is None else (int(grid[0]), int(grid[1])),
        )

    def _module(self) -> nn.Module:
        import timm

        from bridge.hub import check_reachable, fetching, to_fetch

        base = self.architecture.partition(".")[0]
        if base not in (known := timm.list_models()):
            raise ConfigError(f"timm has no model {self.architecture!r}; {did_you_mean(base, known)}.")
        options = dict(self.options)
        pretrained = self.weights == "pretrained" and not self.untrained
        if pretrained:
            config = timm.get_pretrained_cfg(self.architecture)
            if config is None or not config.has_weights:
                tags = timm.list_pretrained(f"{base}.*") or timm.list_pretrained(f"*{base}*")
                raise ConfigError(f"timm has no weights for {self.architecture!r}; {did_you_mean(base, tags)}.")
            repository = _repository_of(config)
            if self.revision is not None:
                if repository is None:
                    raise ConfigError(
                        f"The weights of {self.architecture} do not come from the hub; leave `revision` out."
                    )
                options["pretrained_cfg_overlay"] = {"hf_hub_id": f"{repository}@{self.revision}"}
            if to_fetch(repository):
                check_reachable(str(repository))  # at once: timm's own request is tried again for a minute
        with fetching(f"timm's {self.architecture}"):
            try:
                with drawn(self.seed):
                    module = timm.create_model(self.architecture, pretrained=pretrained, **options)
                takes = inspect.signature(type(module).__init__).parameters
                if self._has_weights or "zero_init_last" in options or "zero_init_last" not in takes:
                    return module
                with drawn(self.seed):
                    return timm.create_model(self.architecture, zero_init_last=False, **options)
            except (TypeError, ValueError, IndexError, AssertionError) as error:
                raise ConfigError(
                    f"timm's {self.architecture} does not take the options {sorted(self.options)} ({error}); state "
                    "those that it takes."
                ) from error


def _repository_of(config: Any) -> str | None:
    """The hub's repository of pretrained weights, as timm's metadata name it; None where they come from elsewhere."""
    if config is None or not config.hf_hub_id:
        return None
    repository = str(config.hf_hub_id)
    if repository.endswith("/"):
        repository += f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
    return repository


def preprocessing_of(module: nn.Module, image_size: int | None = None) -> Preprocessing:
    """timm's evaluation transform of a model, as its metadata states it (timm.data.resolve_model_data_config)."""
    import timm.data

    config = timm.data.resolve_model_data_config(module)
    embedding_size = getattr(getattr(module, "patch_embed", None), "img_size", None)
    size = int(embedding_size[0]) if embedding_size else image_size or int(config["input_size"][-1])
    squash = config["crop_mode"] == "squash"
    known = ("nearest", "bilinear", "bicubic", "lanczos")
    return Preprocessing(
        size=size,
        resize=math.floor(size / config["crop_pct"]),
        squash=squash,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"] if config["interpolation"] in known else "bilinear",
    )
