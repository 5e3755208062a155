"""`kind: banded`: what each group of a model's sites explains of neuroids' variance alone, and what they share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from bridge.errors import InputError
from bridge.spec import Seed, Spec
from bridge.store import write_atomically
from comparisons.features import Features, Pool, site_features
from comparisons.kinds.base import MOST_DRAWS, ComparisonSpec
from comparisons.responses import add_responses, comparable, load_responses

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from bridge.recordings.recordings import Recordings
    from comparisons.encoding.unique_variance import Banded
    from comparisons.plan import Planner, Progress


class Band(Spec):
    """One group of features, with a penalty of its own."""

    sites: Annotated[list[str], Field(min_length=1)]
    """Globs over site names; all of their features together are the band."""
    pool: Pool = "none"
    """What becomes of a site's tokens: all are features, or their mean or maximum is."""


class BandedComparison(ComparisonSpec):
    """Unique and shared variance of feature groups by banded ridge regression (Nunez-Elizalde et al. 2019)."""

    kind: Literal["banded"] = "banded"
    bands: Annotated[dict[str, Band], Field(min_length=2, max_length=5)]
    """The groups by name; a model's sites may stand in several."""
    recordings: list[str] | None = None
    """Names of the config's recordings to predict; all where left out. Recordings that are RDMs cannot be."""
    scale: Literal["bands", "features"] = "bands"
    """What makes the penalties of bands comparable: every band has the same sum of squares over the training stimuli,
    or every feature the same variance (no kernel can be shared between folds then: slow for many features)."""
    choice: Literal["neuroid", "region"] = "neuroid"
    """Whether ratios and penalty are chosen for each neuroid or once for a region."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Every stimulus is left out once; ratios and penalty are chosen by leave-one-out within the other folds."""
    fold_seed: Seed = 0
    """Seed of the division into folds."""
    draws: Annotated[int, Field(ge=0, le=MOST_DRAWS)] = 1000
    """Bootstrap draws over stimuli and neuroids behind each interval; 0 for none."""

    @override
    def add_stages(self, planner: Planner) -> list[str]:
        brain = add_responses(planner, "banded encoding", self.recordings)
        return [self._add_model(planner, model, brain) for model in planner.config.models]

    def _add_model(self, planner: Planner, model: ModelSpec, brain: str) -> str:
        features = {name: site_features(planner, model, band.sites) for name, band in self.bands.items()}
        seed = planner.config.seed
        _, left_out = comparable(planner.config, "banded encoding", self.recordings)
        needs = tuple(dict.fromkeys((brain, *(stage for of in features.values() for stage in of.needs))))

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            keys = ["/".join(needed[stage].parts[-2:]) for stage in needs]
            about = {"model": model.name, "role": model.shown_as, "artefacts": keys, "seed": seed}
            results: list[dict[str, Any]] = []
            dropped = [*left_out, *(f"stimulus {why}" for why in planner.stimuli.dropped)]
            recordings = load_responses(needed[brain])
            for done, one in enumerate(recordings):
                banded = self._fit(features, needed, one)
                for region in one.regions:
                    told = region_results(banded, one, region, self.draws, seed)
                    for found, undefined in told:
                        results += [{**about, **found}] if found else []
                        dropped += [f"{model.name}: {undefined}"] if undefined else []
                progress((done + 1) / len(recordings))
            write_atomically(folder / "results.json", json.dumps({"results": results, "dropped": dropped}))

        inputs = {
            **{key: value for key, value in self.content().items() if key != "recordings"},
            "sites": {name: list(of.sites) for name, of in features.items()},
            "seed": seed,
            "model": [model.name, model.shown_as],
            "left_out": list(left_out),
        }
        return planner.add(
            f"banded {model.name}",
            "banded",
            inputs,
            build,
            needs=needs,
            libraries=("numpy", "scipy"),
            code=(__name__, "bridge.stimuli"),
        )

    def _fit(self, features: dict[str, Features], needed: Mapping[str, Path], one: Recordings) -> Banded:
        """The bands of one model against one recordings' mean responses."""
        from comparisons.encoding import LinearKernel, nanmean
        from comparisons.encoding.banded import banded_ridge, folds_of

        bands: dict[str, Any] = {}
        for name, of in features.items():
            values = [of.read(needed, site, one.stimulus_ids, self.bands[name].pool) for site in of.sites]
            joined = _joined(values)
            bands[name] = LinearKernel(joined) if self.scale == "bands" else joined
        return banded_ridge(
            bands,
            nanmean(one.data.astype(np.float64)),
            splits=folds_of(len(one.stimulus_ids), self.folds, self.fold_seed),
            groups=one.neuroids["region"].tolist() if self.choice == "region" else None,
            scale=self.scale,
        )


def _joined(values: list[Any]) -> Any:
    """Features of several sites beside each other, sparse if any of them is."""
    if len(values) == 1:
        return values[0]
    if any(hasattr(value, "tocsr") for value in values):
        from scipy.sparse import hstack

        return hstack(values).tocsr()
    return np.concatenate(values, axis=1)


def region_results(
    banded: Banded, one: Recordings, region: str, draws: int, seed: int
) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """(a result's fields, "") or (None, what is undefined and why), for every share of one region's variance.

    Shares are means over the region's neuroids. phi is given where there are repetitions.
    """
    from comparisons.encoding.unique_variance import percentiles, share_draws, unique_share

    mine = np.flatnonzero((one.neuroids["region"] == region).to_numpy())
    part = banded.of(mine)
    known = np.isfinite(part.r2(*part.bands))
    where = f"{one.name} {region}"
    if not known.any():
        yield None, f"banded encoding of {where} is undefined (constant or missing responses)"
        return
    shares = {"R2 of all bands": part.r2(*part.bands)}
    shares.update({f"unique R2 of {band}": part.unique(band) for band in part.bands})
    shares["shared R2"] = part.shared()
    drawn = share_draws(part, len(one.stimulus_ids), draws, seed) if draws else {}
    drawn_as = {"R2 of all bands": "R2", "shared R2": "shared"}
    drawn_as.update({f"unique R2 of {band}": f"unique {band}" for band in part.bands})
    intervals = {measure: percentiles(drawn[name]) for measure, name in drawn_as.items() if name in drawn}
    shares.update({f"R2 of {band} alone": part.r2(band) for band in part.bands})
    notes = [
        f"mean over {int(known.sum())} of {len(mine)} neuroids, against predicting the mean of the training stimuli",
        *part.notices,
    ]

    def result(measure: str, estimate: float, interval: tuple[float, float] | None, more: list[str]) -> dict[str, Any]:
        resampled = ["interval: stimuli and neuroids resampled, maps not refitted"] if interval else []
        return {
            "comparison": "banded encoding",
            "measure": measure,
            "site": None,
            "recordings": one.name,
            "region": region,
            "estimate": estimate,
            "interval": interval,
            "n_stimuli": len(one.stimulus_ids),
            "n_subjects": int(one.neuroids["subject"].iloc[mine].nunique()),
            "n_draws": draws if interval else 0,
            "simulated": one.simulated,
            "dropped": list(one.dropped),
            "notes": [*more, *resampled],
        }

    for measure, values in shares.items():
        limits = intervals.get(measure)
        usable = limits if limits is not None and np.isfinite(limits).all() else None
        yield result(measure, float(values[known].mean()), usable, notes), ""
    if len(one.data) < 2:
        return
    for band in part.bands:
        try:
            phi = unique_share(part, band, one.data[:, :, mine].astype(np.float64), draws=draws, seed=seed)
        except InputError as error:
            yield None, f"phi of {band} for {where} is undefined: {error}"
            continue
        limits = phi.interval()
        told = [
            f"unique variance over signal variance, pooled over {int(phi.kept.sum())} of {len(mine)} neuroids "
            "whose signal variance is 20% of their mean response's",
            *part.notices,
        ]
        usable = limits if np.isfinite(limits).all() else None
        yield result(f"phi of {band}", phi.estimate, usable, told), ""
