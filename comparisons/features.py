"""Where comparisons get a model's features: which there are, and what each gives for the stimuli of a run.

Besides its sites a model has the codes of dictionaries at sites, named SITE/NAME (`comparisons.codes`).

A comparison asks `site_features` for the sites that its globs name, adds `needs` to its own stage, and reads rows
with `Features.read`, by stimulus id. It never opens an artefact of features itself. So whatever else can stand for a
site is added here: one more stage in `stages`, and its way of reading in `Features.read`, which may give a scipy
sparse matrix (RDMs, kernels and reweighted RSA take either).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bridge.errors import ConfigError, did_you_mean
from bridge.streams import Site

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from bridge.models import ModelSpec
    from bridge.stimuli.base import StimulusSpec
    from comparisons.plan import Planner

Pool = Literal["none", "mean", "max"]


@dataclass(frozen=True)
class Features:
    """A model's features: the `sites` that they are of, by `Site.name` in the order of a forward pass, and the id of
    the stage whose artefact holds each, by the same names."""

    sites: dict[str, Site]
    stages: dict[str, str]

    def groups(self) -> dict[str | None, list[str]]:
        """The names of the stream's own sites (under None), and of the codes of each dictionary."""
        found: dict[str | None, list[str]] = {}
        for name in self.sites:
            found.setdefault(parted(name)[1], []).append(name)
        return found

    @property
    def needs(self) -> tuple[str, ...]:
        """The ids of all stages to wait for, each once."""
        return tuple(dict.fromkeys(self.stages.values()))

    def read(
        self, needed: Mapping[str, Path], name: str, ids: Sequence[str], pool: Pool = "none"
    ) -> np.ndarray | csr_array:
        """The features `name` of the stimuli `ids`, [n, feature], from the artefacts of the needed stages by id.

        All tokens' values are features, or their mean or maximum over tokens is. Raises InputError for unknown ids or
        a damaged artefact.
        """
        if "/" in name:
            from comparisons.codes import read_codes

            return read_codes(needed[self.stages[name]], name, ids, pool)
        from bridge.activations import Activations

        found = Activations(needed[self.stages[name]])
        if pool == "none" or not len(ids):
            return pooled(found.read(name, ids), pool)
        # Some stimuli at a time: all tokens of all of them may be far more than fits in memory.
        parts = (pooled(found.read(name, ids[start : start + 64]), pool) for start in range(0, len(ids), 64))
        return np.concatenate(list(parts))

    def size(self, needed: Mapping[str, Path], name: str) -> tuple[int, int]:
        """(tokens that were kept, values of each) of the features `name`."""
        if "/" in name:
            from comparisons.codes import codes_size

            return codes_size(needed[self.stages[name]])
        from bridge.activations import Activations

        return Activations(needed[self.stages[name]]).shape(name)[1:]


def site_features(
    planner: Planner, model: ModelSpec, patterns: list[str], stimuli: StimulusSpec | None = None
) -> Features:
    """The sites and codes of a model that match any of the globs, with the stages that make them added to the plan.

    They are of the config's stimuli, or of other `stimuli`. A glob with a slash names codes. Those that are another
    model's are passed over. Raises ConfigError for a glob that matches nothing in this model (codes: in any model).
    """
    plain = [pattern for pattern in patterns if "/" not in pattern]
    sites = planner.chosen(model, plain) if plain else {}
    stages = dict.fromkeys(sites, planner.capture(model, list(sites), stimuli=stimuli)) if sites else {}
    of_codes = [re.sub("^stem/", "blocks.0.hook_resid_pre/", pattern) for pattern in patterns if "/" in pattern]
    everywhere = list(dict.fromkeys(name for found in planner.features.values() for name in found))
    for pattern in of_codes:
        if not fnmatch.filter(everywhere, pattern):
            raise ConfigError(
                f"sites: no codes match {pattern!r}; "
                + (did_you_mean(pattern, everywhere) if everywhere else "the config has no `saes`")
                + "."
            )
    for name, site in planner.features.get(model.name, {}).items():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in of_codes):
            from comparisons.codes import codes_stage

            sites[name], stages[name] = site, codes_stage(planner, model, name, stimuli)
    return Features(sites, stages)


def parted(name: str) -> tuple[str, str | None]:
    """The site of features by name, and the dictionary whose codes they are; None for the stream itself."""
    site, _, dictionary = name.partition("/")
    return site, dictionary or None


def labelled(model: str, name: str) -> dict[str, str | None]:
    """How a result names its features: the codes of a dictionary stand beside the stream as a model of their own."""
    site, dictionary = parted(name)
    return {
        "model": model if dictionary is None else f"{model} · {dictionary}",
        "site": site,
        "dictionary": dictionary,
    }


def pooled(values: np.ndarray, pool: Pool) -> np.ndarray:
    """A site's [n, tokens, d] as features [n, tokens * d] (`none`), or the mean or max over tokens [n, d]."""
    if pool == "none":
        return values.reshape(len(values), -1)
    return values.mean(axis=1) if pool == "mean" else values.max(axis=1)
