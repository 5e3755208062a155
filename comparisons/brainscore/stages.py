"""What `kind: brain-score` computes, between artefacts: first a look at the benchmarks, then one model's scores."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import InputError
from bridge.streams import Site
from comparisons.brainscore.benchmarks import Ready
from comparisons.brainscore.features import identified
from comparisons.brainscore.memory import GIB, Demand, Fitted, demand, fitted
from comparisons.brainscore.scoring import SitesScored
from comparisons.features import Features, parted

if TYPE_CHECKING:
    from bridge.stimuli.base import StimulusSpec
    from comparisons.kinds.brain_score import BrainScoreComparison
    from comparisons.plan import Progress

STIMULI = 64
"""Images of a selection that are read at once."""


def looked_at(
    ready: Sequence[Ready],
    sites: Mapping[str, Mapping[str, Site]],
    tokens: Any,
    spec: BrainScoreComparison,
) -> dict[str, Any]:
    """What the benchmarks are, and how much memory each model's sites will take: known before anything is captured.

    `sites` are each model's; `tokens` which of theirs are kept. Raises InputError where there is nothing to score, or
    too little memory.
    """
    if not ready:
        raise InputError("There is nothing to score: the recordings hold none of the regions; name others.")
    need = _need(ready, spec)
    memory = {}
    for model, known in sites.items():
        sizes = {name: (kept_tokens(site, tokens), site.width) for name, site in known.items()}
        fit = fitted(sizes, most_stimuli(ready), need, spec.memory * GIB, spec.pool, spec.over)
        if fit.told:
            warnings.warn(f"{model}: {fit.told}")
        memory[model] = {"pool": fit.pool, "keep": fit.keep, "gib": round(fit.bytes / GIB, 3), "told": fit.told}
    return {
        "benchmarks": [
            {
                "identifier": one.identifier,
                "region": one.region,
                "stimuli": one.shape[0],
                "neuroids": one.shape[1],
                "fast": "" if one.known is not None else one.of,
            }
            for one in ready
        ],
        "memory": memory,
    }


def most_stimuli(ready: Sequence[Ready]) -> int:
    """The greatest number of stimuli that any of the benchmarks has."""
    return max(one.shape[0] for one in ready)


def kept_tokens(site: Site, tokens: Any) -> int:
    """How many of a site's tokens a capture keeps, by its setting."""
    if tokens == "all":
        return site.tokens
    if tokens == "patches":
        return site.tokens - site.prefix
    return min(int(tokens), site.tokens - site.prefix) if isinstance(tokens, int) else 1


def _need(ready: Sequence[Ready], spec: BrainScoreComparison) -> Demand:
    methods = [one.known.method if one.known is not None else one.metric for one in ready]
    bins = max(one.bins for one in ready)
    need = demand(most_stimuli(ready), methods, spec.theirs != "none", bins)
    # A ceiling takes the mean over half of the trials, and what marks those that are missing.
    trials = max((one.known.trials.nbytes for one in ready if one.known and one.known.trials is not None), default=0)
    return Demand(need.fixed + 2 * trials, need.each)


@dataclass(frozen=True)
class Asked:
    """One model's share of a comparison: its features and the artefacts that hold them."""

    spec: BrainScoreComparison
    model: str
    role: str
    features: Features
    others: Features | None
    """The same sites' features of the images on which features are chosen."""
    chosen_on: StimulusSpec | None
    needed: Mapping[str, Path]
    seed: int


def score_model(asked: Asked, ready: Sequence[Ready], progress: Progress) -> dict[str, Any]:
    """Records of every benchmark and site, results for the figures, and what was left out; plain JSON values.

    Raises InputError, before anything is scored, for features that cannot be, or that would take too much memory.
    """
    spec, features, needed = asked.spec, asked.features, asked.needed
    names = list(features.sites)
    if not names:
        return {"results": [], "benchmarks": [], "dropped": [f"{asked.model} has none of the codes that were named"]}
    sizes = {name: features.size(needed, name) for name in names}
    fit = fitted(sizes, most_stimuli(ready), _need(ready, spec), spec.memory * GIB, spec.pool, spec.over)
    columns = _columns(asked, fit, sizes) if fit.keep is not None else {}

    def read(site: str, keys: Sequence[str]) -> Any:
        ids = [key.partition("/")[2] for key in keys] if ready[0].own else list(keys)
        if site in columns:
            return some_columns(features, needed, site, ids, fit.pool, columns[site])
        return features.read(needed, site, ids, fit.pool)  # type: ignore[arg-type]

    keys = ["/".join(needed[stage].parts[-2:]) for stage in features.needs]
    work = SitesScored(
        ready,
        {name: replace(site, name=parted(name)[0]) for name, site in features.sites.items()},
        read,
        identified(asked.model, [*keys, fit.pool, str(fit.keep), str(spec.degrees)]),
        {"model": asked.model, "role": asked.role, "artefacts": keys, "predicted_gib": round(fit.bytes / GIB, 3)},
        spec.degrees,
        (fit.told,) if fit.told else (),
    )
    work.run(spec.theirs, spec.wrong, progress)
    subjects = {one.identifier: one.subjects for one in ready}
    results = [made for one in work.records for made in _results(one, spec.scores, subjects, asked.seed)]
    return {"results": results, "benchmarks": work.records, "dropped": list(dict.fromkeys(work.dropped))}


def _columns(asked: Asked, fit: Fitted, sizes: Mapping[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    """The features to keep of each site that has more than `fit.keep`, chosen on the other images."""
    assert asked.others is not None
    assert asked.chosen_on is not None
    assert fit.keep is not None
    ids = asked.chosen_on.load().ids
    found = {}
    for site, (tokens, width) in sizes.items():
        if (width if fit.pool != "none" else tokens * width) > fit.keep:
            found[site] = greatest_variance(asked.others, asked.needed, site, ids, fit.pool, fit.keep)
    return found


def some_columns(
    features: Features, needed: Mapping[str, Path], site: str, ids: Sequence[str], pool: Any, columns: np.ndarray
) -> Any:
    """Some features of a site, [n, column], an array or scipy sparse; never all of them of all stimuli at once."""
    parts = [
        features.read(needed, site, ids[start : start + STIMULI], pool)[:, columns]
        for start in range(0, len(ids), STIMULI)
    ]
    if hasattr(parts[0], "tocsr"):
        from scipy.sparse import csr_array, vstack

        return csr_array(vstack(parts, format="csr"))
    return np.concatenate(parts)


def greatest_variance(
    features: Features, needed: Mapping[str, Path], site: str, ids: Sequence[str], pool: Any, keep: int
) -> np.ndarray:
    """The `keep` features of a site with the greatest variance over the stimuli `ids`, ascending column numbers.

    Read in blocks of stimuli; the first of equals is taken.
    """
    total: Any = 0.0
    squares: Any = 0.0
    for start in range(0, len(ids), STIMULI):
        block = features.read(needed, site, ids[start : start + STIMULI], pool)
        dense = np.asarray(block.toarray() if hasattr(block, "toarray") else block, dtype=np.float64)
        total = total + dense.sum(axis=0)
        squares = squares + (dense**2).sum(axis=0)
    variance = squares / len(ids) - (total / len(ids)) ** 2
    return np.sort(np.argsort(-variance, kind="stable")[:keep])


def _results(
    record: Mapping[str, Any], scores: Sequence[str], subjects: Mapping[str, int], seed: int
) -> list[dict[str, Any]]:
    """A record as results for figures and tables: one for each of `scores` that exists."""
    theirs = record["r"] is not None
    r = record["r"] if theirs else record["fast_r"]
    c = record["ceiling"] if record["ceiling"] is not None else record["fast_ceiling"]
    side = (
        "by Brain-Score's own classes" if theirs else "by this project's encoding; Brain-Score's classes were not run"
    )
    values = {"r": r, "r^2/c": record["r2_over_c"], "(r/c)^2": record["r_over_c_squared"]}
    if record["form"] not in ("r^2/c",):
        values[record["form"]] = record["score"]
        scores = [*[score for score in scores if score == "r"], record["form"]]
    bounds = {"r": None if c is None or c <= 0 else (float(np.sqrt(c)),) * 2, "r^2/c": (1.0, 1.0), "r/c": (1.0, 1.0)}
    found = []
    for score in scores:
        if values.get(score) is None:
            continue
        found.append(
            {
                **{key: record[key] for key in ("model", "role", "site", "dictionary", "depth", "region", "simulated")},
                "comparison": "brain-score",
                "measure": record["metric"] if score == "r" else f"{record['metric']} {score}",
                "recordings": record["recordings"],
                "estimate": values[score],
                "ceiling": bounds.get(score),
                "n_stimuli": record["n_stimuli"],
                "n_subjects": subjects[record["benchmark"]],
                "seed": seed,
                "dropped": record["dropped"],
                "notes": [f"Brain-Score's benchmark {record['benchmark']}, {side}", *record["notes"]],
                "artefacts": record["artefacts"],
            }
        )
    return found
