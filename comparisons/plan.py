"""From a config to a graph of stages.

A stage is a plain function from artefacts to an artefact, named by the hash of what it depends on. The graph is known
before anything heavy runs: `--dry-run`, progress, reuse and any executor stand on it.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import InputError
from bridge.store import Store, digest, source_hash, write_atomically
from bridge.streams import Site

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from bridge.stimuli import StimulusSet
    from comparisons.config import Config

Progress = Callable[[float], None]
"""Told by a stage how much of it is done, 0 to 1."""
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

    @property
    def key(self) -> str:
        """The artefact's name in the store: kind/digest."""
        return f"{self.kind}/{digest(self.inputs)}"


@dataclass
class Plan:
    """Stages in an order in which each stands after what it needs; `results` are those that hold results."""

    stages: dict[str, Stage] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """A hash of all that the run computes: equal digests mean equal numbers."""
        return digest([self.stages[name].key for name in self.results])


class Planner:
    """Collects the stages of a config; comparisons add theirs through it."""

    def __init__(self, config: Config, store: Store):
        self.config = config
        self.store = store
        self.plan = Plan()
        self._stimuli: StimulusSet | None = None

    def add(
        self,
        id: str,
        kind: str,
        inputs: Mapping[str, Any],
        build: Build,
        *,
        needs: tuple[str, ...] = (),
        libraries: tuple[str, ...] = (),
        code: tuple[str, ...] = (),
        resumable: bool = False,
    ) -> str:
        """Add a stage unless it is there; its id.

        `libraries` are distributions, `code` modules and packages of this project, that what is computed depends on
        besides the inputs. Raises KeyError for an unknown need.
        """
        if id not in self.plan.stages:
            complete = {
                **inputs,
                "needs": [self.plan.stages[name].key for name in needs],
                "versions": {name: importlib.metadata.version(name) for name in libraries},
                "code": {name: source_hash(name) for name in code},
            }
            self.plan.stages[id] = Stage(id, kind, complete, needs, build, resumable)
        return id

    @property
    def stimuli(self) -> StimulusSet:
        """The config's stimuli, loaded once (images stay lazy)."""
        if self._stimuli is None:
            self._stimuli = self.config.stimuli.load()
            if not len(self._stimuli):
                raise InputError(f"Stimulus set {self._stimuli.name!r} is empty; give at least one stimulus.")
        return self._stimuli

    def sites(self, model: ModelSpec) -> dict[str, Site]:
        """The sites of a model in the order of a forward pass; measured once, then read from the store."""

        def build(folder: Path) -> None:
            sites = model.load().sites
            write_atomically(folder / "sites.json", json.dumps([site.as_json() for site in sites.values()]))

        inputs = {"model": model.fingerprint(), "code": [source_hash("bridge.models"), source_hash("bridge.streams")]}
        path = self.store.obtain("sites", inputs, build)
        sites = [Site.from_json(values) for values in json.loads((path / "sites.json").read_text())]
        return {site.name: site for site in sites}

    def capture(self, model: ModelSpec, sites: list[str]) -> str:
        """A stage that reads some sites of a model for all stimuli; its artefact is an activations folder."""
        spec = self.config.capture
        planner = self

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from bridge.activations import capture

            capture(
                model.load(),
                planner.stimuli,
                sites,
                folder,
                tokens=spec.tokens,
                dtype=spec.dtype,
                batch_size=spec.batch_size,
                device=spec.resolved_device(),
                compute=spec.compute,
                workers=spec.workers,
                seed=planner.config.seed,
                progress=lambda done, total: progress(done / total),
            )

        inputs = {
            "model": model.fingerprint(),
            "stimuli": self.config.stimuli.fingerprint(),
            "sites": sites,
            "tokens": spec.tokens,
            "dtype": spec.dtype,
            "compute": spec.compute,
            "seed": self.config.seed if isinstance(spec.tokens, int) else None,
        }
        code = ("bridge.models", "bridge.streams", "bridge.stimuli", "bridge.activations", "bridge.shards")
        return self.add(
            f"capture {model.name}", "activations", inputs, build, libraries=("torch",), code=code, resumable=True
        )


def make_plan(config: Config, store: Store) -> Plan:
    """The graph of stages of a config.

    Raises ConfigError and InputError for whatever can be known to fail before anything is computed.
    """
    planner = Planner(config, store)
    for comparison in config.comparisons:
        planner.plan.results += comparison.add_stages(planner)
    return planner.plan
