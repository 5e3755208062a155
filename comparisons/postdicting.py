"""One model under all postdictions: what `kind: postdictions` presents, and the results it makes of the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.store import write_atomically
from bridge.streams import Site
from comparisons import characterise, postdictions
from comparisons.characterise import centre_token

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet
    from comparisons.kinds.postdictions import PostdictionsComparison
    from comparisons.plan import Planner, Progress

KIND = "postdictions"
GRAIN = 32
"""Pixels a side of the white noise, enlarged to the network's input: its deep fields are wide."""


def add_model(planner: Planner, spec: PostdictionsComparison, model: ModelSpec) -> str:
    """The stage of one model. Raises ConfigError for sites that it does not have."""
    config, sites = planner.config, planner.chosen(model, spec.sites)
    codes = _dictionaries(planner, spec, model, sites) if "redundancy" in spec.parts else {}
    needs = tuple(dict.fromkeys(stage for pair in codes.values() for stage in pair))

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        about = {"comparison": KIND, "model": model.name, "role": model.shown_as, "seed": config.seed}
        found = Found(about)
        backbone = model.load()
        if backbone.preprocessing is None:
            found.dropped.append(f"postdictions present images, and {model.name} reads texts")
        else:
            device = config.capture.resolved_device()
            _Run(spec, backbone, sites, config.seed, device, found).all(lambda share: progress(0.9 * share))
        if codes:
            _redundancy(found, sites, codes, needed, config.seed)
        content = {"results": found.results, "dropped": found.dropped}
        write_atomically(folder / "results.json", json.dumps(content))

    inputs: dict[str, Any] = {
        **{key: value for key, value in spec.content().items() if key != "sites"},
        "sites": list(sites),
        "dictionaries": list(codes),
        "seed": config.seed,
        "model": model.fingerprint(),
        "name": [model.name, model.shown_as],
    }
    libraries = ("numpy", "scipy", "torch")
    code = (__name__, "comparisons.postdictions", "bridge.models", "bridge.stimuli", "comparisons.persistence")
    return planner.add(f"postdictions {model.name}", KIND, inputs, build, needs=needs, libraries=libraries, code=code,
                       on_device=True)  # fmt: skip


def _dictionaries(
    planner: Planner, spec: PostdictionsComparison, model: ModelSpec, sites: Mapping[str, Site]
) -> dict[str, tuple[str, str]]:
    """SITE/NAME of the first dictionary that stands at two or more of the sites: (stage that makes it, its codes)."""
    from comparisons.codes import codes_stage

    for entry in planner.config.saes:
        names = [f"{site}/{entry.names()[0]}" for site in sites]
        known = [name for name in names if (model.name, name) in planner.dictionaries]
        plain = [name for name in known if planner.dictionaries[model.name, name][1:] == ((name.split("/")[0],), None)]
        if len(plain) > 1:
            return {
                name: (planner.dictionaries[model.name, name][0], codes_stage(planner, model, name)) for name in plain
            }
    return {}


@dataclass
class Found:
    """Results as plain values, and what has no number and why."""

    about: Mapping[str, Any]
    results: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def say(self, site: Site | None, measure: str, value: float, n: int, shown: str, *notes: str, **more: Any) -> None:
        """Add a result, unless there is no number: then that is said."""
        if not np.isfinite(value):
            where = f" {site.name}" if site else ""
            self.dropped.append(f"{self.about['model']}{where}: no number for {measure} ({'; '.join(notes)})")
            return
        self.results.append(
            {
                **self.about,
                "measure": measure,
                "site": site.name if site else None,
                "depth": site.depth if site else None,
                "recordings": shown,
                "region": "features",
                "estimate": float(value),
                "n_stimuli": n,
                "n_subjects": 1,
                "notes": list(notes),
                **more,
            }
        )

    def spread(self, site: Site, measure: str, values: NDArray, n: int, shown: str, *notes: str) -> None:
        """The median over features, with the range of the middle half in the notes."""
        known = values[np.isfinite(values)]
        if not len(known):
            self.say(site, f"{measure}, median", float("nan"), n, shown, *notes)
            return
        low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
        told = f"middle half {low:.3f} to {high:.3f}, {len(known)} of {len(values)} features"
        self.say(site, f"{measure}, median", float(middle), n, shown, *notes, told)


@dataclass
class _Run:
    spec: PostdictionsComparison
    backbone: Backbone
    sites: Mapping[str, Site]
    seed: int
    device: str
    found: Found

    def all(self, progress: Callable[[float], None]) -> None:
        parts = set(self.spec.parts)
        steps: list[Callable[[], None]] = []
        if {"sparseness", "dimension"} & parts:
            steps.append(self.images)
        if "fields" in parts:
            steps.append(self.fields)
        if "simplicity" in parts:
            steps.append(self.simplicity)
        if "overloading" in parts:
            steps.append(self.overloading)
        for done, step in enumerate(steps):
            step()
            progress((done + 1) / len(steps))

    def _drawn(self, families: Mapping[str, int], seed: int) -> StimulusSet:
        from bridge.stimuli.battery import Battery

        preprocessing = self.backbone.preprocessing
        assert preprocessing is not None
        limit = {name: count for name, count in families.items() if count}
        size = preprocessing.resize or preprocessing.size
        values = {"name": "drawn", "families": list(families), "size": size, "limit": limit, "seed": seed}
        return Battery.model_validate(values).load()

    def _middle(self, stimuli: StimulusSet) -> dict[str, NDArray[np.float32]]:
        """Each site's middle token for every stimulus, [n, d]."""
        keep = {name: np.array([centre_token(site)]) for name, site in self.sites.items()}
        return {
            name: values[:, 0]
            for name, values in characterise.present(self.backbone, stimuli, keep, device=self.device).items()
        }

    def images(self) -> None:
        """Sparseness and dimension, one token an image: tokens of one image are not independent."""
        share = self.spec.images // 10
        families = {"textures": 3 * share, "shapes": 3 * share, "scenes": self.spec.images - 6 * share}
        stimuli = self._drawn(families, self.spec.image_seed)
        n, shown = len(stimuli), "drawn images"
        for name, values in self._middle(stimuli).items():
            site = self.sites[name]
            if "sparseness" in self.spec.parts:
                codes = postdictions.sparse(values)
                said = f"units standardised and rectified; a Gaussian has {postdictions.GAUSSIAN:.2f}"
                self.found.spread(site, "lifetime sparseness", codes.lifetime, n, shown, said)
                self.found.spread(site, "population sparseness", codes.population, n, shown, said)
            if "dimension" in self.spec.parts:
                size = postdictions.effective_dimension(values)
                said = f"{size.width} units, one token an image"
                self.found.say(site, "participation ratio", size.participation, n, shown, said)
                self.found.say(site, "participation ratio over width", size.participation / size.width, n, shown, said)
                self.found.say(site, "intrinsic dimension (TwoNN)", size.intrinsic, n, shown, said)

    def fields(self) -> None:
        """How well linear receptive fields predict units' responses to white noise."""
        import pandas as pd

        from bridge.stimuli.stimulus_set import ArraySource, StimulusSet
        from probes.receptive_fields import noise_images

        preprocessing = self.backbone.preprocessing
        assert preprocessing is not None
        noise = noise_images(self.spec.noise, GRAIN, self.seed)
        size = preprocessing.resize or preprocessing.size
        enlarged = -(-size // GRAIN)
        eight = (np.repeat(np.repeat(noise, enlarged, axis=1), enlarged, axis=2) * 255 + 0.5).astype(np.uint8)
        table = pd.DataFrame(index=pd.Index([f"noise-{row}" for row in range(len(noise))], name="stimulus_id"))
        source = ArraySource(np.repeat(eight[..., None], 3, axis=3))
        fields = characterise.effective_fields(self.backbone, self.sites, seed=self.seed)
        for name, values in self._middle(StimulusSet("noise", table, source)).items():
            side = int(np.ceil(fields[name].side / size * GRAIN)) + 2
            seen = _around_middle(noise, side)
            self.found.spread(
                self.sites[name], "receptive field R2", postdictions.field_r2(seen, values), len(noise), "white noise",
                f"linear field of {seen.shape[1]} pixels of noise around the token, by leave-one-out",
            )  # fmt: skip

    def simplicity(self) -> None:
        """The least, median and greatest simplicity of each site's units."""
        from comparisons.feature_simplicity import feature_simplicity

        scores = feature_simplicity(
            self.backbone, dict.fromkeys(self.sites, lambda tokens: tokens), images=self.spec.images,
            image_seed=self.spec.image_seed, seed=self.seed, device=self.device,
        )  # fmt: skip
        for name, score in scores.items():
            known = score[np.isfinite(score)]
            said = f"{len(known)} of {len(score)} units; R2 of each from Gabors, cross-validated over images"
            for word, value in (
                ("least", known.min() if len(known) else np.nan),
                ("median", np.median(known) if len(known) else np.nan),
                ("greatest", known.max() if len(known) else np.nan),
            ):
                self.found.say(
                    self.sites[name], f"Gabor simplicity, {word}", float(value), self.spec.images, "drawn images", said
                )

    def overloading(self) -> None:
        """How much units' orientation tuning changes with spatial frequency and with contrast."""
        from probes.tuning.grid import factorial

        stimuli = self._drawn({"gratings": 0, "contrasts": 0, "blanks": 0}, self.seed)
        table = stimuli.table
        family = table["family"].to_numpy()
        blank = np.flatnonzero((family == "blanks") & np.isclose(table["luminance"].to_numpy(float), 0.5))[0]
        for name, values in self._middle(stimuli).items():
            above = values.astype(np.float64) - values[blank]
            for shown, context, words in (
                ("gratings", "cycles", "frequency"), ("contrasts", "contrast", "contrast"),
            ):  # fmt: skip
                rows = np.flatnonzero(family == shown)
                factors = {one: table[one].to_numpy(float)[rows] for one in ("orientation", context, "phase")}
                grid, _ = factorial(above[rows], factors)
                curves = np.sqrt((grid**2).mean(axis=3))
                self.found.spread(
                    self.sites[name], f"overloading over {words}", postdictions.overloading(curves), len(rows),
                    "gratings", f"1 - mean correlation of orientation tuning between levels of {words}; 0: one role",
                )  # fmt: skip


def _around_middle(noise: NDArray, side: int) -> NDArray:
    """The pixels of the centred square of `side` (all, where the image is smaller), [n, p]."""
    size = noise.shape[1]
    side = min(side, size)
    low = (size - side) // 2
    return noise[:, low : low + side, low : low + side].reshape(len(noise), -1)


def _redundancy(
    found: Found,
    sites: Mapping[str, Site],
    codes: Mapping[str, tuple[str, str]],
    needed: Mapping[str, Path],
    seed: int,
) -> None:
    """The share of a dictionary's features that are found at more than one site."""
    from comparisons.persistence.matched_latents import coded, match_sites_of

    own = [sites[name.split("/")[0]] for name in codes]
    latents = [
        coded(needed[made] / name, needed[of], site)
        for (name, (made, of)), site in zip(codes.items(), own, strict=True)
    ]
    partners, _ = match_sites_of(latents, own, seed=seed)
    total, each = postdictions.redundancy([one.alive for one in latents], partners)
    n, name = len(latents[0].ids), next(iter(codes)).split("/")[1]
    said = (
        f"latents of {name} at {len(own)} sites, matched by mutual nearest neighbours above the 99th percentile of the "
        "null; seeds of one site share few features too, so this is a lower bound"
    )
    measure = "share of features found at another site"
    found.say(None, f"{measure}, all sites", total, n, "features", said, dictionary=name)
    for site, value in zip(own, each, strict=True):
        found.say(site, measure, float(value), n, "features", said, dictionary=name)
