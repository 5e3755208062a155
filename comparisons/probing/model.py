"""One model under all probes: what is presented to it, and which probe gets what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError
from comparisons import characterise
from comparisons.card_data import ReceptiveField, middle_tokens
from comparisons.characterise import Codes, present, units
from comparisons.lineage import Lineages, Place
from comparisons.probing import cards, decoding, fields, geometry, simplicity, tuning
from comparisons.probing.chosen import Chosen, dictionary
from comparisons.probing.found import DRAWN, Found
from comparisons.probing.places import SIDE, Reading, places_of, present_places
from comparisons.probing.transfer import transfer

if TYPE_CHECKING:
    import pandas as pd

    from bridge.models import ModelSpec
    from bridge.models.base import Backbone, Preprocessing
    from bridge.stimuli.stimulus_set import StimulusSet
    from comparisons.kinds.probe import ProbeComparison
    from comparisons.plan import Progress

Step = Callable[[Callable[[float], None]], None]


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
    about = {"comparison": "probe", "model": model.name, "role": model.shown_as, "n_subjects": 1}
    run = _Run(spec, backbone, chosen, needed, seed, device, Found(about))
    asked = set(spec.probes)
    run.cards = spec.cards if model.shown_as == "trained" and {"tuning", "simplicity"} <= asked else 0
    steps: list[tuple[str, bool, Step]] = [
        ("gratings", bool({"tuning", "decoding"} & asked), run.gratings),
        ("drawn images", bool({"simplicity", "decoding", "geometry"} & asked), run.scenes),
        ("patches, shapes, objects", bool({"decoding", "geometry"} & asked), run.objects),
        ("noise", "fields" in asked, run.noise),
        ("cards", run.cards > 0, run.draw_cards),
    ]
    wanted = [(text, step) for text, on, step in steps if on]
    for number, (text, step) in enumerate(wanted):
        step(lambda share, number=number, text=text: progress((number + share) / len(wanted), text))  # type: ignore[misc]
    return run.found


@dataclass
class _Run:
    spec: ProbeComparison
    backbone: Backbone
    chosen: list[Chosen]
    needed: Mapping[str, Path]
    seed: int
    device: str
    found: Found
    cards: int = 0
    """Cards a site."""
    shown: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """What middle tokens answered to the tuning battery, [n, 1, d] by site, and `battery` its table."""
    battery: pd.DataFrame | None = None
    drawn: StimulusSet | None = None
    """The drawn images, and `seen` what middle tokens answered to them, [n, d] by site."""
    seen: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    extent: dict[str, characterise.Field] = field(default_factory=dict)
    receptive: dict[tuple[str, int], ReceptiveField] = field(default_factory=dict)
    read: dict[str, tuple[Codes, Any]] = field(default_factory=dict)

    def codes(self, one: Chosen) -> tuple[Codes, Callable[[NDArray], NDArray] | None]:
        """Its features, and its reconstruction where it is a dictionary; read once."""
        if one.name not in self.read:
            folder = self.needed[one.stage] / one.name if one.stage else None
            self.read[one.name] = dictionary(folder) if folder else (units, None)
        return self.read[one.name]

    @property
    def preprocessing(self) -> Preprocessing:
        """That of a network that reads images."""
        assert self.backbone.preprocessing is not None
        return self.backbone.preprocessing

    @property
    def sites(self) -> dict[str, Any]:
        """The sites that are read, by name."""
        return {one.site.name: one.site for one in self.chosen}

    def effective(self, name: str) -> characterise.Field:
        """The effective receptive field of a site, measured once for all."""
        if not self.extent:
            self.extent = characterise.effective_fields(self.backbone, self.sites, seed=self.seed)
        return self.extent[name]

    # ------------------------------------------------------------------------------------------------- gratings

    def gratings(self, progress: Callable[[float], None]) -> None:
        """Tuning of every feature, and decoding across conditions."""
        jitter = self.spec.jitter if self.spec.jitter is not None else self._half_a_patch()
        battery = characterise.tuning_battery(self.preprocessing, jitter, self.seed)
        stimuli = battery.load()
        cycles = stimuli.table["cycles"].dropna().to_numpy(float)
        warned = characterise.aliasing(cycles, self.preprocessing, battery.size)
        self.found.dropped += [f"{self.found.model}: {warned}"] if warned else []
        values = present(
            self.backbone, stimuli, middle_tokens(self.sites), device=self.device,
            progress=lambda share: progress(0.5 * share),
        )  # fmt: skip
        self.shown, self.battery = values, stimuli.table
        for done, one in enumerate(self.chosen):
            if "tuning" in self.spec.probes:
                tuning.tune(
                    self.found, one, stimuli.table, values[one.site.name], *self.codes(one), self.spec.permutations,
                    self.seed,
                )  # fmt: skip
            if "decoding" in self.spec.probes:
                pre = self.codes(one)[0](values[one.site.name]).pre[:, 0]
                decoding.decode(
                    self.found, one, stimuli.table, pre, decoding.TOKEN, (decoding.FROM_GRATINGS,), self.seed
                )
            progress(0.5 + 0.5 * (done + 1) / len(self.chosen))
        if self.backbone.layout == "btc":
            tuning.phase_locking(self.found, self.chosen, stimuli.table, values, jitter)
        if "decoding" in self.spec.probes:
            middle = {name: part[:, 0] for name, part in values.items()}
            transfer(self.found, self.chosen, stimuli.table, middle, normalise=self.backbone.layout == "btc")

    def _half_a_patch(self) -> int:
        grid = next((one.site.grid for one in self.chosen if one.site.grid), None)
        if self.backbone.layout != "btc" or grid is None:
            return 0
        return self.preprocessing.size // grid[0] // 2

    # --------------------------------------------------------------------------------------------------- scenes

    def scenes(self, progress: Callable[[float], None]) -> None:
        """Gabor simplicity of every feature, geometry and V-information of each site, from drawn images."""
        stimuli = self.drawn = self._drawn_images()
        greys = characterise.greys_of(stimuli, self.preprocessing)
        side = {n: characterise.window_side(self.effective(n).side, self.preprocessing.size) for n in self.sites}
        cut = {
            name: characterise.windows(greys, site, side[name], self.spec.places, self.seed)
            for name, site in self.sites.items()
        }
        middle = middle_tokens(self.sites)
        # The middle token comes last, behind those of the windows.
        tokens = {n: np.column_stack([one.tokens, np.full(len(stimuli), middle[n][0])]) for n, one in cut.items()}
        values = present(
            self.backbone, stimuli, tokens, device=self.device, progress=lambda share: progress(0.3 * share)
        )
        self.seen = {name: part[:, -1] for name, part in values.items()}
        designs = simplicity.Designs(self.spec.components, self.seed)
        for done, one in enumerate(self.chosen):
            at_windows = values[one.site.name][:, :-1]
            latents = self.codes(one)[0](at_windows)
            if "simplicity" in self.spec.probes:
                seen_by = cut[one.site.name]
                simplicity.score(self.found, one, seen_by, latents.pre, designs, self.effective(one.site.name).side)
            if "geometry" in self.spec.probes:
                geometry.dimensions(self.found, one, latents, at_windows)
            progress(0.3 + 0.6 * (done + 1) / len(self.chosen))
        streams = sorted((one for one in self.chosen if one.stage is None), key=lambda one: one.site.depth)
        if "geometry" in self.spec.probes:
            first = [(one, values[one.site.name][:, 0]) for one in streams]
            geometry.matched_dimensions(self.found, first, self.seed)
            geometry.draw_decimation(self.found)
        if "decoding" in self.spec.probes and len(streams) > 1:
            decoding.complexity(
                self.found,
                {one.name: self.seen[one.site.name] for one in streams},
                greys.reshape(len(greys), -1),
                ((one, self._middle(one)) for one in self.chosen),
                self.seed,
            )

    def _middle(self, one: Chosen) -> NDArray[np.float32]:
        """Features [n, m] at the middle token of the drawn images."""
        return self.codes(one)[0](self.seen[one.site.name][:, None]).pre[:, 0]

    def _drawn_images(self) -> StimulusSet:
        share = self.spec.images // 10
        families = {"textures": 3 * share, "shapes": 3 * share, "scenes": self.spec.images - 6 * share}
        return self._battery(DRAWN, tuple(families), families)

    def _battery(self, name: str, families: tuple[str, ...], limit: Mapping[str, int] | None = None) -> StimulusSet:
        """Drawn stimuli at the size at which the network sees them."""
        from bridge.stimuli.battery import Battery

        size = self.preprocessing.resize or self.preprocessing.size
        chosen: Any = {"families": families, "limit": limit or {}}
        return Battery(name=name, size=size, seed=self.spec.image_seed, **chosen).load()

    # ------------------------------------------------------------------------------------------- whole images

    def objects(self, progress: Callable[[float], None]) -> None:
        """Position and objects, before and after pooling over places, and how objects lie in each site."""
        sets: dict[str, tuple[tuple[str, ...], str]] = {
            "patches": (("gabors", "edges"), decoding.FROM_PATCHES),
            "shapes": (("shapes",), decoding.FROM_SHAPES),
            "scenes": (("scenes",), decoding.FROM_OBJECTS),
        }
        if "decoding" not in self.spec.probes:
            sets = {"scenes": sets["scenes"]}
        readings = {one.name: Reading(one.site, self.codes(one)[0]) for one in self.chosen}
        for number, (name, (families, measure)) in enumerate(sets.items()):
            stimuli = self._battery(name, families)
            values = present_places(
                self.backbone, stimuli, readings, seed=self.seed, device=self.device,
                progress=lambda share, number=number: progress((number + 0.5 * share) / len(sets)),  # type: ignore[misc]
            )  # fmt: skip
            for one in self.chosen:
                self._objects(one, name, measure, stimuli.table, values[one.name])

    def _objects(self, one: Chosen, name: str, measure: str, table: pd.DataFrame, values: NDArray) -> None:
        pooled, several = values.mean(axis=1), f"{SIDE} x {SIDE} places"
        whole = values.reshape(len(values), -1)
        if "decoding" in self.spec.probes:
            rows, columns = places_of(one.site)
            if rows * columns > 1:  # else there is nothing to pool
                read = several if (rows, columns) == (SIDE, SIDE) else f"{rows} x {columns} places"
                decoding.decode(self.found, one, table, whole, read, (measure,), self.seed)
            decoding.decode(self.found, one, table, pooled, "mean over places", (measure,), self.seed)
        if "geometry" in self.spec.probes and name == "scenes":
            geometry.objects(self.found, one, table, whole, several, self.seed)

    # ------------------------------------------------------------------------------------ receptive fields, cards

    def noise(self, progress: Callable[[float], None]) -> None:
        """Receptive fields of every site's features, Gabors and energy models fitted to them."""
        from comparisons.noise import present_noise

        extent = {name: self.effective(name) for name in self.sites}
        shown = present_noise(
            self.backbone, self.sites, extent, self.spec.noise, seed=self.seed, device=self.device,
            progress=lambda share: progress(0.5 * share),
        )  # fmt: skip
        at = {name: noise for noise in shown for name in noise.values}
        for done, one in enumerate(self.chosen):
            noise = at[one.site.name]
            responses = self.codes(one)[0](noise.values[one.site.name][:, None]).pre[:, 0]
            wanted = np.array(cards.chosen_features(self.found, one, self.cards), np.intp)
            features = fields.drawn_features(responses.shape[1], wanted, self.seed)
            found = fields.fields(
                self.found, one, noise, responses, features, self.preprocessing.size, extent[one.site.name].side
            )
            self.receptive |= {(one.name, feature): one_field for feature, one_field in found.items()}
            progress(0.5 + 0.5 * (done + 1) / len(self.chosen))

    def draw_cards(self, progress: Callable[[float], None]) -> None:
        """A card of the most simple, a middle and the least simple feature of every site."""
        assert self.battery is not None
        assert self.drawn is not None
        places: dict[str | None, list[Place]] = {}
        for one in self.chosen:
            gratings = self.codes(one)[0](self.shown[one.site.name]).pre[:, 0]
            both = np.concatenate([gratings, self._middle(one)])
            places.setdefault(one.dictionary, []).append(Place(one.name, one.site.depth, both))
        cards.draw(
            self.found, self.backbone, [(one, self.codes(one)[0]) for one in self.chosen], self.cards, self.battery,
            self.shown, self.drawn, {name: Lineages(mine, self.seed) for name, mine in places.items()},
            self.receptive, device=self.device, progress=progress,
        )  # fmt: skip
