"""What a feature card shows: one network presented with gratings, scenes and noise, for a few of its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError, did_you_mean
from bridge.streams import Site
from comparisons import characterise
from comparisons.characterise import Codes, centre_token, present, units
from comparisons.report.cards import TOP, Card

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet
    from comparisons.config import Config

NOISE = 4000
"""Noise images behind a receptive field."""
SCENES = 240
"""Drawn images among which the strongest are looked for."""


def collect(config: Config, model: ModelSpec, wanted: Sequence[tuple[str, int]], codes: Codes = units) -> list[Card]:
    """The cards of features (site, number) of a model. `codes` makes latents of activations, at every site alike.

    Raises ConfigError for a site or a feature that does not exist, and for networks that read texts.
    """
    backbone = model.load()
    preprocessing = backbone.preprocessing
    if preprocessing is None:
        raise ConfigError(f"--card: {model.name} reads texts; cards are of networks that read images.")
    for name, feature in wanted:
        if name not in backbone.sites:
            raise ConfigError(f"--card: {model.name} has no site {name!r}; {did_you_mean(name, backbone.sites)}.")
        if codes is units and feature >= backbone.sites[name].width:
            raise ConfigError(f"--card: {name} has features 0 to {backbone.sites[name].width - 1}, not {feature}.")
    stream = [n for n in backbone.sites if n == "blocks.0.hook_resid_pre" or n.endswith("hook_resid_post")]
    sites = {name: backbone.sites[name] for name in dict.fromkeys([*stream, *(name for name, _ in wanted)])}
    middle = {name: np.array([centre_token(site)]) for name, site in sites.items()}
    gratings = characterise.tuning_battery(preprocessing, seed=config.seed).load()
    shown = present(backbone, gratings, middle)
    scenes = _scenes(preprocessing.resize or preprocessing.size, config.seed)
    own = {name: sites[name] for name, _ in wanted}
    images = present(backbone, scenes, middle)
    everywhere = {name: np.arange(site.tokens) for name, site in own.items()}
    return [
        _card(
            model.name, backbone, sites, name, feature, codes, gratings, shown, scenes, images,
            _whole(backbone, scenes, name, everywhere[name], feature, codes),
        )
        for name, feature in wanted
    ]  # fmt: skip


def _scenes(size: int, seed: int) -> StimulusSet:
    from bridge.stimuli.battery import Battery

    part = SCENES // 3
    families: dict[Any, int] = {"textures": part, "shapes": part, "scenes": part}
    return Battery(name="scenes", families=tuple(families), size=size, limit=families, seed=seed + 1).load()


def _whole(
    backbone: Backbone, scenes: StimulusSet, name: str, tokens: NDArray[np.intp], feature: int, codes: Codes
) -> NDArray[np.float32]:
    """The feature at every token of every scene, [n, tokens]; a part of the scenes at a time."""
    found = []
    for start in range(0, len(scenes), 32):
        part = scenes.select(range(start, min(start + 32, len(scenes))))
        found.append(codes(present(backbone, part, {name: tokens})[name]).post[:, :, feature])
    return np.concatenate(found)


def _card(
    model: str,
    backbone: Backbone,
    sites: dict[str, Site],
    name: str,
    feature: int,
    codes: Codes,
    gratings: StimulusSet,
    shown: dict[str, NDArray[np.float32]],
    scenes: StimulusSet,
    images: dict[str, NDArray[np.float32]],
    whole: NDArray[np.float32],
) -> Card:
    site, table = sites[name], gratings.table
    tuned = characterise.tune(table, shown[name], lambda x: _one(codes, x, feature), permutations=500)
    curves = _curves(table, codes(shown[name]).pre[:, 0, feature].astype(np.float64))
    grid = site.grid
    strength = whole[:, site.prefix :].max(axis=1)
    top = np.argsort(-strength)[:TOP]
    heat = whole[top][:, site.prefix :].reshape(len(top), *grid).astype(np.float64) if grid else None
    field, fitted, fit = _receptive_field(backbone, site, feature, codes)
    t = tuned.pre
    facts = [
        ("label", str(t.label[0])),
        ("preferred orientation", f"{t.orientation[0]:.0f} deg"),
        ("preferred frequency", f"{t.frequency[0]:g} cycles an image"),
        ("circular variance", f"{t.circular_variance_above[0]:.2f}"),
        ("F1 / F0", f"{t.f1_f0[0]:.2f}" if np.isfinite(t.f1_f0[0]) else "F0 not above the blank"),
        ("von Mises R2, held-out phases", f"{t.orientation_r2[0]:.2f}"),
        ("surround suppression", f"{tuned.series.size.suppression[0]:.2f}"),
        ("colour index", f"{tuned.series.colour[0]:.2f}"),
        ("Gabor fit, held-out r", fit),
    ]
    history, chance = _history(sites, name, feature, codes, shown, images)
    return Card(
        title=f"{model}, {name}, feature {feature}",
        subtitle=f"depth {site.depth:.2f}, {site.width} units a token"
        + (f", {grid[0]} x {grid[1]} tokens" if grid else ""),
        stimuli=np.stack([scenes.image(int(row)) for row in top]),
        heat=heat,
        values=strength[top].astype(np.float64),
        orientation=curves["orientation"],
        frequency=curves["frequency"],
        phase=curves["phase"],
        contrast=curves["contrast"],
        field=field,
        fitted=fitted,
        history=history,
        depth=site.depth,
        chance=chance,
        facts=[(label, "—" if value.startswith("nan") else value) for label, value in facts],
    )


def _one(codes: Codes, activations: NDArray[np.float32], feature: int) -> characterise.Latents:
    found = codes(activations)
    return characterise.Latents(found.post[..., [feature]], found.pre[..., [feature]])


def _curves(table: Any, values: NDArray[np.float64]) -> dict[str, Any]:
    """Curves of one feature through its preferred condition, with their fits, from its responses to the battery."""
    from probes.tuning import fits
    from probes.tuning.grid import grating_grid
    from probes.tuning.modulation import harmonics, preferred_condition

    family = table["family"].to_numpy()
    blank = values[np.flatnonzero((family == "blanks") & np.isclose(table["luminance"].to_numpy(float), 0.5))[0]]

    def grid(shown: str, level: str) -> Any:
        rows = np.flatnonzero(family == shown)
        part = table.iloc[rows]
        factors = [part[column].to_numpy(float) for column in ("orientation", level, "phase")]
        return grating_grid(values[rows, None], *factors)

    tuning, contrast = grid("gratings", "cycles"), grid("contrasts", "contrast")
    best = preferred_condition(harmonics(tuning), np.array([blank]))
    fine, octaves = np.linspace(0, 180, 181), np.geomspace(tuning.frequencies[0], tuning.frequencies[-1], 100)
    circle = fits.fit_von_mises(best.over_orientation, tuning.orientations)(fine)[0]
    bell = fits.fit_log_gaussian(best.over_frequency, tuning.frequencies)(octaves)[0]
    response = tuning.responses[0, best.orientation[0], best.frequency[0]] - blank
    over = preferred_condition(harmonics(contrast), np.array([blank])).over_frequency
    steps = np.geomspace(contrast.frequencies[0], 1, 100)
    growth = fits.fit_naka_rushton(over, contrast.frequencies)(steps)[0]
    return {
        "orientation": (tuning.orientations, best.over_orientation[0], fine, circle),
        "frequency": (tuning.frequencies, best.over_frequency[0], octaves, bell),
        "phase": (tuning.phases, response),
        "contrast": (contrast.frequencies, over[0], steps, growth),
    }


def _receptive_field(
    backbone: Backbone, site: Site, feature: int, codes: Codes
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None, str]:
    """The noise map in the field's window, its Gabor fit, and the fit's correlation with the map of other noise."""
    from bridge.stimuli.stimulus_set import ArraySource, StimulusSet
    from probes.gabor import fit_gabor
    from probes.receptive_fields import noise_images, noise_maps

    assert backbone.preprocessing is not None
    size = backbone.preprocessing.size
    side = max(
        characterise.window_side(characterise.effective_fields(backbone, {site.name: site})[site.name].side, size), 8
    )
    pixels = max(1, side // 24)  # noise so fine that many pixels share a field says nothing of it
    cells = -(-size // pixels)
    noise = noise_images(NOISE, cells, seed=3)
    large = np.repeat(np.repeat(noise, pixels, axis=1), pixels, axis=2)[:, :size, :size]
    import pandas as pd

    eight = (large * 255 + 0.5).astype(np.uint8)[..., None].repeat(3, axis=3)
    table = pd.DataFrame(index=pd.Index([f"noise-{row}" for row in range(NOISE)], name="stimulus_id"))
    stimuli = StimulusSet("noise", table, ArraySource(eight))
    token = np.array([centre_token(site)])
    values = codes(present(backbone, stimuli, {site.name: token}, batch=128)[site.name]).pre[:, 0, [feature]]
    if not np.isfinite(values).all() or values.std() == 0:
        return None, None, "—"
    maps = noise_maps(noise, values)
    place = site.grid or (1, 1)
    middle = [(place[0] // 2 + 0.5) / place[0] * cells, (place[1] // 2 + 0.5) / place[1] * cells]
    half = side / pixels / 2
    rows, columns = (slice(max(0, int(at - half)), max(0, int(at - half)) + max(int(2 * half), 5)) for at in middle)
    cut = [one[:, rows, columns] for one in (maps.whole, *maps.halves)]
    if cut[0].shape[1] != cut[0].shape[2]:
        return cut[0][0], None, "—"
    held = fit_gabor(cut[1], cut[2])
    whole = fit_gabor(cut[0])
    said = f"{held.held_out[0]:.2f} (map with itself {_itself(cut[1][0], cut[2][0]):.2f})"
    return cut[0][0], whole.drawn(cut[0].shape[1])[0], said


def _itself(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _history(
    sites: dict[str, Site],
    name: str,
    feature: int,
    codes: Codes,
    shown: dict[str, NDArray[np.float32]],
    images: dict[str, NDArray[np.float32]],
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]] | None, float | None]:
    """|r| of the best match of a feature at each site along the stream, over gratings and scenes at the middle token,
    and what the best match reaches where the stimuli of the feature are shuffled."""
    own = np.concatenate([codes(part[name]).pre[:, 0, feature] for part in (shown, images)]).astype(np.float64)
    if not np.isfinite(own).all() or own.std() == 0:
        return None, None
    shuffled = np.random.default_rng(0).permutation(own)
    depth: list[float] = []
    best: list[float] = []
    chance: list[float] = []
    for other, site in sites.items():
        if other != name and not (other.endswith("hook_resid_post") or other == "blocks.0.hook_resid_pre"):
            continue
        x = np.concatenate([codes(part[other]).pre[:, 0] for part in (shown, images)]).astype(np.float64)
        x = x - x.mean(axis=0)
        size = np.sqrt((x**2).sum(axis=0))
        unit = x[:, size > 0] / size[size > 0]
        depth.append(site.depth)
        for found, one in ((best, own), (chance, shuffled)):
            centred = one - one.mean()
            found.append(float(np.abs(unit.T @ centred / np.sqrt((centred**2).sum())).max(initial=0)))
    order = np.argsort(depth, kind="stable")
    return (np.array(depth)[order], np.array(best)[order]), float(np.max(chance))
