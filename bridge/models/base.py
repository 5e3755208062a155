"""A backbone: a network, how images are prepared for it, and the map of its residual stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from bridge.errors import ConfigError, InputError
from bridge.models.controls import prune_weights
from bridge.models.measure import measure_sites
from bridge.spec import Seed, Spec
from bridge.streams import BlockMap, Site, TapLayer

if TYPE_CHECKING:
    import torch
    from torch import nn

Layout = Literal["nchw", "nhwc", "btc"]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """From a uint8 RGB image to a network's input, as torchvision's evaluation transforms do it.

    The shorter side is brought to `resize` pixels (both sides, if `squash`), the middle `size` x `size` is taken,
    values go to [0, 1], then (value - mean) / std per channel. Sizes and crops are rounded as torchvision's Resize
    and CenterCrop round them.
    """

    size: int
    resize: int | None = None
    squash: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """One image, uint8 [height, width, 3], to float32 [3, size, size]. Raises InputError for any other array."""
        from PIL import Image

        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError(
                f"An image of type {image.dtype} and shape {list(image.shape)} was given; expected uint8 [height, "
                "width, 3]: scale values to 0-255, and repeat grey in three channels."
            )

        target = self.resize or self.size
        height, width = image.shape[:2]
        short = min(height, width)
        new = (target, target) if self.squash else (int(target * width / short), int(target * height / short))
        if new != (width, height):
            method = Image.Resampling[self.interpolation.upper()]
            image = np.asarray(Image.fromarray(image).resize(new, method))
        top, left = round((image.shape[0] - self.size) / 2), round((image.shape[1] - self.size) / 2)
        image = image[top : top + self.size, left : left + self.size]
        # Every value that a channel can have is computed once: five times faster than the arithmetic on the image.
        values = np.empty((3, *image.shape[:2]), np.float32)
        for channel, table in enumerate(self._tables):
            np.take(table, image[:, :, channel], out=values[channel], mode="clip")
        return values

    @cached_property
    def _tables(self) -> np.ndarray:
        """(value / 255 - mean) / std of every uint8, float32 [3, 256]."""
        values = np.arange(256, dtype=np.float32) / 255
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return (values - mean[:, None]) / std[:, None]


Role = Literal["trained", "untrained", "control"]


class Prune(Spec):
    """Weights set to zero: a control for what the size and the pattern of the weights alone bring.

    All `weight` tensors of convolutions and linear layers compete in one ranking (biases, norms and embeddings are
    left alone), as in torch.nn.utils.prune.global_unstructured.
    """

    fraction: float = Field(gt=0, lt=1)
    """Share of the weights that are set to zero."""
    how: Literal["magnitude", "random"] = "magnitude"
    """The smallest absolute values, or values drawn at random."""
    seed: Seed = 0
    """Seed of the random choice."""


class ModelSpec(Spec):
    """What every model of a config states; a family adds its own fields, a literal `kind`, and `build`."""

    name: str
    """The name under which the model appears in results and figures."""
    role: Role | None = None
    """How tables and figures set the model apart; by default untrained, else control if pruned, else trained."""
    degrees: float = Field(default=8.0, gt=0)
    """Visual angle that the network's input is taken to span."""
    untrained: bool = False
    """The same network with weights drawn anew (by `seed`): the weights that the model names are not loaded."""
    seed: Seed = 0
    """Seed of weights that are drawn, not loaded."""
    prune: Prune | None = None
    """Set a share of the weights to zero."""

    def fingerprint(self) -> dict[str, Any]:
        """Everything that the network's values depend on, as JSON: the spec without its display name and role, the
        sha256 of weight files, versions of the libraries that build it. Must not import torch: a finished run is
        recognised by it.

        Raises InputError when a weight file is missing.
        """
        content = self.content()
        del content["name"], content["role"]
        return content

    def to_fetch(self) -> list[tuple[str, int | None]]:
        """What `load` would fetch, each with its bytes where they are known; asks nobody."""
        return []

    def check_reachable(self) -> None:
        """Raise UnreachableError when weights have to be fetched and cannot be; `to_fetch` names the hub's
        repositories, unless a family says otherwise. Fetches nothing; for `--dry-run`."""
        for repository, _ in self.to_fetch():
            from bridge.hub import check_reachable

            check_reachable(repository)

    @property
    def shown_as(self) -> Role:
        """The role: the given one, else what the controls say. It changes nothing that is computed."""
        drawn_anew = self.untrained or getattr(self, "weights", True) is None
        return self.role or ("untrained" if drawn_anew else "control" if self.prune else "trained")

    def build(self) -> Backbone:
        """The network in evaluation mode on the CPU, before controls. Raises InputError for weights of another
        architecture, UnreachableError for weights that cannot be fetched."""
        raise NotImplementedError

    def load(self) -> Backbone:
        """The network with its controls, in evaluation mode on the CPU. Raises what `build` raises."""
        backbone = self.build()
        backbone.module.eval()
        backbone.degrees = self.degrees
        if self.prune is not None:
            prune_weights(backbone.module, self.prune.fraction, self.prune.how, self.prune.seed)
        return backbone


@dataclass
class Backbone:
    """A network whose residual stream can be read.

    `layout` says how a stream tensor lies in memory: nchw or nhwc (grids), btc (token sequences, of which the first
    `prefix` are class or register tokens; the others form `grid`, row by row, square unless stated). `degrees` is
    the visual angle that the input is taken to span. Widths and numbers of tokens are not stated: sites are measured
    by one forward pass of seeded noise (or of `example`, if the input is not an image).

    Networks for texts have a `tokenizer` instead of `preprocessing`: from texts to the keyword arguments of the
    network, among them `attention_mask`, padded on the right to one length.
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
    grid: tuple[int, int] | None = None
    tokenizer: Callable[[list[str]], dict[str, torch.Tensor]] | None = None
    ids_argument: str = "input_ids"
    """What the network's forward calls its token ids."""
    layers: list[TapLayer] = field(default_factory=list, repr=False, compare=False)
    """The taps that are on now, outermost first (see bridge.streams.tapped)."""
    handles: list[Any] = field(default_factory=list, repr=False, compare=False)
    """The hooks that are on now."""

    def forward(self, inputs: Any) -> Any:
        """One pass over a prepared batch: a tensor, or keyword arguments (language models)."""
        if not isinstance(inputs, dict):
            return self.module(inputs)
        return self.module(**{self.ids_argument if key == "input_ids" else key: inputs[key] for key in inputs})

    def prepare(self, images: list[np.ndarray]) -> torch.Tensor:
        """A batch of uint8 images to the network's input, float32 [batch, 3, size, size].

        Raises ConfigError for a network that reads texts, InputError for images of another type or shape.
        """
        import torch

        if self.preprocessing is None:
            raise ConfigError(f"{self.name} reads texts, not images; give it stimuli with a column `text`.")
        return torch.from_numpy(np.stack([self.preprocessing(image) for image in images]))

    def prepare_texts(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """A batch of texts to the network's input: input_ids and attention_mask, int64 [batch, tokens], padded on
        the right to the same number of tokens in every batch.

        Raises ConfigError for a network that reads images, InputError for a text that is empty or too long.
        """
        if self.tokenizer is None:
            why = "has no tokenizer; name one with `tokenizer`" if self.reads_texts else "reads images, not texts"
            raise ConfigError(f"{self.name} {why}.")
        return self.tokenizer(texts)

    def token_mask(self, inputs: Any) -> torch.Tensor | None:
        """Which tokens of a prepared batch are real, bool [batch, tokens]; None where all are (images)."""
        return inputs["attention_mask"].bool() if isinstance(inputs, dict) and "attention_mask" in inputs else None

    @property
    def reads_texts(self) -> bool:
        """Whether the network's input is the stimuli's column `text` and not their images."""
        return self.preprocessing is None

    def to_tokens(self, value: torch.Tensor) -> torch.Tensor:
        """A stream tensor as [batch, tokens, d]: a view, never a copy."""
        if value.ndim == 3:
            return value
        return value.flatten(2).transpose(1, 2) if self.layout == "nchw" else value.flatten(1, 2)

    def from_tokens(self, tokens: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """[batch, tokens, d] back in the layout of `like`, also in memory (kernels are chosen by strides)."""
        import torch

        if like.ndim == 3:
            return tokens
        if self.layout == "nchw":
            value = tokens.transpose(1, 2).unflatten(2, tuple(like.shape[2:]))
        else:
            value = tokens.unflatten(1, tuple(like.shape[1:3]))
        if like.is_contiguous():
            return value.contiguous()
        if like.is_contiguous(memory_format=torch.channels_last):
            return value.contiguous(memory_format=torch.channels_last)
        return value

    @cached_property
    def sites(self) -> dict[str, Site]:
        """All sites of the stream by name, in the order in which a forward pass reaches them.

        Raises ConfigError where the map of a block contradicts what the network computes.
        """
        return measure_sites(self)
