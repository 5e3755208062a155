"""`kind: rsa`: every chosen site of every model against every region of every recordings."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator
from typing_extensions import override

from bridge.errors import InputError
from bridge.store import write_atomically
from bridge.streams import Site
from comparisons.features import Features, labelled, site_features
from comparisons.kinds.base import MOST_DRAWS, ComparisonSpec
from comparisons.predicting.sizes import Size, correlated
from comparisons.references import AnyReference, fingerprint, reference_rdms
from comparisons.responses import comparable

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from bridge.recordings.recordings import Recordings, RegionRDMs
    from comparisons.plan import Planner, Progress
    from comparisons.rsa import RSA


Measure = Literal["spearman", "rho-a", "tau-a", "corr", "cosine", "corr_cov", "cosine_cov"]


class RSAComparison(ComparisonSpec):
    """Representational similarity analysis (Kriegeskorte et al. 2008) along the stream."""

    kind: Literal["rsa"] = "rsa"
    sites: Annotated[list[str], Field(min_length=1)] = ["stem", "blocks.*.hook_resid_post", "blocks.*.hook_write"]
    """Globs over site names; `stem` is what enters the first block."""
    rdm: Literal["correlation"] = "correlation"
    """Dissimilarity between the patterns that two stimuli evoke."""
    measures: Annotated[list[Measure], Field(min_length=1)] = ["spearman", "corr"]
    """How model and brain RDMs are compared: rank correlation (spearman, rho-a, tau-a), Pearson correlation or cosine
    of dissimilarities, or the same whitened by the covariance of noisy dissimilarities (corr_cov, cosine_cov)."""
    draws: Annotated[int, Field(ge=0, le=MOST_DRAWS)] = 1000
    """Bootstrap draws over stimuli and subjects behind each interval; 0 for none."""
    permutations: Annotated[int, Field(ge=0, le=MOST_DRAWS)] = 5000
    """Permutations of the stimuli behind each p against zero (for cosines against chance, which is not zero; for tau-a
    those of rho-a, which has the same null hypothesis); 0 for no p."""
    references: list[AnyReference] = []
    """RDMs that stand beside the models."""

    @field_validator("measures", "references")
    @classmethod
    def _once(cls, values: list[Any]) -> list[Any]:
        for index, value in enumerate(values):
            if value in values[:index]:
                raise ValueError("the same stands twice; name each once")
        return values

    @override
    def add_stages(self, planner: Planner) -> list[str]:
        config = planner.config
        comparable(config, "rsa")
        brain = self._add_recordings(planner)  # first: what does not fit shows before the long work
        features = [site_features(planner, model, self.sites) for model in config.models]
        model_stages = [self._add_model(planner, model, of) for model, of in zip(config.models, features, strict=True)]
        chosen = [of.sites for of in features]
        found = []
        for measure in self.measures:
            name = f"rsa {measure}"
            found.append(self._add_evaluation(planner, name, measure, brain, model_stages, chosen))
        return found

    def _add_model(self, planner: Planner, model: ModelSpec, features: Features) -> str:
        """The RDMs of a model's sites."""

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.rdms import UndefinedPatterns, correlation_rdm

            ids = planner.stimuli.ids
            rdms, dropped = {}, {}
            for done, site in enumerate(features.sites):
                try:
                    rdms[site] = correlation_rdm(features.read(needed, site, ids))
                except UndefinedPatterns as undefined:
                    dropped[site] = str(undefined)
                progress((done + 1) / len(features.sites))
            np.savez(folder / "rdms.npz", **rdms)
            write_atomically(folder / "rdms.json", json.dumps({"ids": ids, "dropped": dropped}))

        def size() -> Size:
            from bridge.tokens import stored_tokens

            kept = planner.config.capture.tokens
            counts = [site.width * stored_tokens(site, kept) for site in features.sites.values()]
            number = planner.number_of()
            return Size() if number is None else correlated(number, counts)

        inputs = {"rdm": self.rdm, "sites": list(features.sites)}
        code = (__name__, "comparisons.features")
        needs, name = features.needs, f"rdms {model.name}"
        return planner.add(name, "rdms", inputs, build, needs=needs, libraries=("numpy",), code=code, size=size)

    def _add_recordings(self, planner: Planner) -> str:
        """The RDMs of every region of all recordings, aligned to the stimuli by id."""
        config = planner.config
        recordings, _ = comparable(config, "rsa")

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            ids = planner.stimuli.ids
            regions: list[RegionRDMs] = []
            for done, spec in enumerate(recordings):
                for item in spec.load(planner.stimuli):
                    regions += [shown(rdms, ids) for rdms in region_rdms(item)]
                progress((done + 1) / len(recordings))
            save_regions(folder, regions)

        inputs = {
            "recordings": [[spec.name, spec.fingerprint()] for spec in recordings],
            "stimulus_set": config.stimuli.name,
            "stimuli": config.stimuli.fingerprint(),
            "rdm": self.rdm,
        }
        code = (__name__, "bridge.recordings", "bridge.stimuli")
        return planner.add("recordings", "regions", inputs, build, libraries=("numpy",), code=code)

    def _add_evaluation(
        self,
        planner: Planner,
        name: str,
        measure: str,
        brain: str,
        model_stages: list[str],
        chosen: list[dict[str, Site]],
    ) -> str:
        """All models and references against every region, by one measure."""
        config, seed, draws = planner.config, planner.config.seed, self.draws
        _, left_out = comparable(config, "rsa")

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.rdms import UndefinedPatterns, pairs_of
            from comparisons.rsa import evaluate

            regions = load_regions(needed[brain])
            ids = planner.stimuli.ids
            candidates: list[tuple[dict[str, Any], np.ndarray, tuple[str, str] | None]] = []
            dropped = [*left_out, *(f"stimulus {why}" for why in planner.stimuli.dropped)]
            for model, stage, sites in zip(config.models, model_stages, chosen, strict=True):
                notes = json.loads((needed[stage] / "rdms.json").read_text())
                for site, why in notes["dropped"].items():
                    dropped.append(f"{model.name} {site} was left out: {why}")
                with np.load(needed[stage] / "rdms.npz", allow_pickle=False) as rdms:
                    for site in (site for site in sites.values() if site.name in rdms):
                        about = {**labelled(model.name, site.name), "depth": site.depth, "role": model.shown_as}
                        candidates.append((about, rdms[site.name], None))
            for reference in self.references:
                try:
                    found_rdms = reference_rdms(reference, planner.stimuli, regions)
                except UndefinedPatterns as undefined:
                    dropped.append(f"the reference {reference.kind} was left out: {undefined}")
                    continue
                for label, rdm, own in found_rdms:
                    candidates.append(({"model": label, "site": None, "role": "reference"}, rdm, own))
            # An artefact's folder is <store>/<kind>/<digest>: its last two parts are its key.
            keys = ["/".join(needed[stage].parts[-2:]) for stage in (brain, *model_stages)]
            results = []
            for done, region in enumerate(regions):
                here, pairs = (region.name, region.region), pairs_of(ids, region.stimulus_ids)
                of_region = [(about, rdm[pairs]) for about, rdm, own in candidates if own != here]
                whole = [(about, rdm) for about, rdm in of_region if np.isfinite(rdm).all()]
                against = [(about, rdm) for about, rdm in whole if not _same(rdm, region.rdms)]
                if not against:
                    raise InputError(
                        f"No site of any model is left to compare with {region.name} {region.region} "
                        f"({dropped[0] if dropped else 'none was chosen'}); give other stimuli or other sites."
                    )
                drawn = itertools.count(1)

                def on_draw(done: int = done, drawn: Iterator[int] = drawn) -> None:
                    progress((done + next(drawn) / draws) / len(regions))

                rdms_of = np.stack([rdm for _, rdm in against])
                found = evaluate(rdms_of, region.rdms, measure=measure, draws=draws, seed=seed, on_draw=on_draw)
                intervals = found.interval()
                p, tested = self._p(rdms_of, region.rdms, measure, seed)
                for index, (about, _) in enumerate(against):
                    known = bool(np.isfinite(found.standard_error[index])) and draws > 0
                    results.append(
                        {
                            "comparison": "rsa",
                            "measure": measure,
                            **about,
                            "recordings": region.name,
                            "region": region.region,
                            "estimate": float(found.estimate[index]),
                            "interval": [float(x) for x in intervals[index]] if known else None,
                            "ceiling": found.ceiling,
                            "p": float(p[index]) if np.isfinite(p[index]) else None,
                            "n_stimuli": len(region.stimulus_ids),
                            "n_subjects": len(region.subjects),
                            "n_draws": draws,
                            "seed": seed,
                            "simulated": region.simulated,
                            "dropped": region.dropped,
                            "notes": (*found.notes, *cautions(found, len(region.subjects)), tested),
                            "artefacts": keys,
                        }
                    )
                progress((done + 1) / len(regions))
            write_atomically(folder / "results.json", json.dumps({"results": results, "dropped": dropped}))

        inputs = {
            "measure": measure,
            "draws": draws,
            "permutations": self.permutations,
            "seed": seed,
            "models": [[model.name, model.shown_as] for model in config.models],
            "sites": [list(sites) for sites in chosen],
            "references": [fingerprint(reference) for reference in self.references],
            "left_out": list(left_out),
        }
        return planner.add(
            name, "rsa", inputs, build, needs=(brain, *model_stages), libraries=("numpy", "scipy"), code=(__name__,)
        )

    def _p(self, models: np.ndarray, region: np.ndarray, measure: str, seed: int) -> tuple[np.ndarray, str]:
        """Two-sided p against chance, [m], NaN where no permutations are wanted, and in words how it was found."""
        from comparisons.rsa.permutation import permute_stimuli

        if not self.permutations:
            return np.full(len(models), np.nan), "no p: no permutations were asked for"
        # tau-a has the null hypothesis of rho-a, and would take hours.
        statistic = "rho-a" if measure == "tau-a" else measure
        permuted = permute_stimuli(models, region, measure=statistic, permutations=self.permutations, seed=seed)
        against = "chance" if measure.startswith("cosine") else "zero"
        how = f"p against {against}: {self.permutations} permutations of the stimuli"
        return permuted.p(), f"{how}{' (of rho-a)' if measure == 'tau-a' else ''}, exact, uncorrected"


def shown(rdms: RegionRDMs, ids: tuple[str, ...]) -> RegionRDMs:
    """A region's RDMs for those of the stimuli `ids` that it was shown, in that order.

    Raises InputError where these are fewer than 4: nothing can be said about so few pairs.
    """
    known = set(rdms.stimulus_ids)
    mine = tuple(name for name in ids if name in known)
    if len(mine) < 4:
        raise InputError(
            f"Of {len(ids)} stimuli {len(mine)} were shown to {rdms.name} {rdms.region}; comparing RDMs needs 4 at "
            "least: give both sides the same stimuli."
        )
    note = f"{len(ids) - len(mine)} of {len(ids)} stimuli, which were not shown to {rdms.name} {rdms.region}"
    return replace(rdms.aligned_to(mine), dropped=(*rdms.dropped, *([note] if len(mine) < len(ids) else [])))


def _same(rdm: np.ndarray, region: np.ndarray) -> bool:
    """Whether a reference is the region itself under another name (monkey IT comes as a model, too)."""
    return len(region) == 1 and bool(np.allclose(rdm, region[0], rtol=0, atol=1e-9))


def cautions(found: RSA, subjects: int) -> list[str]:
    """What makes an interval say less than it seems to."""
    said = []
    if found.draws and found.dof < 3:
        said.append(
            f"the interval rests on {subjects} subjects (t with {found.dof} degrees of freedom): it is very wide"
        )
    if 0 < found.draws < 100:
        said.append(f"the interval comes from only {found.draws} bootstrap draws: take 1,000 for a number to report")
    return said


def region_rdms(recordings: Recordings | RegionRDMs) -> list[RegionRDMs]:
    """A recordings' RDMs, one object a region: subject by subject, from the mean over repetitions.

    Subjects that lack a stimulus, or in whom a stimulus evokes the same count in every neuroid, are left out and
    named in `dropped`. Raises UndefinedPatterns if that leaves a region without subjects.
    """
    from bridge.recordings.recordings import RegionRDMs
    from comparisons.rdms import UndefinedPatterns, correlation_rdm

    if isinstance(recordings, RegionRDMs):
        return [recordings]
    found = []
    for name in recordings.regions:
        region = recordings.region(name)
        rdms, subjects, dropped = [], [], list(region.dropped)
        last: UndefinedPatterns | None = None
        for subject in dict.fromkeys(region.neuroids["subject"]):
            own = (region.neuroids["subject"] == subject).to_numpy()
            try:
                rdms.append(correlation_rdm(np.nanmean(region.data[:, :, own], axis=0)))
                subjects.append(str(subject))
            except UndefinedPatterns as undefined:
                last = undefined
                dropped.append(f"subject {subject} of {name}: {undefined}")
        if last is not None and not rdms:
            raise last
        found.append(
            RegionRDMs(
                name=recordings.name,
                region=name,
                rdms=np.stack(rdms),
                stimulus_ids=recordings.stimulus_ids,
                subjects=tuple(subjects),
                simulated=recordings.simulated,
                citation=recordings.citation,
                dropped=tuple(dropped),
            )
        )
    return found


def save_regions(folder: Path, regions: list[RegionRDMs]) -> None:
    """Region RDMs as regions.npz (one array [subject, pair] a region) and regions.json (everything else)."""
    np.savez(folder / "regions.npz", **{str(number): region.rdms for number, region in enumerate(regions)})
    about = [{key: value for key, value in region.__dict__.items() if key != "rdms"} for region in regions]
    write_atomically(folder / "regions.json", json.dumps(about))


def load_regions(folder: Path) -> list[RegionRDMs]:
    """What `save_regions` wrote."""
    from bridge.recordings.recordings import RegionRDMs

    about = json.loads((folder / "regions.json").read_text())
    found = []
    with np.load(folder / "regions.npz", allow_pickle=False) as arrays:
        for number, values in enumerate(about):
            fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
            found.append(RegionRDMs(**fields, rdms=arrays[str(number)]))
    return found
