"""Vision transformers of Hugging Face transformers: ViT, DeiT, DINOv2, the image towers of CLIP and SigLIP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from bridge.errors import ConfigError, InputError
from bridge.models.base import Backbone, ModelSpec, Preprocessing
from bridge.models.seeding import drawn

if TYPE_CHECKING:
    from torch import nn

# Two-tower models: the image tower's own class and configuration.
TOWERS = {
    "clip": "CLIPVisionModel",
    "clip_vision_model": "CLIPVisionModel",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
}
RESAMPLING: dict[int, Literal["nearest", "lanczos", "bilinear", "bicubic"]] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}


class HuggingFaceVision(ModelSpec):
    """A vision transformer from the hub, from a local folder, or drawn from a configuration.

    With sdpa (the library's choice where a model has it) and eager attention values differ by rounding (about 1e-6 in
    float32); the TransformerLens backend forces eager.
    """

    kind: Literal["hf-vision"] = "hf-vision"
    model: str | None = None
    """A hub repository (`facebook/dinov2-base`) or a local folder with config.json."""
    revision: str | None = None
    """Branch, tag or commit of the repository; its commit becomes part of the model's identity."""
    architecture: str | None = None
    """Instead of `model`: a model type of transformers (`vit`, `deit`, `dinov2`, `clip_vision_model`), drawn anew."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Fields of the configuration that differ from its defaults (sizes, number of layers)."""
    weights: Path | Literal["pretrained"] | None = "pretrained"
    """`pretrained` (those of `model`), a checkpoint file, or nothing: untrained."""
    attention: Literal["sdpa", "eager"] | None = None
    """Which implementation of attention runs; without it, the library's choice."""
    backend: Literal["hooks", "transformer-lens"] = "hooks"
    """Plain hooks, or the same through a TransformerLens bridge (ViT and DeiT only)."""

    @model_validator(mode="after")
    def _one_source(self) -> HuggingFaceVision:
        if (self.model is None) == (self.architecture is None):
            raise ValueError("state either `model` (a repository or folder) or `architecture` (drawn anew)")
        return self

    @override
    def fingerprint(self) -> dict[str, Any]:
        from bridge.hub import source_fingerprint, versions
        from bridge.models.checkpoints import weights_fingerprint

        path = self.weights if isinstance(self.weights, Path) and not self.untrained else None
        packages = ["transformers"] + (["transformer-lens"] if self.backend == "transformer-lens" else [])
        return {
            **super().fingerprint(),
            **source_fingerprint(self.model, self.revision),
            **weights_fingerprint(path),
            "versions": versions(*packages),
        }

    @override
    def to_fetch(self) -> list[tuple[str, int | None]]:
        from bridge.hub import to_fetch

        return to_fetch(self.model) if self.weights == "pretrained" and not self.untrained else []

    @override
    def build(self) -> Backbone:
        import torch

        from bridge.models.checkpoints import load_weights
        from bridge.models.mapping import find_maps

        commit = _commit(self.model, self.revision)
        module, config = self._module(commit)
        if isinstance(self.weights, Path) and not self.untrained:
            load_weights(module, self.weights, self.name)
        module.eval()
        preprocessing = self._preprocessing(commit, config)
        prefix = prefix_tokens(module)
        paths = layer_paths(module)
        if self.backend == "transformer-lens":
            module = bridged(module, self.name)
            paths = [f"blocks.{index}" for index in range(len(paths))]
        size = preprocessing.size
        image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        blocks = find_maps(module, self.name, paths, lambda: module(image))
        return Backbone(self.name, module, blocks, preprocessing, layout="btc", prefix=prefix)

    def _module(self, commit: str | None) -> tuple[nn.Module, Any]:
        import transformers

        from bridge.hub import fetching

        attention = "eager" if self.backend == "transformer-lens" else self.attention
        if self.model is None:
            config = configuration(self.architecture or "", self.options)
        else:
            with fetching(self.model):
                config = transformers.AutoConfig.from_pretrained(self.model, revision=commit, **self.options)
        tower = TOWERS.get(config.model_type)
        config = getattr(config, "vision_config", config) if tower else config
        maker = getattr(transformers, tower) if tower else transformers.AutoModel
        source = self.model if self.weights == "pretrained" and not self.untrained else None
        with drawn(self.seed):
            return made(maker, config, source, commit, attention), config

    def _preprocessing(self, commit: str | None, config: Any) -> Preprocessing:
        """That of preprocessor_config.json; without one the image is squashed to the input and scaled to [-1, 1]."""
        from bridge.hub import fetched_file

        stated = getattr(config, "image_size", 224)
        size = stated if isinstance(stated, int) else stated[0]
        path = fetched_file(self.model, commit, "preprocessor_config.json") if self.model is not None else None
        if path is None:
            return Preprocessing(size=size, squash=True, mean=(0.5,) * 3, std=(0.5,) * 3)
        return preprocessing_from(json.loads(path.read_text()), self.name)


def _commit(model: str | None, revision: str | None) -> str | None:
    from bridge.hub import commit_of, is_local

    return None if model is None or is_local(model) else commit_of(model, revision)


def configuration(model_type: str, options: dict[str, Any]) -> Any:
    """A transformers configuration of a model type. Raises ConfigError for an unknown type."""
    import transformers

    from bridge.errors import did_you_mean

    if model_type not in transformers.CONFIG_MAPPING:
        raise ConfigError(
            f"transformers has no model type {model_type!r}; {did_you_mean(model_type, transformers.CONFIG_MAPPING)}."
        )
    return transformers.AutoConfig.for_model(model_type, **options)


def made(maker: Any, config: Any, source: str | None, commit: str | None, attention: str | None) -> nn.Module:
    """A transformers model of `config`: with the weights of `source` (repository or folder), or drawn anew.

    `maker` is an auto class or a model class. Raises ConfigError for an implementation of attention that the model
    does not have, and what `fetching` raises.
    """
    from bridge.hub import fetching

    chosen = {} if attention is None else {"attn_implementation": attention}
    try:
        if source is None:
            from_config = getattr(maker, "from_config", None) or maker._from_config
            return from_config(config, **chosen)
        with fetching(source):
            return maker.from_pretrained(source, revision=commit, config=config, **chosen)
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"transformers cannot make a {config.model_type!r} network as asked ({str(error).splitlines()[0][:200]}); "
            "state another `attention`, or a model of this family."
        ) from error


def preprocessing_from(stated: dict[str, Any], name: str) -> Preprocessing:
    """The preprocessing that a preprocessor_config.json states.

    Raises InputError for one that does not make a square image, or scales by other than 1/255.
    """
    size = stated.get("size", 224)
    sides = size if isinstance(size, dict) else {"height": size, "width": size}
    crop = stated.get("crop_size") if stated.get("do_center_crop", False) else None
    cropped = crop["height"] if isinstance(crop, dict) else crop
    squash = "shortest_edge" not in sides and not (isinstance(size, int) and cropped is not None)
    target = sides.get("shortest_edge", sides.get("height"))
    final = cropped or target
    scale = stated.get("rescale_factor", 1 / 255)
    if final is None or (cropped is None and not squash) or abs(scale * 255 - 1) > 1e-3:
        raise InputError(
            f"The preprocessor_config.json of {name} makes no square image in [0, 1]; state a model that does, or use "
            "`kind: custom` with its own preprocessing."
        )
    normalise = stated.get("do_normalize", True)
    return Preprocessing(
        size=int(final),
        resize=int(target) if target else None,
        squash=squash,
        mean=tuple(stated.get("image_mean", (0.5,) * 3)) if normalise else (0.0,) * 3,
        std=tuple(stated.get("image_std", (0.5,) * 3)) if normalise else (1.0,) * 3,
        interpolation=RESAMPLING.get(stated.get("resample", 2), "bilinear"),
    )


def prefix_tokens(module: nn.Module) -> int:
    """How many class, distillation and register tokens stand before the patches."""
    count = 0
    for name, parameter in module.named_parameters():
        last = name.rpartition(".")[2]
        if last in ("cls_token", "class_embedding", "distillation_token"):
            count += 1
        elif last == "register_tokens":
            count += parameter.shape[-2]
    return count


def layer_paths(module: nn.Module) -> list[str]:
    """The layers of a transformers model: the entries of its first list of modules that are called layers."""
    from torch import nn

    for path, child in module.named_modules():
        if isinstance(child, nn.ModuleList) and len(child) and type(child[0]).__name__.endswith(("Layer", "Block")):
            return [f"{path}.{index}" for index in range(len(child))]
    return []


def bridged(module: nn.Module, name: str, tokenizer: Any = None) -> nn.Module:
    """A transformers model inside a TransformerLens bridge, which wraps it in place and computes the same.

    Raises ConfigError for an architecture that TransformerLens has no adapter for.
    """
    from transformer_lens.model_bridge import TransformerBridge

    config: Any = module.config
    config.architectures = [type(module).__name__]
    try:
        # A bridge without a tokenizer fetches one, and one that it is given it loads again to its own taste: it gets
        # a stand-in, since texts are tokenised before they come here.
        bridge = TransformerBridge.boot_transformers(name, hf_model=module, device="cpu", tokenizer=_stand_in())
    except ValueError as error:
        raise ConfigError(
            f"TransformerLens has no bridge for {type(module).__name__}; use `backend: hooks`, which needs none."
        ) from error
    bridge.tokenizer = tokenizer
    return bridge.eval()


def _stand_in() -> Any:
    """The smallest tokenizer that there can be."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    return PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="?", eos_token="?", pad_token="?")
