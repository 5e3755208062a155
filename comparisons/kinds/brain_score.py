"""`kind: brain-score`: every chosen site of every model on Brain-Score's benchmarks, by both sides."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from bridge.errors import ConfigError
from bridge.stimuli import AnyStimuli
from bridge.store import write_atomically
from comparisons.features import Features, Pool, site_features
from comparisons.kinds.base import ComparisonSpec
from comparisons.responses import add_responses, comparable

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from bridge.stimuli.base import StimulusSpec
    from comparisons.brainscore.benchmarks import Ready
    from comparisons.plan import Planner, Progress

CODE = (__name__, "comparisons.brainscore.stages")
LIBRARIES = ("numpy", "scipy", "scikit-learn", "brainscore-vision", "brainscore-core", "xarray")


class BrainScoreComparison(ComparisonSpec):
    """Scores on Brain-Score's benchmarks (Schrimpf et al. 2018): registered ones by name, and own recordings as such.

    Every number is computed twice: by Brain-Score's own classes and by this project's encoding, which knows `pls`,
    `ridge`, `ridgecv`, `neuron_to_neuron`, `reverse_pls` and `rdm`; other benchmarks by Brain-Score's classes alone.
    """

    kind: Literal["brain-score"] = "brain-score"
    benchmarks: list[str] = []
    """Identifiers that Brain-Score registers, such as `MajajHong2015public.IT-pls`: their images and recordings are
    fetched through it."""
    recordings: list[str] | None = None
    """Names of the config's recordings to make benchmarks of; where left out all of them, or none if `benchmarks` are
    named."""
    regions: list[str] | None = None
    """Regions of these recordings; all where left out."""
    metrics: Annotated[list[Literal["pls", "ridge", "neuron_to_neuron", "rdm"]], Field(min_length=1)] = ["pls"]
    """Brain-Score's metrics for these recordings."""
    stratify: str | None = None
    """Column of the stimulus table that these recordings' splits are balanced by, such as `object_name`."""
    sites: Annotated[list[str], Field(min_length=1)] = ["stem", "blocks.*.hook_resid_post"]
    """Globs over site names; SITE/NAME are the codes of a dictionary."""
    pool: Pool = "none"
    """What becomes of a site's tokens: all are features (as in Brain-Score), or their mean or maximum is."""
    degrees: Annotated[float, Field(gt=0)] | None = None
    """Width of the models' field in degrees, onto which registered benchmarks' images are placed as Brain-Score does
    (submissions state 8); where left out, images stay as they are."""
    theirs: Literal["all", "best", "none"] = "all"
    """Where Brain-Score's own classes are run, which take minutes a site on thousands of stimuli: at all sites, at the
    best of each model's stream and of each dictionary by the fast scores, or nowhere."""
    scores: list[Literal["r", "r^2/c", "(r/c)^2"]] = ["r^2/c"]
    """Which of its numbers stand in the figures: the raw score, Brain-Score's normalisation since December 2025, and
    the one before. The table has all."""
    memory: Annotated[float, Field(gt=0)] = 8.0
    """Most GiB that scoring one site may take, predicted before it is computed."""
    over: Literal["stop", "mean", "max", "select"] = "mean"
    """What becomes of features that would take more, at all sites alike: stop, the mean or maximum over tokens, or the
    features with the greatest variance over other images."""
    selection: AnyStimuli | None = None
    """The images on which `over: select` chooses; none of the benchmark's may be among them. Registered benchmarks take
    the config's stimuli where this is left out."""
    wrong: Literal["stop", "leave out"] = "stop"
    """What to do with a site whose features cannot be scored (of lower rank than pls has components, constant for a
    stimulus in rdm): stop before anything is scored, or leave it out and say so."""

    @model_validator(mode="after")
    def _something(self) -> BrainScoreComparison:
        if self.recordings is not None and not self.recordings and not self.benchmarks:
            raise ValueError("names neither benchmarks nor recordings; name one")
        if len(set(self.benchmarks)) < len(self.benchmarks):
            raise ValueError("benchmarks names one twice")
        return self

    @override
    def check_reachable(self) -> None:
        from bridge.brainscore import check_benchmarks_reachable

        if self.benchmarks:
            check_benchmarks_reachable(self.benchmarks)

    @override
    def add_stages(self, planner: Planner) -> list[str]:
        from bridge.brainscore import check_registered
        from comparisons.brainscore.registered import ShownStimuli, family

        for name in self.benchmarks:
            check_registered("benchmark", name)
        same = [other for other in planner.config.comparisons if isinstance(other, BrainScoreComparison)]
        title = "brain-score" if self not in same or not same.index(self) else f"brain-score {same.index(self) + 1}"
        found: list[str] = []
        if self.recordings is not None or not self.benchmarks:
            if self.over == "select" and self.selection is None:
                raise ConfigError("selection: is needed for `over: select` where own recordings are scored.")
            _, left_out = comparable(planner.config, title, self.recordings)
            brain = add_responses(planner, title, self.recordings)
            found += self._add_group(planner, title, "own", (), planner.config.stimuli, brain, left_out)
        families: dict[str, list[str]] = {}
        for name in self.benchmarks:
            families.setdefault(family(name), []).append(name)
        for group, names in families.items():
            shown = ShownStimuli(name=group, benchmarks=tuple(names), degrees=self.degrees)
            found += self._add_group(planner, title, group, tuple(names), shown, None, ())
        return found

    def _add_group(
        self,
        planner: Planner,
        title: str,
        group: str,
        names: Sequence[str],
        shown: StimulusSpec,
        brain: str | None,
        left_out: Sequence[str],
    ) -> list[str]:
        """Benchmarks of the same images: one stage that looks at them before anything is captured, and one a model."""
        config = planner.config
        chosen_on = (self.selection or config.stimuli) if self.over == "select" else None
        needs = () if brain is None else (brain,)

        def load(needed: Mapping[str, Path]) -> list[Ready]:
            from comparisons.brainscore.benchmarks import of_names, own
            from comparisons.responses import load_responses

            if brain is None:
                return list(of_names(names))
            found = load_responses(needed[brain])
            return list(own(found, planner.stimuli, self.regions, self.metrics, self.stratify))

        def look(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.brainscore.registered import checked_disjoint
            from comparisons.brainscore.stages import looked_at

            sites = {model.name: planner.chosen(model, plain) for model in config.models} if plain else {}
            about = looked_at(load(needed), sites, config.capture.tokens, self)
            if chosen_on is not None:
                checked_disjoint(planner.stimuli if brain is not None else shown.load(), chosen_on.load())
            write_atomically(folder / "benchmarks.json", json.dumps(about))

        plain = [pattern for pattern in self.sites if "/" not in pattern]
        settings = self.content()
        for key in ("recordings", "models", "benchmarks"):
            settings.pop(key)
        inputs = {
            **settings,
            "benchmarks": list(names),
            "stimuli": shown.fingerprint(),
            "chosen on": None if chosen_on is None else chosen_on.fingerprint(),
            "tokens": config.capture.tokens,
            "left_out": list(left_out),
        }
        models = {"models": [model.fingerprint() for model in config.models]}
        looking = planner.add(
            f"{title} benchmarks {group}", "benchmarks", {**inputs, **models}, look, needs=needs, libraries=LIBRARIES,
            code=CODE,
        )  # fmt: skip
        given = None if brain is not None else shown
        found: list[str] = []
        for model in config.models:
            features = site_features(planner, model, self.sites, given)
            others = None if chosen_on is None else site_features(planner, model, self.sites, chosen_on)
            stage = self._add_model(
                planner, f"{title} {group} {model.name}", model, inputs, features, others, chosen_on, load, left_out,
                (looking, *needs),
            )  # fmt: skip
            found.append(stage)
        return found

    def _add_model(
        self,
        planner: Planner,
        name: str,
        model: ModelSpec,
        inputs: Mapping[str, Any],
        features: Features,
        others: Features | None,
        chosen_on: StimulusSpec | None,
        load: Any,
        left_out: Sequence[str],
        before: tuple[str, ...],
    ) -> str:
        """All sites of one model on the benchmarks of one group."""

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.brainscore.stages import Asked, score_model

            asked = Asked(self, model.name, model.shown_as, features, others, chosen_on, needed, planner.config.seed)
            content = score_model(asked, load(needed), progress)
            content["dropped"] = [*left_out, *content["dropped"]]
            write_atomically(folder / "results.json", json.dumps(content, allow_nan=False))

        more = {"sites": list(features.sites), "model": [model.name, model.shown_as], "seed": planner.config.seed}
        needs = (*before, *features.needs, *(others.needs if others is not None else ()))
        return planner.add(
            name, "brain-score", {**inputs, **more}, build, needs=tuple(dict.fromkeys(needs)), libraries=LIBRARIES,
            code=CODE,
        )  # fmt: skip
