"""From a config to a graph of stages.

A stage is a plain function from artefacts to an artefact, named by the hash of what it depends on. The graph is known
before anything heavy runs: `--dry-run`, progress, reuse and any executor stand on it.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bridge.errors import ConfigError, InputError, UserError, did_you_mean
from bridge.sources import source_hash
from bridge.store import Store, digest, write_atomically
from bridge.streams import Site, match_sites
from comparisons.predicting.sizes import Cost, Size, captured

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from bridge.stimuli import StimulusSet
    from bridge.stimuli.base import StimulusSpec
    from bridge.tokens import TokenChoice
    from comparisons.config import Config
    from saes.logs import Log


class Progress(Protocol):
    """Told by a stage how much of it is done, 0 to 1, and in a few words how it stands."""

    def __call__(self, share: float, text: str = "", /) -> None:
        """`share` is done; `text` stands beside it, where there is room."""
        ...


Build = Callable[[Path, Mapping[str, Path], Progress], None]
"""(folder to fill, artefacts of the needed stages by id, progress) -> nothing."""


@dataclass(frozen=True)
class Stage:
    """One step. `id` is unique in the plan and readable; `inputs` (JSON) is everything that its content depends on.

    The keys of the stages that it `needs` are part of `inputs`, so a change anywhere renames all that follows.
    """

    id: str
    kind: str
    inputs: Mapping[str, Any]
    needs: tuple[str, ...]
    build: Build
    resumable: bool = False
    on_device: bool = False
    """Whether it runs or trains a network on the device of `capture.device`: a worker with a GPU is best."""
    size: Callable[[], Size] | None = field(default=None, compare=False)
    """What is known of its size before it runs (may read the stimuli's table); None for kinds of unknown size."""

    @property
    def key(self) -> str:
        """The artefact's name in the store: kind/digest."""
        return f"{self.kind}/{digest(self.inputs)}"


@dataclass(frozen=True)
class Recipe:
    """How a plan is made, in plain values: with it another process makes the same stages. Hashable by content."""

    maker: Literal["make_plan", "plan_training", "plan_capture", "plan_passes"]
    config: str
    """The config's content as JSON."""
    sites: tuple[str, ...] = ()
    """Of `plan_capture`; the passes of `plan_passes`, as JSON."""

    def plan(self, store: Store) -> Plan:
        """The plan. Raises what making it raised the first time."""
        from comparisons.config import parse

        config = parse(json.loads(self.config))
        if self.maker == "plan_capture":
            return plan_capture(config, store, list(self.sites))
        if self.maker == "plan_passes":
            from comparisons.releasing.passes import plan_passes

            return plan_passes(config, store, [json.loads(one) for one in self.sites])
        return make_plan(config, store) if self.maker == "make_plan" else plan_training(config, store)


@dataclass
class Plan:
    """Stages in an order in which each stands after what it needs; `results` are those that hold results."""

    stages: dict[str, Stage] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)
    recipe: Recipe | None = None
    """How other processes make this plan."""
    device: str = "cpu"
    """Where stages that are `on_device` run, as the config says it (auto, cpu, cuda:1)."""
    expected: dict[str, float | None] = field(default_factory=dict)
    """Seconds that were predicted of the stages that are to be made; what a reporter shows of the time left."""

    @property
    def digest(self) -> str:
        """A hash of all that the run computes: equal digests mean equal numbers."""
        return digest([self.stages[name].key for name in self.results])


@dataclass
class _Draft:
    """A stage before all comparisons have said what they need."""

    kind: str
    inputs: Callable[[], Mapping[str, Any]]
    needs: tuple[str, ...]
    build: Build
    resumable: bool
    on_device: bool
    size: Callable[[], Size] | None


class Planner:
    """Collects the stages of a config; comparisons add theirs through it."""

    def __init__(self, config: Config, store: Store, *, shown_only: bool = False):
        self.config = config
        """The config as the comparison that adds stages sees it: with the models that it is about."""
        self.models = {model.name: model for model in config.models}
        """All models of the config, by name."""
        self.store = store
        self.log: Log | None = None
        """Told how trainings stand, besides the reporter; changes nothing that is computed."""
        self._drafts: dict[str, _Draft] = {}
        self._captured: dict[str, set[str]] = {}
        self.features: dict[str, dict[str, Site]] = {}
        """Per model: what comparisons can name besides sites (codes of dictionaries, by SITE/NAME)."""
        self.dictionaries: dict[tuple[str, str], tuple[str, tuple[str, ...], str | None]] = {}
        """By model and SITE/NAME: the stage that makes a dictionary, the sites that it reads, and the one that it
        writes where that is another."""
        self.shown_only = shown_only
        """Whether the plan is only looked at: then no weights are fetched to make it."""
        self._sites: dict[str, dict[str, Site]] = {}
        self._stimuli: StimulusSet | None = None
        self._others: dict[str, StimulusSet] = {}
        self.prefix = ""

    def add(
        self,
        id: str,
        kind: str,
        inputs: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        build: Build,
        *,
        needs: tuple[str, ...] = (),
        libraries: tuple[str, ...] = (),
        code: tuple[str, ...] = (),
        resumable: bool = False,
        shared: bool = False,
        on_device: bool = False,
        size: Callable[[], Size] | None = None,
    ) -> str:
        """Add a stage unless it is there; its id, which tells the comparison it is of unless the stage is `shared`.

        `inputs` (or a function that gives them once the plan is complete) is what the content depends on besides the
        needed stages, the versions of `libraries` (distributions) and the source of `code` (modules and packages of
        this project). Raises KeyError for an unknown need.
        """
        if not shared:
            id = self.prefix + id
        for need in needs:
            self._drafts[need]
        if id not in self._drafts:

            def complete() -> Mapping[str, Any]:
                return {
                    **(inputs() if callable(inputs) else inputs),
                    "versions": {name: importlib.metadata.version(name) for name in libraries},
                    "code": {name: source_hash(name) for name in code},
                }

            self._drafts[id] = _Draft(kind, complete, needs, build, resumable, on_device, size)
        return id

    def finish(self, results: list[str], recipe: Recipe | None = None) -> Plan:
        """The plan of everything that was added."""
        plan = Plan(results=results, recipe=recipe, device=self.config.capture.device)
        for name, draft in self._drafts.items():
            inputs = {**draft.inputs(), "needs": [plan.stages[need].key for need in draft.needs]}
            plan.stages[name] = Stage(
                name, draft.kind, inputs, draft.needs, draft.build, draft.resumable, draft.on_device, draft.size
            )
        return plan

    @property
    def stimuli(self) -> StimulusSet:
        """The config's stimuli, loaded once (images stay lazy)."""
        if self._stimuli is None:
            self._stimuli = self.config.stimuli.load()
            if not len(self._stimuli):
                raise InputError(f"Stimulus set {self._stimuli.name!r} is empty; give at least one stimulus.")
        return self._stimuli

    def number_of(self, spec: StimulusSpec | None = None) -> int | None:
        """How many stimuli there are (the config's, where none are named); None where they would have to be fetched."""
        shown = spec or self.config.stimuli
        return len(self.loaded(shown)) if shown.here() else None

    def loaded(self, spec: StimulusSpec) -> StimulusSet:
        """Any stimuli, loaded once: the config's, or those that a part of it has for itself."""
        if spec == self.config.stimuli:
            return self.stimuli
        key = digest(spec.content())
        if key not in self._others:
            self._others[key] = spec.load()
        return self._others[key]

    def chosen(self, model: ModelSpec, patterns: list[str]) -> dict[str, Site]:
        """The sites of a model that match any of the globs. Raises ConfigError that names the model."""
        sites = self.sites(model)
        try:
            return {name: sites[name] for name in match_sites(patterns, list(sites))}
        except ConfigError as error:
            raise ConfigError(f"sites, model {model.name!r}: {error}") from None

    def sites(self, model: ModelSpec) -> dict[str, Site]:
        """The sites of a model in the order of a forward pass; measured once, then read from the store."""
        if model.name not in self._sites:
            values = self._measured(model, "sites.json")
            self._sites[model.name] = {site.name: site for site in map(Site.from_json, values)}
        return self._sites[model.name]

    def cost(self, model: ModelSpec) -> Cost:
        """What a forward pass of the model takes; measured once, then read from the store."""
        return Cost(**self._measured(model, "cost.json"))

    def _measured(self, model: ModelSpec, name: str) -> Any:
        """A file of what is measured of a model by one pass. A plan that is only shown measures the network as it is
        drawn, so that no weights are fetched for it: sites and sizes are the architecture's."""

        def obtained(spec: ModelSpec) -> Path:
            def build(folder: Path) -> None:
                from bridge.models.cost import counted

                backbone = spec.load()
                write_atomically(folder / "sites.json", json.dumps([one.as_json() for one in backbone.sites.values()]))
                multiplications, parameters = counted(backbone)
                cost = {"multiplications": multiplications, "parameters": parameters}
                write_atomically(folder / "cost.json", json.dumps(cost))

            inputs = {"model": spec.fingerprint(), "code": source_hash("bridge.models")}
            if self.shown_only and spec is model and not self.store.has("sites", inputs):
                with suppress(UserError):
                    return obtained(model.model_copy(update={"untrained": True}))
            return self.store.obtain("sites", inputs, build)

        return json.loads((obtained(model) / name).read_text())

    def capture(
        self,
        model: ModelSpec,
        sites: Iterable[str],
        *,
        stimuli: StimulusSpec | None = None,
        tokens: TokenChoice | None = None,
    ) -> str:
        """A stage that reads sites of a model for all stimuli; its artefact is an activations folder.

        Comparisons that ask for different sites of one model share the stage: one forward pass serves them all. Other
        `stimuli` or `tokens` than the config's make it another stage.
        """
        spec = self.config.capture
        shown, kept = stimuli or self.config.stimuli, spec.tokens if tokens is None else tokens
        name = f"capture {model.name}"
        if shown != self.config.stimuli or kept != spec.tokens:
            name += f" of {shown.name}, {kept} tokens"
        asked = self._captured.setdefault(name, set())
        asked.update(sites)

        def ordered() -> list[str]:
            return [name for name in self.sites(model) if name in asked]

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from bridge.activations import capture

            capture(
                model.load(),
                self.loaded(shown),
                ordered(),
                folder,
                tokens=kept,
                dtype=spec.dtype,
                batch_size=spec.batch_size,
                device=spec.resolved_device(),
                compute=spec.compute,
                workers=spec.workers,
                seed=self.config.seed,
                progress=lambda done, total: progress(done / total),
            )

        def inputs() -> Mapping[str, Any]:
            return {
                "model": model.fingerprint(),
                "stimuli": shown.fingerprint(),
                "sites": ordered(),
                "tokens": kept,
                "dtype": spec.dtype,
                "compute": spec.compute,
                "seed": self.config.seed if isinstance(kept, int) else None,
            }

        def size() -> Size:
            from bridge.tokens import stored_tokens

            places = [self.sites(model)[site] for site in ordered()]
            values = sum(stored_tokens(site, kept) * site.width for site in places)
            number = self.number_of(shown)
            return Size() if number is None else captured(number, values, spec.dtype, self.cost(model))

        code = ("bridge.models", "bridge.stimuli", "bridge.activations")
        return self.add(
            name,
            "activations",
            inputs,
            build,
            libraries=("torch",),
            code=code,
            resumable=True,
            shared=True,
            on_device=True,
            size=size,
        )


def make_plan(config: Config, store: Store, *, shown_only: bool = False) -> Plan:
    """The graph of stages of a config.

    A plan that is `shown_only` fetches no weights to be made.
    Raises ConfigError and InputError for whatever can be known to fail before anything is computed.
    """
    if not config.comparisons:
        other = "; its dictionaries are trained by `ventral sae train` and `ventral sae release`" if config.saes else ""
        raise ConfigError(f"comparisons: is empty; add at least one (such as {{kind: rsa}}){other}.")
    if asking := [one for one in config.comparisons if one.needs_models]:
        need_models(config, f"`kind: {getattr(asking[0], 'kind', '')}` compares networks")
    planner = Planner(config, store, shown_only=shown_only)
    results = add_dictionaries(planner)
    for number, comparison in enumerate(config.comparisons, start=1):
        planner.prefix = f"{number}: " if len(config.comparisons) > 1 else ""
        planner.config = of_models(config, comparison.models)
        results += comparison.add_stages(planner)
    planner.config = config
    return planner.finish(results, _recipe("make_plan", config))


def _recipe(maker: Literal["make_plan", "plan_training", "plan_capture"], config: Config, *sites: str) -> Recipe:
    return Recipe(maker, json.dumps(config.content()), sites)


def of_models(config: Config, names: list[str] | None) -> Config:
    """The config with these models alone (all for None). Raises ConfigError for one that it does not have."""
    if names is None:
        return config
    known = {model.name: model for model in config.models}
    for name in names:
        if name not in known:
            raise ConfigError(f"comparisons: models names {name!r}; {did_you_mean(name, known)}.")
    return config.model_copy(update={"models": [known[name] for name in dict.fromkeys(names)]})


def need_models(config: Config, why: str) -> None:
    """Raises ConfigError, which says `why`, for a config without models."""
    if not config.models:
        raise ConfigError(f"models: is empty, and {why}; add at least one.")


def add_dictionaries(planner: Planner) -> list[str]:
    """Add the stages of the config's dictionaries, and let comparisons name their codes."""
    if not planner.config.saes:
        return []
    from comparisons.dictionaries import add_stages

    return add_stages(planner)


def plan_training(config: Config, store: Store, log: Log | None = None, *, shown_only: bool = False) -> Plan:
    """The graph that only makes the dictionaries of a config. Raises ConfigError where it names none."""
    if not config.saes:
        raise ConfigError("saes: is empty; add at least one (such as {kind: train, name: topk}).")
    need_models(config, "dictionaries are of networks")
    planner = Planner(config, store, shown_only=shown_only)
    planner.log = log
    return planner.finish(add_dictionaries(planner), _recipe("plan_training", config))


def plan_capture(config: Config, store: Store, sites: list[str], *, shown_only: bool = False) -> Plan:
    """The graph that only captures: the sites that match any of the globs, of every model of a config.

    Raises ConfigError for a glob that matches nothing in one of the models.
    """
    need_models(config, "streams are read from networks")
    planner = Planner(config, store, shown_only=shown_only)
    results = [planner.capture(model, planner.chosen(model, sites)) for model in config.models]
    return planner.finish(results, _recipe("plan_capture", config, *sites))
