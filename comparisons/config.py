"""The config of a run: composed from the parts that each floor owns, read from YAML, with errors a person can use.

name: my_study
stimuli: {kind: folder, path: images}
models:
  - {name: trained, kind: cifar-resnet, depth: 20, weights: pretrained}
recordings:
  - {kind: dataset, name: algonauts2019_92}
comparisons:
  - {kind: rsa, sites: ["blocks.*.hook_resid_post"]}
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator

from bridge.devices import usable
from bridge.errors import ConfigError, InputError, did_you_mean, where_and_why
from bridge.models import AnyModel
from bridge.not_yaml import NOT_YAML
from bridge.recordings import AnyRecordings
from bridge.spec import Seed, Spec, tagged_union
from bridge.spec_errors import validated
from bridge.stimuli import AnyStimuli
from comparisons.brainscore.submission import Submission
from comparisons.executors.base import ExecutorSpec
from comparisons.executors.local import LocalExecutor
from comparisons.kinds.base import ComparisonSpec
from comparisons.releasing.spec import Release
from comparisons.shipped import shipped
from saes.specs import AnySAE, SAESpec

if TYPE_CHECKING:
    AnyComparison = ComparisonSpec
    AnyExecutor = ExecutorSpec
else:
    AnyComparison = tagged_union("comparisons.kinds", ComparisonSpec)
    AnyExecutor = tagged_union("comparisons.executors", ExecutorSpec)


class CaptureSpec(Spec):
    """How activations are read and kept."""

    tokens: Literal["all", "patches", "class", "mean", "last"] | Annotated[int, Field(ge=1)] = "all"
    """Which tokens of a site are kept: all; patches (no class or register tokens); the class token; their mean; the
    last of a text; or a number of patches drawn with the run's seed."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Precision on disk."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Images a forward pass; halved, with a notice, when memory runs out."""
    compute: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward pass (bfloat16: autocast, where the processor has it)."""
    workers: Annotated[int, Field(ge=0)] = 2
    """Threads that draw or decode images beside the network; 0 for none."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """`auto` (CUDA where there is one, else the CPU), `cpu`, `cuda`, `cuda:1`."""

    def resolved_device(self) -> str:
        """The device that computes, by name. Raises ConfigError for one that this machine does not have."""
        return usable(self.device)


class Config(Spec):
    """One run: stimuli, models, recordings, and what shall be compared."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Name of the run and of its folder: letters, digits, '.', '_' and '-', 100 characters at most."""
    title: str = ""
    """Title of the report."""
    question: str = ""
    """What the run asks, in a sentence or two; the report opens with it."""
    seed: Seed = 0
    """Seed of every draw that has no seed of its own."""
    stimuli: AnyStimuli
    """The images (or texts) that the models see; recordings are aligned to them by stimulus id."""
    models: list[AnyModel] = []
    """The networks, with their controls; most comparisons need one."""
    saes: list[AnySAE] = []
    """Sparse dictionaries of the models' streams; comparisons name their codes by SITE/NAME."""
    recordings: list[AnyRecordings] = []
    """The recordings to compare with."""
    capture: CaptureSpec = CaptureSpec()
    """Tokens, precision and batches of what is read from the models."""
    comparisons: list[AnyComparison] = []
    """What shall be computed (not needed by `ventral capture`)."""
    submission: Submission | None = None
    """What `ventral brain-score export` makes of the models and dictionaries; no comparison reads it."""
    release: Release | None = None
    """What `ventral sae release` demands of the dictionaries before it publishes them; no comparison reads it."""
    executor: AnyExecutor = LocalExecutor()
    """Who computes it: this process, some beside it, or a cluster. The numbers do not depend on it."""

    def content(self) -> dict[str, Any]:
        """The config as plain values, without what the numbers do not depend on: who computes them."""
        return self.model_dump(mode="json", exclude={"executor"})

    @field_validator("executor", mode="before")
    @classmethod
    def _here_where_not_said(cls, given: Any) -> Any:
        """`--set executor.workers=4` alone means this machine."""
        return {"kind": "local", **given} if isinstance(given, dict) else given

    @field_validator("models", "recordings", "saes")
    @classmethod
    def _unique_names(cls, parts: list[Any]) -> list[Any]:
        names = [name for part in parts for name in (part.names() if isinstance(part, SAESpec) else [part.name])]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two of them are named {twice[0]!r}; give each a name of its own")
        return parts


__all__ = ["CaptureSpec", "Config", "find", "load", "parse", "shipped"]


# --------------------------------------------------------------------------------------------- reading a config


def find(given: str) -> Path:
    """The file that a user means: a path, else the name of a shipped config. Raises InputError for neither."""
    path = Path(given)
    if os.path.isfile(path):  # false also for names that no file can have
        return path
    names = shipped()
    key = path.name.removesuffix(".yaml")
    if key in names and path.name == given:
        return names[key]
    inside = [str(one) for one in (path.glob("*.yaml") if os.path.isdir(path) else ())]
    if inside:
        raise InputError(f"{given} is a folder, not a config; give a file in it: {', '.join(sorted(inside)[:8])}.")
    raise InputError(
        f"There is no config {given[:80]!r}; {did_you_mean(key, names)} (or give the path of a YAML file)."
    )


def load(given: str, overrides: Sequence[str] = ()) -> Config:
    """Read a config by path or shipped name and apply `key.path=value` overrides.

    Relative paths in the config stand as they are: they are read from the working folder.
    Raises InputError for a missing or unreadable file and ConfigError, one sentence a field, for what is not valid.
    """
    path = find(given)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (*NOT_YAML, OSError) as error:
        raise ConfigError(f"{path} is not readable YAML{where_and_why(error)}; mend it.") from error
    if not isinstance(content, dict):
        held = "is empty" if content is None else f"holds {type(content).__name__}, not a table of settings"
        raise ConfigError(f"{path} {held}; see `ventral configs`, or `ventral init` for one to begin with.")
    for override in overrides:
        _override(content, override)
    return parse(content)


class _Loader(yaml.SafeLoader):
    """Plain values only, and no key twice in one table: the second would win without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1 and key != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse(content: Mapping[str, Any]) -> Config:
    """A config from plain values. Raises ConfigError that names the field, the value given and what is allowed."""
    return validated(Config, content)


def _override(content: dict[str, Any], text: str) -> None:
    """Apply one `key.path=value`; list items are addressed by number, values are YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set was given {text!r}; expected key.path=value, such as seed=1 or models.0.seed=2.")
    *parents, last = key.split(".")
    if not all([*parents, last]):
        raise ConfigError(f"--set was given {text!r}, whose path has an empty step; expected key.path=value.")
    place: Any = content
    for step in parents:
        if isinstance(place, list) and step.isdecimal() and int(step) < len(place):
            place = place[int(step)]
        elif isinstance(place, list):
            raise ConfigError(f"--set {key}: {step!r} is none of a list of {len(place)} items, numbered from 0.")
        elif isinstance(place, dict):
            place = place.setdefault(step, {})
        else:
            raise ConfigError(f"--set {key}: there is nothing at {step!r} to set.")
    try:
        parsed = yaml.safe_load(value)
    except NOT_YAML as error:
        raise ConfigError(f"--set {key}: {value[:80]!r} is not a YAML value.") from error
    if isinstance(place, list):
        if not last.isdecimal() or int(last) >= len(place):
            raise ConfigError(f"--set {key}: the list has {len(place)} items, numbered from 0.")
        place[int(last)] = parsed
    elif isinstance(place, dict):
        place[last] = parsed
    else:
        raise ConfigError(f"--set {key}: {'.'.join(parents)} is a single value, not a table.")
