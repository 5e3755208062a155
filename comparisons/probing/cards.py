"""Cards of a few features of every site, for the report: the most simple one, the least, and those between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comparisons.card_data import ReceptiveField, Subject, make_cards
from comparisons.characterise import Codes
from comparisons.lineage import Lineages
from comparisons.probing.chosen import Chosen
from comparisons.probing.found import Found
from comparisons.report.cards import card_pictures
from comparisons.results import Exhibit, FeatureOf

if TYPE_CHECKING:
    import pandas as pd

    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet


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
    subjects: list[Subject] = []
    captions, scored = [], []
    for one, codes in chosen:
        features = chosen_features(found, one, count)
        scores = found.arrays.get(f"{one.name}|simplicity")
        for rank, feature in enumerate(features):
            place = "highest" if rank == 0 else "lowest" if rank == len(features) - 1 else "in between"
            assert scores is not None
            subjects.append(Subject(one.name, one.site, codes, feature))
            captions.append(f"Gabor simplicity at its site: {place}.")
            scored.append(float(scores[feature]))
    if not subjects:
        return
    made = make_cards(
        backbone, subjects, gratings, on_gratings, scenes, lineages, fields, device=device,
        progress=lambda share: progress(0.5 * share),
    )  # fmt: skip
    for number, (card, caption, subject, score) in enumerate(zip(made, captions, subjects, scored, strict=True)):
        facts = (("Gabor simplicity", f"{score:.2f}"), *card.facts)
        stem = f"card-{found.slug}-{subject.name.replace('/', '-')}-{subject.feature}"
        exhibit = Exhibit(
            group="Feature cards",
            part=f"{found.model}, {subject.name}",
            caption=caption,
            words=f"{card.title}. {card.subtitle}. " + "; ".join(f"{name}: {value}" for name, value in facts),
            file=f"{stem}.png",
            drawing=f"{stem}.svg",
            feature=FeatureOf(
                model=found.model, site=subject.name, depth=subject.site.depth, number=subject.feature,
                simplicity=score, facts=facts,
            ),
        )  # fmt: skip
        pictures = card_pictures(replace(card, facts=facts))
        found.picture(exhibit, pictures["png"], pictures["svg"])
        progress(0.5 + 0.5 * (number + 1) / len(made))
