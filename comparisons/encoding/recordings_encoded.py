"""One recordings against a model's sites: splits, ceilings, and every score of every site as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.streams import Site
from comparisons.encoding.alignment import cka, procrustes
from comparisons.encoding.ceilings import (
    ceiling_score,
    internal_consistency,
    leave_one_subject_out,
    noise_corrected_r2,
    normalised,
)
from comparisons.encoding.evaluation import Predictivity, brainscore_splits, nanmean, nanmedian, predictivity
from comparisons.encoding.gram import LinearKernel
from comparisons.encoding.permutation import PermutedPredictions, permuted_predictions

if TYPE_CHECKING:
    from bridge.recordings.recordings import Recordings
    from comparisons.kinds.encoding import EncodingComparison


class RecordingsEncoded:
    """One recordings' share of a comparison: its stimuli, splits and ceilings, and what each site reaches."""

    def __init__(self, spec: EncodingComparison, one: Recordings, table: Any, seed: int):
        strata = None if spec.stratify is None else strata_of(table, spec.stratify, one)

        def splits(rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
            within = None if strata is None else strata[rows]
            return brainscore_splits(
                len(rows), within, splits=spec.splits, train_size=spec.train_size, seed=spec.split_seed
            )

        n = len(one.stimulus_ids)
        self.spec, self.recordings, self.seed = spec, one, seed
        self.strata = strata
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
        self.permuted: dict[tuple[str, str], PermutedPredictions] = {}
        self.undefined: dict[str, None] = {}
        self.aligned: list[dict[str, Any]] = []

    def add(self, features: Any, site: Site) -> list[str]:
        """Fit the site by its features [n, feature] (an array or scipy sparse, rows as the recordings' stimuli); why
        it was left out, if it was."""
        if not np.isfinite(features.data if hasattr(features, "tocsr") else features).all():
            return [f"its features are not finite for {self.recordings.name}"]
        if constant(features):
            return [f"its features are the same for all stimuli of {self.recordings.name}"]
        kernel = LinearKernel(features)
        reported = kernel.of(self.reported)
        choosing = None if self.choosing is None else kernel.of(self.choosing)
        self._align(site, reported)
        groups = self.recordings.neuroids["region"].to_numpy()
        self.sites.append(site)
        for measure in self.spec.measures:
            options: dict[str, Any] = {"method": measure, "groups": groups}
            found = predictivity(reported, self.responses[self.reported], splits=self.splits, **options)
            self.found[site.name, measure] = found
            self.maps[site.name, measure] = found.r
            if test := self._permutes():
                self.permuted[site.name, measure] = permuted_predictions(
                    reported, self.responses[self.reported], **test, **options
                )
            if choosing is not None:
                self.chances[site.name, measure] = predictivity(
                    choosing, self.responses[self.choosing], splits=self.choosing_splits, **options
                )
        return []

    def _permutes(self) -> dict[str, Any]:
        """Options of the permutation test; none where it is not wanted, or where there are too few stimuli."""
        if not self.spec.permutations or len(self.reported) < 8:
            return {}
        strata = None if self.strata is None else self.strata[self.reported]
        return {"permutations": self.spec.permutations, "seed": self.seed, "strata": strata}

    def _align(self, site: Site, kernel: LinearKernel) -> None:
        """How alike the site and each region are, over neuroids that saw all reported stimuli."""
        forms = {"cka": cka, "cka-biased": lambda x, y: cka(x, y, unbiased=False), "procrustes": procrustes}
        for region, mine in self.regions.items() if self.spec.alignments else ():
            responses = self.responses[self.reported][:, mine]
            whole = np.isfinite(responses).all(axis=0)
            if not whole.any():
                why = f"alignment with {self.recordings.name} {region} is undefined (missing responses)"
                self.undefined[why] = None
                continue
            other = LinearKernel(responses[:, whole])
            for form in self.spec.alignments:
                value = forms[form](kernel, other)
                notes = [f"{int(whole.sum())} of {int(mine.sum())} neuroids, no map is fitted"]
                self.aligned.append(self._result(region, mine, form, site, value, notes=notes))

    def other_subjects(self) -> Iterator[dict[str, Any]]:
        """How well other subjects predict each region's neuroids by the same maps: mean over subjects of the score."""
        for region, mine in self.regions.items():
            subjects = self.recordings.neuroids["subject"].astype(str).to_numpy()[mine]
            for measure in self.spec.measures:
                try:
                    found = leave_one_subject_out(
                        self.responses[self.reported][:, mine], subjects.tolist(), method=measure, splits=self.splits
                    )
                except InputError as error:
                    self.undefined[f"other subjects for {self.recordings.name} {region}: {error}"] = None
                    continue
                scores = {name: one.score for name, one in found.items()}
                each = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
                notes = [f"each subject predicted by all others: {each}"]
                yield self._result(region, mine, measure, None, float(np.mean(list(scores.values()))), notes=notes)

    def _result(
        self, region: str, mine: np.ndarray, measure: str, site: Site | None, estimate: float, **more: Any
    ) -> dict[str, Any]:
        """A result's fields, the model's own left out."""
        return {
            "comparison": "encoding",
            "measure": measure,
            "site": None if site is None else site.name,
            "depth": None if site is None else site.depth,
            "recordings": self.recordings.name,
            "region": region,
            "estimate": float(estimate),
            "n_stimuli": len(self.reported),
            "n_subjects": int(self.recordings.neuroids["subject"][mine].nunique()),
            "simulated": self.recordings.simulated,
            "dropped": list(self.recordings.dropped),
            **more,
        }

    def results(self, seed: int) -> Iterator[dict[str, Any]]:
        """Results of every site by every measure and score, and of the selected sites."""
        for region, mine in self.regions.items():
            for measure in self.spec.measures:
                for site in self.sites:
                    yield from self._of_site(region, mine, measure, site, seed)
                if self.choosing is not None and self.sites:
                    yield from self._selected(region, mine, measure, seed)
        yield from self.aligned  # last: the report opens with the first measure

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
        map_notes = [f"median over {int(mine.sum())} neuroids, mean over {len(self.splits)} splits", *found.notices]
        permuted = self.permuted.get((site.name, measure))
        p = float("nan") if permuted is None else permuted.p(mine)
        if c is None:
            map_notes.append("no ceiling: the recordings hold one repetition")
        tested = (
            f"p against zero: {self.spec.permutations} permutations of one half of the stimuli, predicted by maps of "
            "the other half, exact, uncorrected"
        )
        for score in self.spec.scores:
            said = self._scored(score, found, mine, r, c, interval)
            if said is None:
                why = "one repetition" if c is None else f"split-half reliability {c:.3f}"
                self.undefined[f"{measure} {score} of {self.recordings.name} {region} is undefined ({why})"] = None
                continue
            estimate, limits, ceiling, notes = said
            yield self._result(
                region,
                mine,
                measure if score == "r" else f"{measure} {score}",
                site,
                estimate,
                interval=limits,
                ceiling=ceiling,
                n_draws=self.spec.draws if limits else 0,
                p=p if score == "r" and np.isfinite(p) else None,
                notes=[*map_notes, *notes, *([tested] if score == "r" and np.isfinite(p) else [])],
            )

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


def constant(features: Any) -> bool:
    """Whether all stimuli have the same features, [n, feature], array or scipy sparse."""
    if hasattr(features, "tocsr"):
        return float(abs(features - features[[0] * features.shape[0]]).max()) == 0
    return bool((features == features[:1]).all())


def strata_of(table: Any, column: str, recordings: Recordings) -> np.ndarray:
    """The values of a column of the stimulus table at the recordings' stimuli. Raises ConfigError if there is none."""
    if column not in table:
        raise ConfigError(f"stratify: the stimuli have no column {column!r}; {did_you_mean(column, table.columns)}.")
    return table[column].loc[list(recordings.stimulus_ids)].astype(str).to_numpy()
