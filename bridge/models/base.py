"""A backbone: a network, how images are prepared for it, and the map of its residual stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bridge.spec import Spec
from bridge.streams import BlockMap, Kind, Site

if TYPE_CHECKING:
    import torch
    from torch import nn

Layout = Literal["nchw", "nhwc", "btc"]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """From a uint8 RGB image to a network's input.

    The shorter side is brought to `resize` pixels (both sides, if `squash`), the middle `size` x `size` is taken,
    values go to [0, 1], then (value - mean) / std per channel.
    """

    size: int
    resize: int | None = None
    squash: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """One image, uint8 [height, width, 3], to float32 [3, size, size]."""
        from PIL import Image

        target = self.resize or self.size
        height, width = image.shape[:2]
        scale = target / min(height, width)
        new = (target, target) if self.squash else (round(width * scale), round(height * scale))
        if new != (width, height):
            method = Image.Resampling[self.interpolation.upper()]
            image = np.asarray(Image.fromarray(image).resize(new, method))
        top, left = (image.shape[0] - self.size) // 2, (image.shape[1] - self.size) // 2
        image = image[top : top + self.size, left : left + self.size]
        values = (image.astype(np.float32) / 255 - np.float32(self.mean)) / np.float32(self.std)
        return np.ascontiguousarray(values.transpose(2, 0, 1))


class ModelSpec(Spec):
    """What every model of a config states; a family adds its own fields and a literal `kind`."""

    name: str
    """The name under which the model appears in results and figures."""
    role: Literal["trained", "untrained", "control"] = "trained"
    """How tables and figures set the model apart; it changes nothing that is computed."""

    def fingerprint(self) -> dict[str, Any]:
        """Everything that the network's values depend on, as JSON: the spec without its display name and role, the sha256
        of weight files, versions of the libraries that build it. Must not import torch: a finished run is
        recognised by it.

        Raises InputError when a weight file is missing.
        """
        content = self.content()
        del content["name"], content["role"]
        return content

    def load(self) -> Backbone:
        """The network in evaluation mode on the CPU. Raises InputError for weights of another architecture."""
        raise NotImplementedError


@dataclass
class Backbone:
    """A network whose residual stream can be read.

    `layout` says how a stream tensor lies in memory: nchw or nhwc (grids), btc (token sequences, of which the first
    `prefix` are class or register tokens). `degrees` is the visual angle that the input is taken to span.
    `stem_width` etc. are not stated: sites are measured by one forward pass of a blank input.
    """

    name: str
    module: nn.Module
    blocks: list[BlockMap]
    preprocessing: Preprocessing | None
    layout: Layout = "nchw"
    prefix: int = 0
    degrees: float = 8.0
    example: Any = None
    classes: tuple[str, ...] = field(default=())

    def forward(self, inputs: Any) -> Any:
        """One pass over a prepared batch: a tensor, or keyword arguments (language models)."""
        return self.module(**inputs) if isinstance(inputs, dict) else self.module(inputs)

    def prepare(self, images: list[np.ndarray]) -> torch.Tensor:
        """A batch of uint8 images to the network's input, float32 [batch, 3, size, size]."""
        import torch

        if self.preprocessing is None:
            raise TypeError(f"{self.name} has no image preprocessing")
        return torch.from_numpy(np.stack([self.preprocessing(image) for image in images]))

    def to_tokens(self, value: torch.Tensor) -> torch.Tensor:
        """A stream tensor as [batch, tokens, d]: a view, never a copy."""
        if value.ndim == 3:
            return value
        return value.flatten(2).transpose(1, 2) if self.layout == "nchw" else value.flatten(1, 2)

    def from_tokens(self, tokens: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """[batch, tokens, d] back in the layout of `like`."""
        if like.ndim == 3:
            return tokens
        if self.layout == "nchw":
            return tokens.transpose(1, 2).unflatten(2, tuple(like.shape[2:]))
        return tokens.unflatten(1, tuple(like.shape[1:3]))

    @cached_property
    def sites(self) -> dict[str, Site]:
        """All sites of the stream by name, in the order in which a forward pass reaches them."""
        return measure_sites(self)


def kinds_of(block: BlockMap) -> tuple[Kind, ...]:
    """The kinds of site that a block has, in the order in which a forward pass reaches them."""
    kinds: list[Kind] = ["resid_pre"]
    if block.attn is not None:
        kinds += ["attn_out", "resid_mid"]
    if block.mlp is not None:
        kinds += ["mlp_out"]
    kinds += ["write", "skip"]
    if block.act:
        kinds += ["resid_post_preact"]
    return (*kinds, "resid_post")


def measure_sites(backbone: Backbone) -> dict[str, Site]:
    """Read every block's input and output once, on a blank input, for widths and token layouts."""
    import torch

    shapes: dict[tuple[int, str], tuple[int, ...]] = {}
    handles = []
    modules = dict(backbone.module.named_modules())

    def note(key: tuple[int, str]) -> Any:
        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            value = args[0] if args else next(iter(kwargs.values()))
            shapes[key] = tuple((value[0] if isinstance(value, tuple) else value).shape)

        return hook

    def note_output(key: tuple[int, str]) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            shapes[key] = tuple((output[0] if isinstance(output, tuple) else output).shape)

        return hook

    for index, block in enumerate(backbone.blocks):
        handles.append(modules[block.module].register_forward_pre_hook(note((index, "pre")), with_kwargs=True))
        handles.append(modules[block.module].register_forward_hook(note_output((index, "post"))))
    try:
        with torch.inference_mode():
            backbone.forward(backbone.example if backbone.example is not None else _blank(backbone))
    finally:
        for handle in handles:
            handle.remove()

    sites: dict[str, Site] = {}
    basis = "stem"
    for index, block in enumerate(backbone.blocks):
        before = basis
        if block.projected or shapes[index, "pre"] != shapes[index, "post"]:
            basis = f"from block {index}"
        kinds = kinds_of(block)
        if basis == before:
            kinds = (*kinds, "delta")
        for kind in kinds:
            shape = shapes[index, "pre" if kind == "resid_pre" else "post"]
            width, tokens, grid = _layout(backbone, shape)
            name = f"blocks.{index}.hook_{kind}"
            sites[name] = Site(
                name=name,
                kind=kind,
                block=index,
                stage=block.stage,
                depth=(index + (kind != "resid_pre")) / len(backbone.blocks),
                width=width,
                tokens=tokens,
                grid=grid,
                prefix=backbone.prefix if len(shape) == 3 else 0,
                basis=before if kind == "resid_pre" else basis,
            )
    return sites


def _blank(backbone: Backbone) -> torch.Tensor:
    import torch

    assert backbone.preprocessing is not None
    like = next(backbone.module.parameters())
    size = backbone.preprocessing.size
    return torch.zeros(1, 3, size, size, dtype=like.dtype, device=like.device)


def _layout(backbone: Backbone, shape: tuple[int, ...]) -> tuple[int, int, tuple[int, int] | None]:
    """Width, number of tokens and grid of a stream tensor of this shape."""
    if len(shape) == 4:
        height, width, d = (shape[2], shape[3], shape[1]) if backbone.layout == "nchw" else shape[1:]
        return d, height * width, (height, width)
    patches = shape[1] - backbone.prefix
    side = round(patches**0.5)
    grid = (side, side) if backbone.preprocessing is not None and side * side == patches else None
    return shape[2], shape[1], grid
