"""`kind: encoding`: linear maps from every chosen site of every model to every region's neuroids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.spec import Spec
from bridge.store import write_atomically
from bridge.streams import Site
from comparisons.kinds.base import ComparisonSpec

if TYPE_CHECKING:
    from bridge.activations import Activations
    from bridge.models import ModelSpec
    from bridge.recordings.recordings import Recordings
    from comparisons.encoding import Predictivity
    from comparisons.plan import Planner, Progress

Score = Literal["r", "r^2/c", "(r/c)^2", "noise-corrected r2", "R2"]


class Selection(Spec):
    """Choosing the best site on stimuli that are not reported on."""

    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the stimuli on which the site is chosen; all results are of the others."""


class EncodingComparison(ComparisonSpec):
    """Linear predictivity of single neuroids along the stream (Yamins et al. 2014; Schrimpf et al. 2018)."""

    kind: Literal["encoding"] = "encoding"
    sites: Annotated[list[str], Field(min_length=1)] = ["stem", "blocks.*.hook_resid_post"]
    """Globs over site names; `stem` is what enters the first block."""
    measures: Annotated[list[Literal["pls", "ridge", "ridgecv", "neuron-to-neuron"]], Field(min_length=1)] = ["pls"]
    """Maps: Brain-Score's `pls` (25 components), `ridge` (penalty 1), `ridgecv` (99 penalties, chosen by leave-one-out
    within each training set, one a region), or the best single feature."""
    scores: Annotated[list[Score], Field(min_length=1)] = ["r", "r^2/c"]
    """What is said of each map: `r` (median over neuroids, mean over splits), `r^2/c` (Brain-Score's normalisation
    since December 2025, c the split-half reliability), `(r/c)^2` (before), `noise-corrected r2` (Pospisil & Bair 2021,
    from single trials), `R2` (1 - squared error / variance)."""
    recordings: list[str] | None = None
    """Names of the config's recordings to predict; all where left out. Recordings that are RDMs cannot be."""
    pool: Literal["none", "mean", "max"] = "none"
    """What becomes of a site's tokens: all are features (as in Brain-Score), or their mean or maximum is."""
    splits: Annotated[int, Field(ge=1)] = 10
    """Random divisions into stimuli to fit on and stimuli to predict."""
    train_size: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Share of stimuli to fit on."""
    split_seed: int = 1
    """Seed of the splits; 1 is Brain-Score's."""
    stratify: str | None = None
    """Column of the stimulus table whose values are balanced over splits, such as `object_name`."""
    select: Selection | None = None
    """Choose the best site of each model and region on one part of the stimuli and report on the other."""
    draws: Annotated[int, Field(ge=0)] = 1000
    """Bootstrap draws over neuroids and held-out stimuli behind each interval of `r`; 0 for none."""

    @override
    def add_stages(self, planner: Planner) -> list[str]:
        config = planner.config
        if not config.recordings:
            raise ConfigError("comparisons: encoding needs recordings; add at least one under `recordings`.")
        known = [_name(spec) for spec in config.recordings]
        for name in self.recordings or ():
            if name not in known:
                raise ConfigError(f"comparisons: there are no recordings {name!r}; {did_you_mean(name, known)}.")
        same_kind = [other for other in config.comparisons if isinstance(other, EncodingComparison)]
        place = same_kind.index(self) if self in same_kind else 0
        title = "encoding" if place == 0 else f"encoding {place + 1}"
        brain = self._add_responses(planner, title)
        return [self._add_model(planner, model, brain, title) for model in config.models]

    def _add_responses(self, planner: Planner, title: str) -> str:
        """The responses of all recordings to stimuli of the config."""
        chosen = [
            spec for spec in planner.config.recordings if self.recordings is None or _name(spec) in self.recordings
        ]

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from bridge.recordings.recordings import Recordings

            found: list[Recordings] = []
            for done, spec in enumerate(chosen):
                for item in spec.load(planner.stimuli):
                    if not isinstance(item, Recordings):
                        raise InputError(
                            f"Recordings {item.name!r} hold RDMs only, and encoding needs the responses of neuroids; "
                            "name the others under the comparison's `recordings`, or compare these by kind: rsa."
                        )
                    found.append(item)
                progress((done + 1) / len(chosen))
            save_responses(folder, found)

        inputs = {
            "recordings": [[_name(spec), spec.fingerprint()] for spec in chosen],
            "stimuli": planner.config.stimuli.fingerprint(),
        }
        code = (__name__, "bridge.recordings", "bridge.stimuli")
        return planner.add(f"responses for {title}", "responses", inputs, build, libraries=("numpy",), code=code)

    def _add_model(self, planner: Planner, model: ModelSpec, brain: str, title: str) -> str:
        """All sites of one model against every region of every recordings."""
        sites = planner.chosen(model, self.sites)
        capture = planner.capture(model, list(sites))
        seed = planner.config.seed

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from bridge.activations import Activations

            activations = Activations(needed[capture])
            recordings = load_responses(needed[brain])
            keys = ["/".join(needed[stage].parts[-2:]) for stage in (brain, capture)]
            about = {"model": model.name, "role": model.shown_as, "artefacts": keys, "seed": seed}
            results: list[dict[str, Any]] = []
            dropped: list[str] = []
            maps: list[dict[str, Any]] = []
            arrays: dict[str, np.ndarray] = {}
            for done, one in enumerate(recordings):
                strata = None if self.stratify is None else strata_of(planner.stimuli.table, self.stratify, one)
                part = _Part(self, one, strata, seed)
                for step, site in enumerate(sites.values()):
                    dropped += [f"{model.name} {site.name} was left out: {why}" for why in part.add(activations, site)]
                    progress((done + (step + 1) / len(sites)) / len(recordings))
                results += [{**about, **found} for found in part.results(seed)]
                dropped += list(part.undefined)
                for (site_name, measure), values in part.maps.items():
                    arrays[str(len(maps))] = values
                    named = list(one.neuroids["neuroid_id"].astype(str))
                    maps.append({"recordings": one.name, "site": site_name, "measure": measure, "neuroids": named})
            # Per-neuroid r of every site: [split, neuroid], in the order of maps.json.
            np.savez(folder / "maps.npz", **arrays)
            write_atomically(folder / "maps.json", json.dumps(maps))
            write_atomically(folder / "results.json", json.dumps({"results": results, "dropped": dropped}))

        inputs = {
            **{key: value for key, value in self.content().items() if key != "recordings"},
            "sites": list(sites),
            "seed": seed,
            "model": [model.name, model.shown_as],
        }
        needs, libraries = (brain, capture), ("numpy", "scipy", "scikit-learn")
        name = f"{title} {model.name}"
        code = (__name__, "bridge.stimuli")
        return planner.add(name, "encoding", inputs, build, needs=needs, libraries=libraries, code=code)


class _Part:
    """One recordings' share of a comparison: its stimuli, splits and ceilings, and what each site reaches."""

    def __init__(self, spec: EncodingComparison, one: Recordings, strata: np.ndarray | None, seed: int):
        from comparisons.ceilings import ceiling_score, internal_consistency
        from comparisons.encoding import brainscore_splits, nanmean

        def splits(rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
            within = None if strata is None else strata[rows]
            return brainscore_splits(
                len(rows), within, splits=spec.splits, train_size=spec.train_size, seed=spec.split_seed
            )

        n = len(one.stimulus_ids)
        self.spec, self.recordings = spec, one
        self.choosing: np.ndarray | None = None
        self.reported = np.arange(n)
        if spec.select is not None:
            fraction = spec.select.fraction
            halves = brainscore_splits(n, strata, splits=1, train_size=fraction, seed=seed)[0]
            self.choosing, self.reported = (np.sort(rows) for rows in halves)
            self.choosing_splits = splits(self.choosing)
        self.splits = splits(self.reported)
        self.trials = one.data[:, self.reported]
        self.responses = nanmean(one.data.astype(np.float64))
        self.regions = {name: (one.neuroids["region"] == name).to_numpy() for name in one.regions}
        self.ceilings: dict[str, float | None] = dict.fromkeys(self.regions)
        if len(self.trials) > 1:
            halves_agree = internal_consistency(self.trials)
            self.ceilings = {name: ceiling_score(halves_agree[:, mine]) for name, mine in self.regions.items()}
        self.sites: list[Site] = []
        self.found: dict[tuple[str, str], Predictivity] = {}
        self.chances: dict[tuple[str, str], Predictivity] = {}
        self.maps: dict[tuple[str, str], np.ndarray] = {}
        self.undefined: dict[str, None] = {}

    def add(self, activations: Activations, site: Site) -> list[str]:
        """Fit the site; why it was left out, if it was."""
        from comparisons.encoding import predictivity
        from comparisons.gram import LinearKernel

        values = pooled(activations.read(site.name, self.recordings.stimulus_ids), self.spec.pool)
        if not np.isfinite(values).all():
            return [f"its features are not finite for {self.recordings.name}"]
        if (values == values[:1]).all():
            return [f"its features are the same for all stimuli of {self.recordings.name}"]
        kernel = LinearKernel(values)
        groups = self.recordings.neuroids["region"].to_numpy()
        self.sites.append(site)
        for measure in self.spec.measures:
            options: dict[str, Any] = {"method": measure, "groups": groups}
            found = predictivity(kernel.of(self.reported), self.responses[self.reported], splits=self.splits, **options)
            self.found[site.name, measure] = found
            self.maps[site.name, measure] = found.r
            if self.choosing is not None:
                rows = self.choosing
                self.chances[site.name, measure] = predictivity(
                    kernel.of(rows), self.responses[rows], splits=self.choosing_splits, **options
                )
        return []

    def results(self, seed: int) -> Iterator[dict[str, Any]]:
        """Results of every site by every measure and score, and of the selected sites."""
        for region, mine in self.regions.items():
            for measure in self.spec.measures:
                for site in self.sites:
                    yield from self._of_site(region, mine, measure, site, seed)
                if self.choosing is not None and self.sites:
                    yield from self._selected(region, mine, measure, seed)

    def _selected(self, region: str, mine: np.ndarray, measure: str, seed: int) -> Iterator[dict[str, Any]]:
        """The results of the site that is best on the stimuli for choosing; these are not among those reported."""
        scores = [self.chances[site.name, measure].of(mine).score for site in self.sites]
        if not np.isfinite(scores).any():
            return
        best = int(np.nanargmax(scores))
        note = (
            f"chosen among {len(self.sites)} sites on {len(self.choosing)} other stimuli"  # type: ignore[arg-type]
            f" (r {scores[best]:.3f} there)"
        )
        for result in self._of_site(region, mine, measure, self.sites[best], seed):
            yield {**result, "measure": f"{result['measure']}, site selected", "notes": [*result["notes"], note]}

    def _of_site(self, region: str, mine: np.ndarray, measure: str, site: Site, seed: int) -> Iterator[dict[str, Any]]:
        found = self.found[site.name, measure].of(mine)
        r, c = found.score, self.ceilings[region]
        if not np.isfinite(r):
            why = "; ".join(found.notices) or "constant responses or predictions"
            self.undefined[f"{measure} of {self.recordings.name} {region} at {site.name} is undefined ({why})"] = None
            return
        interval = found.interval(self.spec.draws, seed) if self.spec.draws else None
        neuroids = self.recordings.neuroids[mine]
        map_notes = [f"median over {int(mine.sum())} neuroids, mean over {len(self.splits)} splits", *found.notices]
        if c is None:
            map_notes.append("no ceiling: the recordings hold one repetition")
        for score in self.spec.scores:
            said = self._scored(score, found, mine, r, c, interval)
            if said is None:
                why = "one repetition" if c is None else f"split-half reliability {c:.3f}"
                self.undefined[f"{measure} {score} of {self.recordings.name} {region} is undefined ({why})"] = None
                continue
            estimate, limits, ceiling, notes = said
            yield {
                "comparison": "encoding",
                "measure": measure if score == "r" else f"{measure} {score}",
                "site": site.name,
                "depth": site.depth,
                "recordings": self.recordings.name,
                "region": region,
                "estimate": float(estimate),
                "interval": limits,
                "ceiling": ceiling,
                "n_stimuli": len(self.reported),
                "n_subjects": int(neuroids["subject"].nunique()),
                "n_draws": self.spec.draws if limits else 0,
                "simulated": self.recordings.simulated,
                "dropped": list(self.recordings.dropped),
                "notes": [*map_notes, *notes],
            }

    def _scored(
        self,
        score: str,
        found: Predictivity,
        mine: np.ndarray,
        r: float,
        c: float | None,
        interval: tuple[float, float] | None,
    ) -> tuple[float, tuple[float, float] | None, tuple[float, float] | None, list[str]] | None:
        """(estimate, interval, ceiling, notes) by one score; None where it is undefined."""
        from comparisons.ceilings import noise_corrected_r2, normalised
        from comparisons.encoding import nanmean, nanmedian

        resampled = "interval: neuroids and held-out stimuli resampled, maps not refitted"
        if score == "r":
            bound = None if c is None or not c > 0 else (float(np.sqrt(c)), float(np.sqrt(c)))
            notes = [] if bound is None else [f"ceiling: square root of the split-half reliability {c:.3f}"]
            return r, interval, bound, [*notes, *([resampled] if interval else [])]
        if score == "R2":
            return float(nanmean(nanmedian(found.r2))), None, None, []
        if score == "noise-corrected r2":
            corrected = [
                noise_corrected_r2(prediction, self.trials[:, test][:, :, mine])
                for prediction, (_, test) in zip(found.predictions, found.splits, strict=True)
            ]
            value = float(nanmean(nanmedian(np.stack(corrected))))
            return (value, None, (1.0, 1.0), []) if np.isfinite(value) else None
        if c is None or not c > 0:
            return None
        value = float(normalised(r, c, score))
        notes = [f"c {c:.3f}, split-half reliability with Spearman-Brown"]
        if r < 0:
            return value, None, None, [*notes, f"r is negative ({r:.3f}), which a square does not show"]
        limits = None
        if interval is not None:
            low, high = (float(normalised(max(limit, 0.0), c, score)) for limit in interval)
            limits = (low, high)
            notes.append(f"{resampled}, c fixed")
        return value, limits, (1.0, 1.0) if score == "r^2/c" else None, notes


def _name(spec: Any) -> str:
    """The display name that every kind of recordings has."""
    return spec.name


def pooled(values: np.ndarray, pool: str) -> np.ndarray:
    """A site's [n, tokens, d] as features [n, tokens * d] (`none`), or the mean or max over tokens [n, d]."""
    if pool == "none":
        return values.reshape(len(values), -1)
    return values.mean(axis=1) if pool == "mean" else values.max(axis=1)


def strata_of(table: Any, column: str, recordings: Recordings) -> np.ndarray:
    """The values of a column of the stimulus table at the recordings' stimuli. Raises ConfigError if there is none."""
    if column not in table:
        raise ConfigError(f"stratify: the stimuli have no column {column!r}; {did_you_mean(column, table.columns)}.")
    return table[column].loc[list(recordings.stimulus_ids)].astype(str).to_numpy()


def save_responses(folder: Path, recordings: list[Recordings]) -> None:
    """Responses as responses.npz (one array [rep, n, neuroid] a recordings) and responses.json (everything else)."""
    np.savez(folder / "responses.npz", **{str(number): one.data for number, one in enumerate(recordings)})
    about = [
        {
            "name": one.name,
            "stimulus_ids": list(one.stimulus_ids),
            "neuroids": {key: one.neuroids[key].astype(str).tolist() for key in ("neuroid_id", "region", "subject")},
            "simulated": one.simulated,
            "citation": one.citation,
            "dropped": list(one.dropped),
        }
        for one in recordings
    ]
    write_atomically(folder / "responses.json", json.dumps(about))


def load_responses(folder: Path) -> list[Recordings]:
    """What `save_responses` wrote."""
    import pandas as pd

    from bridge.recordings.recordings import Recordings

    found = []
    with np.load(folder / "responses.npz", allow_pickle=False) as arrays:
        for number, about in enumerate(json.loads((folder / "responses.json").read_text())):
            about["neuroids"] = pd.DataFrame(about["neuroids"])
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in about.items()
            }
            found.append(Recordings(**fields, data=arrays[str(number)]))
    return found
