"""Cards of a few features of every site, for the report: the most simple one, the least, and those between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comparisons.card_data import ReceptiveField, Subject, make_cards
from comparisons.characterise import Codes
from comparisons.lineage import Lineages
from comparisons.probing.chosen import Chosen
from comparisons.probing.found import Found
from comparisons.report.cards import card_png
from comparisons.results import Exhibit

if TYPE_CHECKING:
    import pandas as pd

    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet

DPI = 110


def chosen_features(found: Found, one: Chosen, count: int) -> list[int]:
    """`count` features of a site from the most simple to the least, evenly over those that have a score; fewer where
    there are fewer. They are chosen by rank, not because they say anything in particular."""
    scores = found.arrays.get(f"{one.name}|simplicity")
    if scores is None or count < 1:
        return []
    order = np.argsort(-scores, kind="stable")[: int(np.isfinite(scores).sum())]
    if not len(order):
        return []
    return [int(order[rank]) for rank in np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]


def draw(
    found: Found,
    backbone: Backbone,
    chosen: Sequence[tuple[Chosen, Codes]],
    count: int,
    gratings: pd.DataFrame,
    on_gratings: Mapping[str, NDArray[np.float32]],
    scenes: StimulusSet,
    lineages: Mapping[str | None, Lineages],
    fields: Mapping[tuple[str, int], ReceptiveField],
    *,
    device: str,
    progress: Callable[[float], None],
) -> None:
    """Add `count` cards a site to the pictures of the report."""
    subjects, captions = [], []
    for one, codes in chosen:
        features = chosen_features(found, one, count)
        scores = found.arrays.get(f"{one.name}|simplicity")
        for rank, feature in enumerate(features):
            place = "Most simple" if rank == 0 else "Least simple" if rank == len(features) - 1 else "Between"
            assert scores is not None
            subjects.append(Subject(one.name, one.site, codes, feature))
            captions.append(f"{place}: feature {feature}, Gabor simplicity {scores[feature]:.2f}.")
    if not subjects:
        return
    made = make_cards(
        backbone, subjects, gratings, on_gratings, scenes, lineages, fields, device=device,
        progress=lambda share: progress(0.5 * share),
    )  # fmt: skip
    for number, (card, caption, subject) in enumerate(zip(made, captions, subjects, strict=True)):
        exhibit = Exhibit(
            group="Feature cards",
            part=f"{found.model}, {subject.name}",
            caption=caption,
            words=f"{card.title}. {card.subtitle}. " + "; ".join(f"{name}: {value}" for name, value in card.facts),
            file=f"card-{found.slug}-{subject.name.replace('/', '-')}-{subject.feature}.png",
        )
        found.picture(exhibit, card_png(card, DPI))
        progress(0.5 + 0.5 * (number + 1) / len(made))
