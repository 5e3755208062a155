"""The rows, filters, notes and captions of the page's tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bridge.recordings.order import region_rank
from comparisons.report import panels as select
from comparisons.report.closest import Closest
from comparisons.report.wording import number
from comparisons.results import Dictionary, FeatureOf, Result, RunResults


@dataclass(frozen=True)
class Notes:
    """The notes of all results, each once and numbered, so that rows can point at them."""

    texts: list[str]

    @staticmethod
    def of(results: Iterable[Result]) -> Notes:
        """Notes in the order of their first mention."""
        return Notes(list(dict.fromkeys(text for result in results for text in result.notes)))


@dataclass(frozen=True)
class Row:
    """A result as the table shows it."""

    result: Result
    kind: str
    share: float
    """Length of the bar under the estimate, 0 to 1 of the table's largest."""
    notes: list[int]


def rows(results: Sequence[Result]) -> list[Row]:
    """One row a result, in the order of the results."""
    number = {text: index for index, text in enumerate(Notes.of(results).texts, start=1)}
    largest: dict[str, float] = {}
    for r in filter(select.has_estimate, results):
        largest[r.measure] = max(largest.get(r.measure, 0.0), abs(r.estimate), *(map(abs, r.ceiling or (0.0,))))
    return [
        Row(
            r,
            select.kind(r) or "other",
            max(0.0, r.estimate) / largest[r.measure] if select.has_estimate(r) and largest[r.measure] else 0.0,
            [number[text] for text in dict.fromkeys(r.notes)],
        )
        for r in results
    ]


def sort_key(value: float | None) -> str:
    """What the table's script sorts a number by: its shortest exact text; nothing where there is no number."""
    return "" if value is None or number(value) == "—" else repr(float(value))


def filters(results: Sequence[Result]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(attribute, label, [(value, text)]) of the table's filters, without those that have nothing to choose."""
    regions = sorted(dict.fromkeys(r.region for r in results), key=region_rank)
    entries = [
        ("region", "Region", [(v, v) for v in regions]),
        ("recordings", "Recordings", [(v, v) for v in dict.fromkeys(r.recordings for r in results)]),
        ("model", "Model", [(v, v) for v in dict.fromkeys(r.model for r in results)]),
        ("measure", "Measure", [(v, select.measure_label(v)) for v in dict.fromkeys(r.measure for r in results)]),
        ("kind", "Site", [(v, v) for v in dict.fromkeys(select.kind(r) or "other" for r in results)]),
    ]
    return [entry for entry in entries if len(entry[2]) > 1]


def card_choices(cards: Sequence[FeatureOf], closest: Closest) -> list[tuple[str, str, list[str]]]:
    """(attribute, label, values) of the cards' filters, without those that have nothing to choose."""
    near = {region for one in cards if (region := closest.of(one.model, one.site))}
    regions = sorted(sorted(near), key=lambda title: region_rank(title.partition(" · ")[0]))
    entries = [
        ("model", "Network", list(dict.fromkeys(one.model for one in cards))),
        ("site", "Site", list(dict.fromkeys(one.site for one in cards))),
        ("region", "Closest to", regions),
        ("label", "Tuned as", list(dict.fromkeys(label_of(one) for one in cards))),
    ]
    return [entry for entry in entries if len(entry[2]) > 1]


def label_of(card: FeatureOf) -> str:
    """What the probe of tuning calls the feature; empty where it was not asked."""
    return dict(card.facts).get("label", "")


def dictionary_caption(found: Sequence[Dictionary]) -> str:
    """What the columns of the table of dictionaries are: only of those that have something in them."""
    parts = ["L0: active latents a token."]
    if any(one.unexplained is not None for one in found):
        parts.append(
            "L0, unexplained variance and the share of dead latents are measured on stimuli that were held out of the "
            "training."
        )
    if any(one.unexplained is None for one in found):
        parts.append("Where none were held out, L0 and dead latents are of the stimuli compared.")
    if any(one.explained is not None for one in found):
        parts.append("Explained: share of variance of the stimuli compared, which it may have been trained on.")
    if any(one.seed_stability is not None for one in found):
        parts.append("Seeds: mean cosine of its directions with those of the first seed, assigned one to one.")
    return " ".join(parts)


def dropped(results: RunResults) -> list[tuple[str, str]]:
    """(what was left out and why, where), each once: of the whole run, then of single results with their count."""
    counts: dict[str, int] = {}
    for result in results.results:
        for text in dict.fromkeys(result.dropped):
            counts[text] = counts.get(text, 0) + 1
    total = len(results.results)
    whole = [(text, "the whole run") for text in dict.fromkeys(results.dropped)]
    return whole + [
        (text, f"{count} of {total} results") for text, count in counts.items() if text not in results.dropped
    ]
