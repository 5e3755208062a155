"""Networks that a verdict is about: trained copies that differ by seed, their plain twins, their untrained copies."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from bridge.errors import ConfigError, did_you_mean
from bridge.spec import Spec

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from comparisons.config import Config


class Network(Spec):
    """One architecture under test, by names of the config's models."""

    name: str
    """Name that the verdict bears."""
    trained: Annotated[list[str], Field(min_length=1)]
    """The trained network; or several that differ by their seed alone."""
    plain: list[str] = []
    """The same layers without skips, trained the same way."""
    untrained: list[str] = []
    """The same network with weights as they are drawn."""

    @property
    def members(self) -> list[str]:
        """All models of it, each once."""
        return list(dict.fromkeys([*self.trained, *self.plain, *self.untrained]))


def networks_of(config: Config, given: Sequence[Network] | None) -> list[Network]:
    """The networks to judge: those that were given, else every trained model, with all untrained ones as its copies.

    Raises ConfigError for a model that does not exist, a name that stands twice, and where there is nothing to judge.
    """
    known = [model.name for model in config.models]
    if given is None:
        by_role = {role: [m.name for m in config.models if m.shown_as == role] for role in ("trained", "untrained")}
        if not by_role["trained"]:
            raise ConfigError("networks: the config has no trained model; name the networks to judge.")
        return [Network(name=name, trained=[name], untrained=by_role["untrained"]) for name in by_role["trained"]]
    names = [network.name for network in given]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"networks: two of them are named {twice[0]!r}; give each a name of its own.")
    for network in given:
        for name in network.members:
            if name not in known:
                raise ConfigError(f"networks: {network.name} names the model {name!r}; {did_you_mean(name, known)}.")
    return list(given)


def model_of(config: Config, name: str) -> ModelSpec:
    """The model of this name, which the config has."""
    return next(model for model in config.models if model.name == name)


def names_codes(glob: str, name: str) -> bool:
    """Whether a glob names a dictionary SITE/NAME: by all of it, or by NAME where it has no slash."""
    return fnmatch(name if "/" in glob else name.split("/")[1], glob)
