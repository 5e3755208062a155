"""What a feature card shows: tuning, strongest stimuli, receptive field and history of single features of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.streams import Site
from comparisons import characterise
from comparisons.characterise import Codes, centre_token, present
from comparisons.lineage import Lineages
from comparisons.report.cards import TOP, Card

if TYPE_CHECKING:
    import pandas as pd

    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Subject:
    """One feature of which a card is drawn: a unit of a site, or one of what `codes` makes of the site (SITE/NAME)."""

    name: str
    site: Site
    codes: Codes
    feature: int


@dataclass(frozen=True)
class ReceptiveField:
    """A noise map [s, s], the Gabor fitted to it (None where none could be), and how good it is, in words."""

    image: NDArray[np.float64]
    fitted: NDArray[np.float64] | None
    said: str


def make_cards(
    backbone: Backbone,
    subjects: Sequence[Subject],
    gratings: pd.DataFrame,
    on_gratings: Mapping[str, Array],
    scenes: StimulusSet,
    lineages: Mapping[str | None, Lineages],
    fields: Mapping[tuple[str, int], ReceptiveField],
    *,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> list[Card]:
    """One card a subject, in their order.

    `gratings` is the table of `tuning_battery`, `on_gratings` what the middle token of each site answered [n, 1, d];
    among `scenes` the strongest are looked for, at all tokens; `lineages` are those of the stream (None) and of the
    dictionaries by name; `fields` by (name, feature), of those that were measured.
    """
    whole = everywhere(backbone, scenes, subjects, device=device, progress=progress)
    return [
        _card(
            backbone.name, one, gratings, on_gratings[one.site.name], scenes, whole[number],
            lineages[one.name.partition("/")[2] or None], fields.get((one.name, one.feature)),
        )
        for number, one in enumerate(subjects)
    ]  # fmt: skip


def everywhere(
    backbone: Backbone,
    scenes: StimulusSet,
    subjects: Sequence[Subject],
    *,
    batch: int = 32,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> list[Array]:
    """Each subject at every token of every scene, [n, tokens]; one pass over the scenes, a batch at a time."""
    found: list[list[Array]] = [[] for _ in subjects]
    by_name: dict[str, list[int]] = {}
    for number, one in enumerate(subjects):
        by_name.setdefault(one.name, []).append(number)
    for start in range(0, len(scenes), batch):
        part = scenes.select(range(start, min(start + batch, len(scenes))))
        keep = {one.site.name: np.arange(one.site.tokens) for one in subjects}
        values = present(backbone, part, keep, batch=batch, device=device)
        for numbers in by_name.values():
            one = subjects[numbers[0]]
            codes = one.codes(values[one.site.name]).post
            for number in numbers:
                found[number].append(codes[:, :, subjects[number].feature])
        if progress is not None:
            progress(min(start + batch, len(scenes)) / len(scenes))
    return [np.concatenate(parts) for parts in found]


def _card(
    model: str,
    one: Subject,
    gratings: pd.DataFrame,
    shown: Array,
    scenes: StimulusSet,
    whole: Array,
    lineages: Lineages,
    field: ReceptiveField | None,
) -> Card:
    site, grid = one.site, one.site.grid
    tuned = characterise.tune(gratings, shown, lambda x: _single(one, x), permutations=500)
    curves = _curves(gratings, one.codes(shown).pre[:, 0, one.feature].astype(np.float64))
    strength = whole[:, site.prefix :].max(axis=1)
    top = np.argsort(-strength, kind="stable")[:TOP]
    if "/" in one.name:  # images at which a latent is not active are not its strongest: all of them tie at 0
        top = top[strength[top] > 0]
    heat = whole[top][:, site.prefix :].reshape(len(top), *grid).astype(np.float64) if grid and len(top) else None
    history = lineages.history(one.name, one.feature)
    t = tuned.pre
    facts = [
        ("label", str(t.label[0])),
        ("preferred orientation", f"{t.orientation[0]:.0f} deg"),
        ("preferred frequency", f"{t.frequency[0]:g} cycles an image"),
        ("circular variance", f"{t.circular_variance_above[0]:.2f}"),
        ("F1 / F0", f"{t.f1_f0[0]:.2f}" if np.isfinite(t.f1_f0[0]) else "F0 not above the blank"),
        ("von Mises R2, held-out phases", f"{t.orientation_r2[0]:.2f}"),
        ("surround suppression", f"{tuned.series.size.suppression[0]:.2f}"),
        ("Gabor fit, held-out r", field.said if field else "not measured"),
        ("matched, by depth", history.told() if history else "—"),
    ]
    of = f"latents of {one.name.partition('/')[2]}" if "/" in one.name else "units a token"
    return Card(
        title=f"{model}, {one.name}, feature {one.feature}",
        subtitle=f"depth {site.depth:.2f}, {one.codes(shown[:1]).pre.shape[2]} {of}"
        + (f", {grid[0]} x {grid[1]} tokens" if grid else ""),
        stimuli=np.array([scenes.image(int(row)) for row in top], np.uint8),
        heat=heat,
        values=strength[top].astype(np.float64),
        orientation=curves["orientation"],
        frequency=curves["frequency"],
        phase=curves["phase"],
        contrast=curves["contrast"],
        field=field.image if field else None,
        fitted=field.fitted if field else None,
        history=history,
        facts=[(label, "—" if value.startswith("nan") else value) for label, value in facts],
    )


def _single(one: Subject, activations: Array) -> characterise.Latents:
    """The subject alone."""
    found = one.codes(activations)
    return characterise.Latents(found.post[..., [one.feature]], found.pre[..., [one.feature]])


def _curves(table: pd.DataFrame, values: NDArray[np.float64]) -> dict[str, Any]:
    """Curves of one feature through its preferred condition, with their fits, from its responses to the battery."""
    from probes.tuning import fits
    from probes.tuning.grid import grating_grid
    from probes.tuning.modulation import harmonics, preferred_condition

    values = np.where(np.isfinite(values), values, 0)
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


def middle_tokens(sites: Mapping[str, Site]) -> dict[str, NDArray[np.intp]]:
    """The middle token of every site, for `present`."""
    return {name: np.array([centre_token(site)]) for name, site in sites.items()}
