"""A user's own network: any function that makes a torch module, with its checkpoint and the map of its blocks."""

from __future__ import annotations

import fnmatch
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from typing_extensions import override

from bridge.errors import ConfigError, InputError, UserError
from bridge.models.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, Layout, ModelSpec, Preprocessing
from bridge.models.seeding import drawn
from bridge.spec import Spec
from bridge.streams import BlockMap

if TYPE_CHECKING:
    from torch import nn


class BlockSpec(Spec):
    """One residual block by the paths of its modules (see bridge.streams.BlockMap)."""

    module: str
    """The block: its first input is the incoming stream, its output the outgoing one."""
    stage: int = 1
    """Stage of the network that it belongs to, from 1."""
    write: str | None = None
    """What the block adds; without it, output minus input."""
    skip: str | None = None
    """What it passes on; without it, its input."""
    attn: str | None = None
    """A transformer's attention branch as it is added."""
    mlp: str | None = None
    """A transformer's MLP branch as it is added."""
    parallel: bool = False
    """Whether attention and MLP both read the block's input."""
    act: bool = False
    """Whether a non-linearity follows the sum."""
    plain: bool = False
    """Whether nothing is skipped: the output is the write."""
    projected: bool = False
    """Whether the skip changes the basis."""


class PreprocessingSpec(Spec):
    """From an image to the network's input (see bridge.models.Preprocessing)."""

    size: int = Field(gt=0)
    """Pixels of the input's side."""
    resize: int | None = Field(default=None, gt=0)
    """Pixels that the shorter side is brought to before the middle is taken; without it, `size`."""
    squash: bool = False
    """Bring both sides to `resize`, instead of keeping the proportions."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted from each channel in [0, 1]."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Each channel is divided by it."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    """How images are resized."""


class Custom(ModelSpec):
    """A network that `module` makes: an importable `package.attribute`, called with `options`.

    Its own code runs, as with any import. Its blocks are stated, or given as a glob of module paths
    (`layers.*`), whose parts are then found by arithmetic. Either way they are checked by a forward pass.
    """

    kind: Literal["custom"] = "custom"
    module: str
    """`package.module.attribute` of a class or function that returns a torch module."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments that it is called with."""
    weights: Path | None = None
    """A checkpoint file (safetensors, or a torch file of tensors alone), or nothing: untrained."""
    preprocessing: PreprocessingSpec
    """How images become the network's input."""
    blocks: tuple[BlockSpec, ...] | str
    """The residual blocks in their order, or a glob of their module paths."""
    layout: Layout = "nchw"
    """How a stream tensor of four dimensions lies: channels first (nchw) or last (nhwc); btc for sequences."""
    prefix: int = Field(default=0, ge=0)
    """Number of class or register tokens before the patches."""

    @override
    def fingerprint(self) -> dict[str, Any]:
        from bridge.hub import versions
        from bridge.models.checkpoints import weights_fingerprint
        from bridge.store import file_sha256

        source = _source_file(self.module)
        return {
            **super().fingerprint(),
            **weights_fingerprint(None if self.untrained else self.weights),
            "source": file_sha256(source) if source is not None else None,
            "versions": versions("torch"),
        }

    @override
    def build(self) -> Backbone:
        import torch

        from bridge.models.checkpoints import load_weights
        from bridge.models.mapping import find_maps

        make = _attribute(self.module)
        try:
            inspect.signature(make).bind(**self.options)
        except TypeError as error:
            raise ConfigError(
                f"{self.module} does not take the options {sorted(self.options)} ({error}); state those that it takes."
            ) from error
        except ValueError:
            pass  # it does not tell what it takes
        with drawn(self.seed):
            try:
                module = make(**self.options)
            except (Exception, SystemExit) as error:
                raise _failed(self.module, error) from error
        if not isinstance(module, torch.nn.Module):
            raise ConfigError(f"{self.module} gives a {type(module).__name__}; name what returns a torch.nn.Module.")
        module.eval()
        if self.weights is not None and not self.untrained:
            load_weights(module, self.weights, self.name)
        preprocessing = Preprocessing(**self.preprocessing.model_dump())
        if isinstance(self.blocks, str):
            size = preprocessing.size
            image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
            blocks = find_maps(module, self.name, self._matched(module, self.blocks), lambda: module(image))
        else:
            blocks = [BlockMap(**block.model_dump()) for block in self.blocks]
            self._check(module, blocks)
        return Backbone(self.name, module, blocks, preprocessing, layout=self.layout, prefix=self.prefix)

    def _matched(self, module: nn.Module, glob: str) -> list[str]:
        """The modules that a glob names, `*` standing for no dot: `layers.*` are the layers, not their parts."""
        depth = glob.count(".")
        paths = [
            path for path, _ in module.named_modules() if path.count(".") == depth and fnmatch.fnmatchcase(path, glob)
        ]
        if not paths:
            raise ConfigError(_no_module(self.module, glob, module))
        return paths

    def _check(self, module: nn.Module, blocks: list[BlockMap]) -> None:
        known = dict(module.named_modules())
        for block in blocks:
            for path in (block.module, block.write, block.skip, block.attn, block.mlp):
                if path is not None and path not in known:
                    raise ConfigError(_no_module(self.module, path, module))


def _no_module(maker: str, path: str, module: nn.Module) -> str:
    from bridge.errors import did_you_mean

    return (
        f"{maker} has no module {path!r}; {did_you_mean(path, [name for name, _ in module.named_modules() if name])}."
    )


def _look_in_working_folder() -> None:
    """Let a file of the working folder be imported, after everything installed: a command's own path lacks it."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def _attribute(path: str) -> Callable[..., Any]:
    """What `package.module.attribute` names. Raises ConfigError where it cannot be imported or is no callable."""
    package, _, attribute = path.rpartition(".")
    _look_in_working_folder()
    try:
        value = getattr(importlib.import_module(package), attribute) if package else None
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{path!r} cannot be imported ({error}); state `module: package.attribute` of an installed package, or of "
            "a file in the working folder or on PYTHONPATH."
        ) from error
    except (Exception, SystemExit) as error:
        raise _failed(path, error) from error
    if not callable(value):
        raise ConfigError(f"{path!r} is nothing that can be called; state `module: package.attribute` of a function.")
    return value


def _failed(path: str, error: BaseException) -> UserError:
    """What the user's own code raised, in one sentence with the place in it; a sentence of this project's as it is."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, SyntaxError):
        place = f"{Path(error.filename or path).name}, line {error.lineno}"
    else:
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) != Path(__file__)
        ]
        own = [frame for frame in frames if "site-packages" not in frame.filename and "importlib" not in frame.filename]
        last = (own or frames)[-1:]
        place = f"{Path(last[0].filename).name}, line {last[0].lineno}" if last else path
    said = " ".join(str(error).split())[:200]
    return ConfigError(f"{path} fails ({place}: {type(error).__name__}{f': {said}' if said else ''}); mend it.")


def _source_file(path: str) -> Path | None:
    """The file that defines a module, found without importing it; None where it cannot be told."""
    parts = path.split(".")[:-1]
    if not parts:
        return None
    _look_in_working_folder()
    spec = importlib.util.find_spec(parts[0])
    if spec is None:
        raise InputError(
            f"{path!r} cannot be imported: there is no package {parts[0]!r}; install it, or run where its file is."
        )
    if len(parts) == 1 or not spec.submodule_search_locations:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations:
        base = Path(folder).joinpath(*parts[1:])
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None
