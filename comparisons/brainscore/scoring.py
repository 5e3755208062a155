"""All sites of one model on some benchmarks, by both sides. Features are checked before anything is scored."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from bridge.errors import InputError
from bridge.streams import Site
from comparisons.brainscore.benchmarks import Ready
from comparisons.brainscore.checks import not_finite, without_correlation, wrong_with
from comparisons.brainscore.features import Read, SiteActivations, feature_assembly
from comparisons.brainscore.known import key_of
from comparisons.brainscore.ours import fast_score
from comparisons.brainscore.registered import stimulus_sets
from comparisons.brainscore.scores import Scored
from comparisons.brainscore.theirs import layer_score, precomputed_score
from comparisons.encoding import LinearKernel
from comparisons.features import labelled, parted

Theirs = Literal["all", "best", "none"]


@dataclass
class SitesScored:
    """Scores of sites on benchmarks as they come, and what was left out."""

    ready: Sequence[Ready]
    sites: Mapping[str, Site]
    read: Read
    """By the names of `sites`."""
    identifier: str
    """What Brain-Score may keep results under: see `features.identified`."""
    about: Mapping[str, Any]
    """Fields that all records share: model, role, artefacts."""
    degrees: float | None = None
    notes: tuple[str, ...] = ()
    records: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def run(self, theirs: Theirs, wrong: Literal["stop", "leave out"], progress: Callable[[float, str], None]) -> None:
        """Score everything: records in the order of benchmarks, then sites.

        `theirs` says for which sites Brain-Score's classes are run: all, the best by ours of the stream and of each
        dictionary's codes (all where ours does not know the metric), or none. Raises InputError for features that
        cannot be scored where `wrong` is to stop: before anything is scored.
        """
        kept = self._checked(wrong, lambda share: progress(0.1 * share, "checking"))
        fast: dict[tuple[str, str], tuple[Scored, float]] = {}
        slow: dict[tuple[str, str], tuple[Scored, float]] = {}
        features: dict[str, int] = {}
        for done, (site, ready) in enumerate(kept.items()):
            values = Once(self.read, site)
            kernels: dict[tuple[str, ...], Any] = {}
            for one in ready:
                if one.known is not None:
                    one.fast_ceiling  # noqa: B018  (neither is timed with a site)
                    fast[site, one.identifier] = _timed(self._fast, one, values, kernels)
                if theirs == "all" or (one.known is None and theirs == "best"):
                    one.ceiling  # noqa: B018
                    slow[site, one.identifier] = _timed(self._theirs, one, values, site)
                features[site] = values.features
                progress(0.1 + 0.9 * (done + 0.5) / len(kept), f"{site}")
        for one, best in self._best(fast) if theirs == "best" else ():
            one.ceiling  # noqa: B018
            slow[best, one.identifier] = _timed(self._theirs, one, Once(self.read, best), best)
        for one in self.ready:
            for site in kept:
                key = site, one.identifier
                if key in fast or key in slow:
                    self.records.append(self._record(one, site, features[site], fast.get(key), slow.get(key)))

    def _best(self, fast: Mapping[tuple[str, str], tuple[Scored, float]]) -> Iterator[tuple[Ready, str]]:
        """For each benchmark the best site of the stream, and that of each dictionary's codes, by our scores."""
        for one in self.ready:
            groups: dict[str | None, dict[str, float]] = {}
            for site, identifier in fast:
                if identifier == one.identifier:
                    r = fast[site, identifier][0].r
                    groups.setdefault(parted(site)[1], {})[site] = r if math.isfinite(r) else -math.inf
            for mine in groups.values():
                yield one, max(mine, key=lambda site: mine[site])

    def _checked(self, wrong: str, progress: Callable[[float], None]) -> dict[str, list[Ready]]:
        """The benchmarks that each site can be scored on. Raises InputError for the first it cannot, where told to."""
        kept: dict[str, list[Ready]] = {}
        for done, site in enumerate(self.sites):
            values = Once(self.read, site)
            for one in self.ready:
                kept.setdefault(site, [])
                if why := self._wrong(one, values):
                    said = f"{self.about['model']} at {site} cannot be scored on {one.identifier}: {why}"
                    if wrong == "stop":
                        raise InputError(f"{said}; leave the site out, or set `wrong: leave out`.")
                    self.dropped.append(said)
                    continue
                kept[site].append(one)
            progress((done + 1) / len(self.sites))
        return {site: ready for site, ready in kept.items() if ready}

    def _wrong(self, one: Ready, values: Once) -> str:
        """Why a site cannot be scored on a benchmark; empty if it can."""
        if one.known is not None:
            return wrong_with(values(one.known.keys), one.known)
        for stimuli, _ in stimulus_sets(one.benchmark):
            keys = [key_of(stimuli, name) for name in stimuli["stimulus_id"]]
            if why := not_finite(values(keys)) or (one.metric == "rdm" and without_correlation(values(keys), keys)):
                return why
        return ""

    def _fast(self, one: Ready, values: Once, kernels: dict[tuple[str, ...], Any]) -> Scored:
        assert one.known is not None
        features: Any = values(one.known.keys)
        if one.known.method not in ("rdm", "reverse pls"):
            # One kernel serves all regions and metrics that share stimuli.
            features = kernels.setdefault(one.known.keys, None) or LinearKernel(features)
            kernels[one.known.keys] = features
        return fast_score(one.known, features, one.fast_ceiling)

    def _theirs(self, one: Ready, values: Once, site: str) -> Scored:
        """By `LayerScores` where the benchmark is of one region, else by `PrecomputedFeatures`."""
        if getattr(one.benchmark, "region", None) is not None:
            model = SiteActivations(self.identifier, lambda _, keys: values(keys))
            return layer_score(one.benchmark, model, site, self.degrees if _places(one) else None)
        ready = {}
        for stimuli, _ in stimulus_sets(one.benchmark):
            keys = [key_of(stimuli, name) for name in stimuli["stimulus_id"]]
            ready[stimuli.identifier] = feature_assembly(values(keys), stimuli, site, self.identifier)
        return precomputed_score(one.benchmark, ready)

    def _record(
        self, one: Ready, site: str, features: int, fast: tuple[Scored, float] | None, slow: tuple[Scored, float] | None
    ) -> dict[str, Any]:
        ours, theirs = (None if found is None else found[0] for found in (fast, slow))
        first = theirs or ours
        assert first is not None
        c = _first_finite(first.ceiling, one.fast_ceiling)
        stated = one.form == "r^2/c"
        as_stated = Scored(first.r, c)
        difference, largest = (None, None) if ours is None or theirs is None else _apart(theirs, ours)
        notes = [*self.notes, *one.notes, *(() if ours is None else ours.notices)]
        if isinstance(one.of, str):
            notes.append(f"by Brain-Score's classes alone: {one.of}")
        if stated and first.r < 0:
            notes.append(f"r is negative ({first.r:.3f}), which a square does not show")
        n, neuroids = one.shape
        return {
            **self.about,
            **labelled(str(self.about["model"]), site),
            "benchmark": one.identifier,
            "metric": one.metric,
            "recordings": one.recordings,
            "region": one.region,
            "depth": self.sites[site].depth,
            "features": features,
            "n_stimuli": n,
            "n_neuroids": neuroids,
            "form": one.form,
            "score": None if theirs is None else _finite(theirs.ceiled),
            "r": None if theirs is None else _finite(theirs.r),
            "error": None if theirs is None else _finite(theirs.error),
            "ceiling": None if theirs is None else _finite(theirs.ceiling),
            "seconds": None if slow is None else round(slow[1], 3),
            "fast_r": None if ours is None else _finite(ours.r),
            "fast_ceiling": None if ours is None else _finite(ours.ceiling),
            "fast_seconds": None if fast is None else round(fast[1], 3),
            "difference": difference,
            "largest_difference": largest,
            "r2_over_c": _finite(as_stated.r2_over_c) if stated else None,
            "r_over_c_squared": _finite(as_stated.r_over_c_squared) if stated else None,
            "own": one.own,
            "simulated": one.simulated,
            "notes": list(dict.fromkeys(notes)),
            "dropped": list(one.dropped),
            "citation": one.citation,
        }


class Once:
    """One site's features, read once for each list of stimuli."""

    def __init__(self, read: Read, site: str):
        self._read, self._site = read, site
        self._kept: dict[tuple[str, ...], Any] = {}
        self.features = 0

    def __call__(self, keys: Sequence[str]) -> Any:
        """The features of some stimuli, [n, feature]."""
        asked = tuple(keys)
        if asked not in self._kept:
            if len(self._kept) > 1:  # benchmarks that share images ask for one list; more would fill the memory
                self._kept.pop(next(iter(self._kept)))
            self._kept[asked] = self._read(self._site, asked)
            self.features = int(self._kept[asked].shape[1])
        return self._kept[asked]


def _places(one: Ready) -> bool:
    """Whether a benchmark places images on the model's screen by a width stated stimulus by stimulus."""
    return not isinstance(getattr(one.benchmark, "_visual_degrees", None), int | float)


def _timed(work: Callable[..., Scored], *arguments: Any) -> tuple[Scored, float]:
    began = time.perf_counter()
    found = work(*arguments)
    return found, time.perf_counter() - began


def _apart(theirs: Scored, ours: Scored) -> tuple[float | None, float | None]:
    """(difference of r, largest absolute difference of a neuroid's r in a split) of both sides."""
    a, b = theirs.per_neuroid, ours.per_neuroid
    largest = None
    if a is not None and b is not None and a.shape == b.shape and np.isfinite(a - b).any():
        largest = float(np.nanmax(np.abs(a - b)))
    return _finite(theirs.r - ours.r), largest


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _first_finite(*values: float) -> float:
    return next((value for value in values if math.isfinite(value)), float("nan"))
