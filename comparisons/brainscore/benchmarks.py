"""Benchmarks ready to be scored, own and registered alike: Brain-Score's object, and what of it is computed here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.brainscore import paper
from bridge.errors import ConfigError, InputError, did_you_mean
from comparisons.brainscore import registered
from comparisons.brainscore.known import Known, known, not_plain
from comparisons.brainscore.ours import fast_ceiling
from comparisons.brainscore.own import benchmark_of, ceiling_trials, complete
from comparisons.brainscore.theirs import told

if TYPE_CHECKING:
    from bridge.recordings.recordings import Recordings
    from bridge.stimuli.stimulus_set import StimulusSet


@dataclass
class Ready:
    """One benchmark, whose ceilings are computed when they are first asked for, once."""

    identifier: str
    benchmark: Any
    metric: str
    recordings: str
    simulated: bool = False
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    citation: str = ""
    subjects: int = 1
    own: bool = False
    """Whether it is of own recordings: its stimuli are then named by their ids alone."""
    of: Known | str = field(init=False)
    """What is computed here, or why nothing is."""

    def __post_init__(self) -> None:
        self.of = known(self.benchmark)

    @property
    def known(self) -> Known | None:
        """What is computed here; None where only Brain-Score's classes can."""
        return self.of if isinstance(self.of, Known) else None

    @property
    def region(self) -> str:
        """The region; several in one are named together."""
        found = getattr(self.benchmark, "region", None) or getattr(self.benchmark, "parent", None)
        return str(found or self.identifier)

    @property
    def shape(self) -> tuple[int, int]:
        """(stimuli, neuroids) in all."""
        if self.known is not None:
            return self.known.responses.shape  # type: ignore[return-value]
        shown = {str(stimuli.identifier): len(stimuli) for stimuli, _ in registered.stimulus_sets(self.benchmark)}
        sizes = [one.sizes for one in registered.assemblies(self.benchmark)]
        return sum(shown.values()), max((int(size.get("neuroid", 0)) for size in sizes), default=0)

    @property
    def bins(self) -> int:
        """How many time bins its responses have."""
        return max((int(one.sizes.get("time_bin", 1)) for one in registered.assemblies(self.benchmark)), default=1)

    @property
    def form(self) -> str:
        """How the benchmark divides the raw score by its ceiling."""
        if self.known is not None:
            return self.known.form
        from brainscore_vision.benchmark_helpers.neural_common import NeuralBenchmark

        return "r^2/c" if type(self.benchmark).__call__ is NeuralBenchmark.__call__ else "its own"

    @cached_property
    def ceiling(self) -> float:
        """Brain-Score's ceiling. It is then kept with the benchmark, which would ask for it at every score."""
        with told(self.identifier, "its ceiling"):
            found = self.benchmark.ceiling
        self.benchmark._ceiling_func = lambda *_: found
        return float(np.squeeze(found.values))

    @cached_property
    def fast_ceiling(self) -> float:
        """The same ceiling by this project; NaN where its repetitions are not known."""
        return float("nan") if self.known is None else fast_ceiling(self.known)


def own(
    found: Sequence[Recordings],
    stimuli: StimulusSet,
    regions: Sequence[str] | None,
    metrics: Sequence[str],
    stratify: str | None,
) -> Iterator[Ready]:
    """A benchmark for each recordings, region (of `regions`, default all) and metric, in that order.

    Neuroids that lack a stimulus are left out and told. Raises ConfigError for a region that no recordings have.
    """
    everywhere = [region for one in found for region in one.regions]
    for region in regions or ():
        if region not in everywhere:
            raise ConfigError(f"regions: no recordings have {region!r}; {did_you_mean(region, everywhere)}.")
    for one in found:
        for region in one.regions if regions is None else [name for name in regions if name in one.regions]:
            here = complete(one.region(region))
            note = ceiling_trials(here)[1]
            for metric in metrics:
                benchmark = benchmark_of(here, region, metric, stimuli=stimuli, stratify=stratify)
                yield Ready(
                    str(benchmark.identifier),
                    benchmark,
                    metric,
                    one.name,
                    simulated=one.simulated,
                    notes=(note,) if note else (),
                    dropped=here.dropped,
                    citation=one.citation,
                    subjects=int(here.neuroids["subject"].nunique()),
                    own=True,
                )


def of_names(names: Sequence[str]) -> Iterator[Ready]:
    """Registered benchmarks by name. Raises as `registered.load`, and InputError for responses that are not finite."""
    for name in names:
        benchmark = registered.load(name)
        for assembly in registered.assemblies(benchmark):
            why = not_plain(assembly)
            if "missing" in why and not registered.shows_properties(benchmark):
                raise InputError(f"Brain-Score's {name!r} cannot be scored by maps: {why}; name another benchmark.")
        yield Ready(
            name,
            benchmark,
            registered.metric_of(name),
            registered.family(name),
            citation=paper(getattr(benchmark, "bibtex", "") or ""),
            subjects=_subjects(benchmark),
        )


def _subjects(benchmark: Any) -> int:
    """How many animals or people a benchmark's neuroids are of; 1 where it does not say."""
    for assembly in registered.assemblies(benchmark):
        for name in ("subject", "animal", "monkey"):
            if name in assembly.coords:
                return len(np.unique(assembly[name].values))
    return 1
