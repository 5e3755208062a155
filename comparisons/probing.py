"""One model under all probes: what `kind: probe` computes, site by site."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError, did_you_mean
from bridge.streams import Site
from comparisons import characterise
from comparisons.characterise import Codes, Latents, centre_token, present, units

if TYPE_CHECKING:
    import pandas as pd

    from bridge.models import ModelSpec
    from bridge.models.base import Backbone
    from comparisons.kinds.probe import ProbeComparison
    from comparisons.plan import Planner, Progress
    from probes.ridge import Design

IMAGES, GRATINGS = "drawn images", "gratings"
DIMENSIONS = 50
"""Principal components that decoding reads from, the same at every site."""


@dataclass(frozen=True)
class Chosen:
    """What is probed: a site's units, or the latents of a dictionary (`stage` makes it) that reads the site."""

    name: str
    site: Site
    stage: str | None = None


@dataclass
class Found:
    """Results as plain values, one table row a feature, all arrays by SITE|field, and what was left out."""

    results: list[dict[str, Any]] = field(default_factory=list)
    tables: list[pd.DataFrame] = field(default_factory=list)
    arrays: dict[str, NDArray] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """All rows, site by site."""
        import pandas as pd

        return pd.concat(self.tables, ignore_index=True) if self.tables else pd.DataFrame()


def chosen_sites(planner: Planner, model: ModelSpec, patterns: list[str]) -> list[Chosen]:
    """The sites and dictionaries of a model that match the globs. Raises ConfigError for one that matches nothing, and
    for a dictionary that reads several sites."""
    plain = [pattern for pattern in patterns if "/" not in pattern]
    found = [Chosen(name, site) for name, site in (planner.chosen(model, plain) if plain else {}).items()]
    offered = planner.features.get(model.name, {})
    everywhere = list(dict.fromkeys(name for names in planner.features.values() for name in names))
    for pattern in (pattern for pattern in patterns if "/" in pattern):
        if not fnmatch.filter(everywhere, pattern):
            hint = did_you_mean(pattern, everywhere) if everywhere else "the config has no `saes`"
            raise ConfigError(f"sites: no codes match {pattern!r}; {hint}.")
        for name in fnmatch.filter(list(offered), pattern):
            stage, reads, _ = planner.dictionaries[model.name, name]
            if len(reads) > 1:
                raise ConfigError(f"sites: {name} reads {len(reads)} sites; probe dictionaries of one site.")
            found.append(Chosen(name, planner.chosen(model, list(reads))[reads[0]], stage))
    return list({one.name: one for one in found}.values())


def dictionary(folder: Path) -> tuple[Codes, Callable[[NDArray], NDArray] | None]:
    """A saved dictionary as `Codes`, and its reconstruction (None for transcoders, which make another site's value)."""
    import torch

    from saes.checkpoints import read_folder

    sae = read_folder(folder)

    def codes(activations: NDArray) -> Latents:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(activations))
            return Latents(sae.encode(x).numpy(), sae.pre_activation(x).numpy())

    def reconstruct(activations: NDArray) -> NDArray:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(activations))
            return sae.decode(sae.encode(x), x).numpy()

    return codes, None if sae.config.transcodes else reconstruct


def probe_model(
    spec: ProbeComparison,
    model: ModelSpec,
    chosen: list[Chosen],
    needed: Mapping[str, Path],
    seed: int,
    device: str,
    progress: Progress,
) -> Found:
    """Everything that is asked for of one model. Raises ConfigError for a network that reads texts."""
    backbone = model.load()
    if backbone.preprocessing is None:
        raise ConfigError(f"comparisons: probe presents drawn images, and {model.name} reads texts; leave it out.")
    about = {"comparison": "probe", "model": model.name, "role": model.shown_as, "n_subjects": 1, "region": "features"}
    run = _Run(spec, backbone, chosen, needed, seed, device, about, Found())
    steps: list[tuple[str, Callable[[Callable[[float], None]], None]]] = []
    if {"tuning", "decoding"} & set(spec.probes):
        steps.append(("gratings", run.gratings))
    if {"simplicity", "geometry"} & set(spec.probes):
        steps.append(("scenes", run.scenes))
    for number, (text, step) in enumerate(steps):
        step(lambda share, number=number, text=text: progress((number + share) / len(steps), text))  # type: ignore[misc]
    return run.found


@dataclass
class _Run:
    spec: ProbeComparison
    backbone: Backbone
    chosen: list[Chosen]
    needed: Mapping[str, Path]
    seed: int
    device: str
    about: dict[str, Any]
    found: Found

    def codes(self, one: Chosen) -> tuple[Codes, Callable[[NDArray], NDArray] | None]:
        return dictionary(self.needed[one.stage] / one.name) if one.stage else (units, None)

    def say(
        self, one: Chosen, measure: str, value: float, n: int, shown: str, *notes: str, p: float | None = None
    ) -> None:
        """Add a result, unless there is no number: then why not is said."""
        if not math.isfinite(value):
            self.found.dropped.append(f"{self.about['model']} {one.name}: no number for {measure} ({'; '.join(notes)})")
            return
        self.found.results.append(
            {
                **self.about,
                "measure": measure,
                "site": one.name,
                "depth": one.site.depth,
                "recordings": shown,
                "estimate": float(value),
                "p": p,
                "n_stimuli": n,
                "notes": list(notes),
            }
        )

    def keep(self, one: Chosen, values: Mapping[str, NDArray]) -> None:
        """Numbers of each feature, for the table and the arrays."""
        import pandas as pd

        for name, array in values.items():
            self.found.arrays[f"{one.name}|{name}"] = np.asarray(array)
        known = next((t for t in self.found.tables if t["site"].iloc[0] == one.name), None)
        frame = pd.DataFrame(dict(values))
        if known is not None:
            for column in frame:
                known[column] = frame[column].to_numpy()
            return
        frame.insert(0, "feature", np.arange(len(frame)))
        frame.insert(0, "site", one.name)
        frame.insert(0, "model", self.about["model"])
        self.found.tables.append(frame)

    # ------------------------------------------------------------------------------------------------- gratings

    def gratings(self, progress: Callable[[float], None]) -> None:
        """Tuning of every feature, and decoding across conditions."""
        preprocessing = self.backbone.preprocessing
        assert preprocessing is not None
        jitter = self.spec.jitter if self.spec.jitter is not None else self._half_a_patch()
        battery = characterise.tuning_battery(preprocessing, jitter, self.seed)
        stimuli = battery.load()
        warned = characterise.aliasing(stimuli.table["cycles"].dropna().to_numpy(float), preprocessing, battery.size)
        if warned:
            self.found.dropped.append(f"{self.about['model']}: {warned}")
        keep = {one.site.name: np.array([centre_token(one.site)]) for one in self.chosen}
        values = present(self.backbone, stimuli, keep, device=self.device, progress=lambda share: progress(0.5 * share))
        for done, one in enumerate(self.chosen):
            if "tuning" in self.spec.probes:
                self._tuning(one, stimuli.table, values[one.site.name])
            if "decoding" in self.spec.probes:
                self._decoding(one, stimuli.table, values[one.site.name])
            progress(0.5 + 0.5 * (done + 1) / len(self.chosen))

    def _half_a_patch(self) -> int:
        grid = next((one.site.grid for one in self.chosen if one.site.grid), None)
        if self.backbone.layout != "btc" or grid is None or self.backbone.preprocessing is None:
            return 0
        return self.backbone.preprocessing.size // grid[0] // 2

    def _tuning(self, one: Chosen, table: pd.DataFrame, activations: NDArray) -> None:
        codes, reconstruct = self.codes(one)
        tuned = characterise.tune(
            table, activations, codes, reconstruct, permutations=self.spec.permutations, seed=self.seed
        )
        rows = dict(tuned.pre.rows())
        if tuned.post is not tuned.pre:
            rows |= {f"post_{name}": values for name, values in tuned.post.rows().items()}
        series = tuned.series
        rows |= {
            "contrast_c50": series.contrast.c50,
            "contrast_exponent": series.contrast.exponent,
            "suppression": series.size.suppression,
            "summation_diameter": series.size.summation,
            "surround_diameter": series.size.surround,
            "colour_index": series.colour,
        }
        self.keep(one, rows)
        n, count = int((table["family"] == "gratings").sum()), len(tuned.pre.label)
        oriented = np.isin(tuned.pre.label, ("simple", "complex"))
        states = {str(k): int(v) for k, v in zip(*np.unique(tuned.pre.state, return_counts=True), strict=True)}
        said = f"{count} features: " + ", ".join(f"{v} {k}" for k, v in states.items())
        self.say(one, "share tuned to orientation", oriented.mean(), n, GRATINGS, said,
                 "label permutation, false discovery rate .05 over a site's features")  # fmt: skip
        simple = (tuned.pre.label == "simple")[oriented]
        self.say(one, "F1 above F0, share of tuned", simple.mean() if len(simple) else math.nan, n, GRATINGS, said)
        variance = tuned.pre.circular_variance_above[oriented]
        self.say(one, "circular variance of tuned, median", float(np.median(variance)) if len(variance) else math.nan,
                 n, GRATINGS, said)  # fmt: skip
        if tuned.unexplained is not None:
            self.say(one, "FVU on gratings", tuned.unexplained, n, GRATINGS, "gratings are unlike what it learnt on")

    def _decoding(self, one: Chosen, table: pd.DataFrame, activations: NDArray) -> None:
        from probes.decoding import decode_across, orientation_target

        codes, _ = self.codes(one)
        values = codes(activations).pre[:, 0]
        family = table["family"].to_numpy()
        for name, shown, target, across in (
            ("orientation", "gratings", lambda t: orientation_target(t["orientation"].to_numpy(float)), "cycles"),
            ("log frequency", "gratings", lambda t: np.log2(t["cycles"].to_numpy(float)), "orientation"),
            ("log contrast", "contrasts", lambda t: np.log2(t["contrast"].to_numpy(float)), "orientation"),
        ):
            rows = np.flatnonzero(family == shown)
            part, x = table.iloc[rows], values[rows]
            x = x[:, np.isfinite(x).all(axis=0)]
            held = {"cycles": "spatial frequencies", "orientation": "orientations"}[across]
            if x.shape[1] == 0:
                self.say(one, f"{name} decoded", math.nan, len(rows), GRATINGS, "no feature is finite")
                continue
            decoded = decode_across(
                x, target(part), part[across].to_numpy(), components=DIMENSIONS, permutations=20, seed=self.seed
            )
            floor = float(np.quantile(decoded.floor, 0.95))
            self.say(
                one, f"{name} decoded (R2)", decoded.r2, len(rows), GRATINGS,
                f"ridge from {DIMENSIONS} components of the middle token, tested on {held} left out",
                f"95% of label permutations below {floor:.3f}",
            )  # fmt: skip

    # --------------------------------------------------------------------------------------------------- scenes

    def scenes(self, progress: Callable[[float], None]) -> None:
        """Gabor simplicity of every feature, and the geometry of each site, from drawn images."""
        from bridge.stimuli.battery import Battery

        preprocessing = self.backbone.preprocessing
        assert preprocessing is not None
        share = self.spec.images // 10
        families = {"textures": 3 * share, "shapes": 3 * share, "scenes": self.spec.images - 6 * share}
        stimuli = Battery(
            name=IMAGES, families=tuple(families), size=preprocessing.resize or preprocessing.size,
            limit=families, seed=self.spec.image_seed,
        ).load()  # fmt: skip
        sites = {one.site.name: one.site for one in self.chosen}
        fields = characterise.effective_fields(self.backbone, sites, seed=self.seed)
        greys = characterise.greys_of(stimuli, preprocessing)
        cut = {
            name: characterise.windows(
                greys,
                site,
                characterise.window_side(fields[name].side, preprocessing.size),
                self.spec.places,
                self.seed,
            )
            for name, site in sites.items()
        }
        tokens = {name: one.tokens for name, one in cut.items()}
        values = present(self.backbone, stimuli, tokens, device=self.device, progress=lambda s: progress(0.3 * s))
        designs: dict[bytes, tuple[Design, Design]] = {}
        for done, one in enumerate(self.chosen):
            seen = cut[one.site.name]
            latents = self.codes(one)[0](values[one.site.name])
            if "simplicity" in self.spec.probes:
                self._simplicity(one, seen, latents.pre, designs, fields[one.site.name].side)
            if "geometry" in self.spec.probes:
                self._geometry(one, latents, values[one.site.name])
            progress(0.3 + 0.7 * (done + 1) / len(self.chosen))

    def _simplicity(
        self,
        one: Chosen,
        seen: characterise.Windows,
        pre: NDArray,
        designs: dict[bytes, tuple[Design, Design]],
        side: float,
    ) -> None:
        import hashlib

        from probes.simplicity import gabor_design, random_design, simplicity

        key = hashlib.sha256(seen.images.tobytes()).digest()
        if key not in designs:
            designs[key] = (
                gabor_design(seen.images, self.spec.components),
                random_design(seen.images, self.spec.components, self.seed),
            )
        scored = simplicity(pre.reshape(-1, pre.shape[2]), *designs[key], seen.groups)
        self.keep(
            one, {"simplicity": scored.score, "simplicity_random": scored.random, "simplicity_label": scored.label}
        )
        n = len(seen.images)
        undefined = int((scored.label == "undefined").sum())
        said = (
            f"{len(scored.label)} features ({undefined} undefined), receptive field {side:.0f} pixels wide",
            "R2 of the response from Gabors, cross-validated over images; simple from .5, complex to .1",
        )
        alive = scored.label != "undefined"
        if not alive.any():
            self.say(one, "share of simple features", math.nan, n, IMAGES, *said)
            return
        simple = (scored.label == "simple")[alive]
        self.say(one, "share of simple features", simple.mean(), n, IMAGES, *said)
        self.say(one, "number of simple features", float(simple.sum()), n, IMAGES, *said)
        self.say(one, "Gabor simplicity, median", float(np.median(scored.score[alive])), n, IMAGES, *said)
        self.say(one, "Gabor simplicity beyond random convolutions, median", float(np.median(scored.advantage[alive])),
                 n, IMAGES, *said)  # fmt: skip

    def _geometry(self, one: Chosen, latents: Latents, activations: NDArray) -> None:
        from probes.geometry import effective_latents, participation_ratio
        from probes.intrinsic import two_nn

        x = activations[:, 0].astype(np.float64)  # one token an image: tokens of one image are not independent
        if one.stage is None:
            said = f"{x.shape[1]} units, {len(x)} images, one token each"
            self.say(one, "participation ratio", participation_ratio(x), len(x), IMAGES, said)
            self.say(one, "intrinsic dimension (TwoNN)", two_nn(x).dimension, len(x), IMAGES, said)
            return
        z = latents.post.reshape(-1, latents.post.shape[2])
        live = int((z != 0).any(axis=0).sum())
        self.say(one, "effective number of live latents", effective_latents(z), len(z), IMAGES,
                 f"{live} of {z.shape[1]} latents are ever active; the stream's intrinsic dimension is "
                 f"{two_nn(x).dimension:.1f}")  # fmt: skip
