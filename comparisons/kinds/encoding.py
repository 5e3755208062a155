"""`kind: encoding`: linear maps from every chosen site of every model to every region's neuroids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from bridge.spec import Spec
from bridge.store import write_atomically
from comparisons.features import Pool, labelled, parted, site_features
from comparisons.kinds.base import MOST_DRAWS, ComparisonSpec
from comparisons.responses import add_responses, comparable, load_responses

if TYPE_CHECKING:
    from bridge.models import ModelSpec
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
    pool: Pool = "none"
    """What becomes of a site's tokens: all are features (as in Brain-Score), or their mean or maximum is."""
    alignments: list[Literal["cka", "cka-biased", "procrustes"]] = []
    """Symmetric measures beside the maps: unbiased or biased linear CKA, Procrustes."""
    other_subjects: bool = False
    """Also predict each subject's neuroids from all other subjects', as a reference beside the models."""
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
    draws: Annotated[int, Field(ge=0, le=MOST_DRAWS)] = 1000
    """Bootstrap draws over neuroids and held-out stimuli behind each interval of `r`; 0 for none."""
    permutations: Annotated[int, Field(ge=0, le=MOST_DRAWS)] = 5000
    """Permutations of held-out stimuli behind each p of `r` against zero; 0 for none. The maps of this test are fitted
    on one half of the stimuli and judged on the other, because overlapping splits have no exact test."""

    @override
    def add_stages(self, planner: Planner) -> list[str]:
        config = planner.config
        same_kind = [other for other in config.comparisons if isinstance(other, EncodingComparison)]
        place = same_kind.index(self) if self in same_kind else 0
        title = "encoding" if place == 0 else f"encoding {place + 1}"
        brain = add_responses(planner, title, self.recordings)
        found = [self._add_model(planner, model, brain, title) for model in config.models]
        return [*found, self._add_other_subjects(planner, brain, title)] if self.other_subjects else found

    def _add_other_subjects(self, planner: Planner, brain: str, title: str) -> str:
        """Every subject's neuroids from all others', by the same maps and splits."""
        seed = planner.config.seed

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.encoding.recordings_encoded import RecordingsEncoded

            about = {
                "model": "other subjects",
                "role": "reference",
                "artefacts": ["/".join(needed[brain].parts[-2:])],
                "seed": seed,
            }
            results: list[dict[str, Any]] = []
            dropped: list[str] = []
            for one in load_responses(needed[brain]):
                part = RecordingsEncoded(self, one, planner.stimuli.table, seed)
                results += [{**about, **found} for found in part.other_subjects()]
                dropped += list(part.undefined)
            write_atomically(folder / "results.json", json.dumps({"results": results, "dropped": dropped}))

        inputs = {**{key: value for key, value in self.content().items() if key != "recordings"}, "seed": seed}
        code = (__name__, "bridge.stimuli")
        libraries = ("numpy", "scipy", "scikit-learn")
        name = f"{title} other subjects"
        return planner.add(name, "encoding", inputs, build, needs=(brain,), libraries=libraries, code=code)

    def _add_model(self, planner: Planner, model: ModelSpec, brain: str, title: str) -> str:
        """All sites of one model against every region of every recordings."""
        features = site_features(planner, model, self.sites)
        sites = features.sites
        seed = planner.config.seed
        _, left_out = comparable(planner.config, title, self.recordings)

        def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
            from comparisons.encoding.recordings_encoded import RecordingsEncoded

            recordings = load_responses(needed[brain])
            keys = ["/".join(needed[stage].parts[-2:]) for stage in (brain, *features.needs)]
            about = {"model": model.name, "role": model.shown_as, "artefacts": keys, "seed": seed}
            results: list[dict[str, Any]] = []
            dropped = [*left_out, *(f"stimulus {why}" for why in planner.stimuli.dropped)]
            maps: list[dict[str, Any]] = []
            arrays: dict[str, np.ndarray] = {}
            for done, one in enumerate(recordings):
                step = 0
                # A dictionary's codes are a model of their own: its best site is chosen among its sites.
                for names in features.groups().values():
                    part = RecordingsEncoded(self, one, planner.stimuli.table, seed)
                    for name in names:
                        values = features.read(needed, name, one.stimulus_ids, self.pool)
                        site = replace(sites[name], name=parted(name)[0])
                        dropped += [f"{model.name} {name} was left out: {why}" for why in part.add(values, site)]
                        step += 1
                        progress((done + step / len(sites)) / len(recordings))
                    label = labelled(model.name, names[0])
                    label.pop("site")
                    results += [{**about, **label, **found} for found in part.results(seed)]
                    dropped += [why for why in part.undefined if why not in dropped]
                    for (site_name, measure), values in part.maps.items():
                        arrays[str(len(maps))] = values
                        neuroids = list(one.neuroids["neuroid_id"].astype(str))
                        map_of = {"recordings": one.name, **label, "site": site_name, "measure": measure}
                        maps.append({**map_of, "neuroids": neuroids})
            # Per-neuroid r of every site: [split, neuroid], in the order of maps.json.
            np.savez(folder / "maps.npz", **arrays)
            write_atomically(folder / "maps.json", json.dumps(maps))
            write_atomically(folder / "results.json", json.dumps({"results": results, "dropped": dropped}))

        inputs = {
            **{key: value for key, value in self.content().items() if key != "recordings"},
            "sites": list(sites),
            "seed": seed,
            "model": [model.name, model.shown_as],
            "left_out": list(left_out),
        }
        needs, libraries = (brain, *features.needs), ("numpy", "scipy", "scikit-learn")
        name = f"{title} {model.name}"
        code = (__name__, "bridge.stimuli")
        return planner.add(name, "encoding", inputs, build, needs=needs, libraries=libraries, code=code)
