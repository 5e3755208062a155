"""How a model of a config is made again without this project: by its library, or by a file that goes with it."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from bridge.models.base import Backbone

PACKAGES = {"torch", "torchvision", "numpy", "timm", "transformers", "PIL", "einops"}
"""What a network's own file may import, besides the standard library."""


@dataclass(frozen=True)
class Made:
    """What `plugin/backbone.py` makes a network from."""

    library: str
    """torchvision, timm, transformers, or network.py: a file of the plugin."""
    architecture: str
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: dict[str, Any] | None = None
    """Where the library gets the weights; None where they go with the plugin."""
    attention: str | None = None
    source: Path | None = None
    """The file that becomes network.py."""
    requirements: tuple[str, ...] = ()
    """Distributions to install besides torch."""

    def as_json(self) -> dict[str, Any]:
        """The part of submission.json."""
        return {
            "library": self.library,
            "architecture": self.architecture,
            "options": self.options,
            "pretrained": self.pretrained,
            "attention": self.attention,
        }


def check_kind(spec: ModelSpec) -> None:
    """Raise ConfigError for a kind of model that cannot be made without this project."""
    from bridge.models.cifar_resnet import CifarResNet
    from bridge.models.custom import Custom
    from bridge.models.demo import DemoNetwork
    from bridge.models.huggingface_vision import HuggingFaceVision
    from bridge.models.timm_models import Timm
    from bridge.models.torchvision_models import Torchvision

    if isinstance(spec, HuggingFaceVision) and spec.backend != "hooks":
        raise ConfigError(f"The model {spec.name!r} cannot be exported with TransformerLens; use `backend: hooks`.")
    if not isinstance(spec, Torchvision | Timm | HuggingFaceVision | CifarResNet | DemoNetwork | Custom):
        raise ConfigError(
            f"The model {spec.name!r} (kind {getattr(spec, 'kind', '?')}) cannot be exported: a submission has to make "
            "its network from images without this project; give a vision network."
        )


def made_of(spec: ModelSpec, backbone: Backbone) -> Made:
    """How the network of a spec is made. Raises ConfigError for networks that cannot be made without this project."""
    from bridge.models.cifar_resnet import CifarResNet
    from bridge.models.demo import NETWORKS, DemoNetwork
    from bridge.models.huggingface_vision import HuggingFaceVision
    from bridge.models.timm_models import Timm
    from bridge.models.torchvision_models import Torchvision

    check_kind(spec)
    # Weights that were pruned, drawn or read from a file go with the plugin; a library's own come from the library.
    own = spec.untrained or spec.prune is not None or getattr(spec, "weights", None) != "pretrained"
    if isinstance(spec, Torchvision):
        return _torchvision(spec, backbone, own)
    if isinstance(spec, Timm):
        return _timm(spec, own)
    if isinstance(spec, HuggingFaceVision):
        return _transformers(spec, backbone, own)
    if isinstance(spec, CifarResNet):
        from bridge.models.networks import cifar_resnet

        return Made("network.py", "ResNet", {"blocks_a_stage": (spec.depth - 2) // 6}, source=_file(cifar_resnet))
    if isinstance(spec, DemoNetwork):
        from bridge.models.networks import demo

        made = ("ViT", {}) if spec.network == "vit" else ("Residual", NETWORKS[spec.network])
        return Made("network.py", *made, source=_file(demo))
    return _custom(spec)


def _torchvision(spec: Any, backbone: Backbone, own: bool) -> Made:
    import torchvision

    options = dict(spec.options)
    pretrained = None
    if not own:
        chosen = torchvision.models.get_model_weights(spec.architecture)[spec.version]
        pretrained = {"url": chosen.url}
        options["num_classes"] = len(chosen.meta["categories"])
        if (size := getattr(backbone.module, "image_size", None)) is not None:
            options["image_size"] = int(size)
    return Made("torchvision", spec.architecture, options, pretrained)


def _timm(spec: Any, own: bool) -> Made:
    import timm

    from bridge.hub import commit_of

    if own:
        base = spec.architecture.partition(".")[0]
        return Made("timm", base, dict(spec.options), requirements=("timm",))
    config: Any = timm.get_pretrained_cfg(spec.architecture)
    if not config.hf_hub_id:  # fetched from elsewhere: they go with the plugin
        return Made("timm", spec.architecture.partition(".")[0], dict(spec.options), requirements=("timm",))
    repository = str(config.hf_hub_id)
    if repository.endswith("/"):
        repository += f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
    pretrained = {"repository": repository, "revision": commit_of(repository, spec.revision)}
    return Made("timm", spec.architecture, dict(spec.options), pretrained, requirements=("timm",))


def _transformers(spec: Any, backbone: Backbone, own: bool) -> Made:
    from bridge.hub import commit_of, is_local

    config: Any = backbone.module.config
    options = {key: value for key, value in config.to_dict().items() if key not in LEFT_OUT}
    pretrained = None
    if not own and not is_local(spec.model):
        pretrained = {"repository": spec.model, "revision": commit_of(spec.model, spec.revision)}
    kind = type(backbone.module).__name__
    return Made("transformers", kind, options, pretrained, spec.attention, requirements=("transformers",))


LEFT_OUT = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")
"""Entries of a transformers configuration that say where it comes from, not what it is."""


def _custom(spec: Any) -> Made:
    """A network of the user's own file, which must stand alone."""
    import importlib

    module, _, attribute = spec.module.rpartition(".")
    source = _file(importlib.import_module(module))
    if strangers := sorted(imported(source) - PACKAGES - sys.stdlib_module_names):
        raise ConfigError(
            f"{spec.module} imports {', '.join(strangers)}, which Brain-Score's machines do not have; put the network "
            f"into one file that imports no more than {', '.join(sorted(PACKAGES))}."
        )
    found = tuple(sorted(imported(source) & {"timm", "transformers", "einops"}))
    return Made("network.py", attribute, dict(spec.options), source=source, requirements=found)


def imported(source: Path) -> set[str]:
    """The top-level names that a Python file imports; '.' for its own package."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else str(node.module).partition(".")[0])
    return found


def _file(module: Any) -> Path:
    return Path(inspect.getfile(module))
