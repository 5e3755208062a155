"""Which regions, stimuli and layers recordings hold, and what of them a comparison is given.

What recordings lack is said and never filled in: a missing region has no neuroids, a missing stimulus no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.recordings.order import RELAYS, missing_between
from bridge.recordings.recordings import Recordings, RegionRDMs

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet


def regions_of(one: Recordings | RegionRDMs) -> tuple[str, ...]:
    """The regions that a piece of a data set holds."""
    return (one.region,) if isinstance(one, RegionRDMs) else one.regions


def missing_regions(present: Iterable[str], asked: Iterable[str] = ()) -> tuple[str, ...]:
    """The areas that were asked for, or that lie between two present areas of the ventral stream, and are not there.

    >>> missing_regions(["V1", "V4", "IT"])
    ('V2',)
    """
    here = set(present)
    return tuple(name for name in dict.fromkeys((*asked, *missing_between(here))) if name not in here)


def of_regions(
    found: Sequence[Recordings | RegionRDMs], asked: Sequence[str] | None, title: str
) -> list[Recordings | RegionRDMs]:
    """The neuroids and RDMs of the regions `asked` for (all where None), in the order of `found`.

    An area of the ventral stream that was asked for and is not there is said in `dropped`. Raises ConfigError for
    another unknown region, or where no region is left.
    """
    if asked is None:
        return list(found)
    known = {region for one in found for region in regions_of(one)}
    for region in asked:
        if region not in known and (region not in RELAYS or not known & set(asked)):
            raise ConfigError(f"{title} has no region {region!r}; {did_you_mean(region, known)}.")
    gone = tuple(f"{name}: not in these recordings" for name in missing_regions(known, asked) if name in asked)
    kept: list[Recordings | RegionRDMs] = []
    for one in found:
        if not set(regions_of(one)) & set(asked):
            continue
        if isinstance(one, Recordings):
            one = one.select(neuroids=one.neuroids["region"].isin(asked).to_numpy())
        kept.append(replace(one, dropped=(*one.dropped, *gone)))
    return kept


def aligned(found: Sequence[Recordings | RegionRDMs], stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
    """Recordings brought to the ids of `stimuli`: RDMs in their order, responses for those that are among them.

    Recordings without images stay as they are: no stimulus set holds what was shown. Raises InputError where ids do
    not fit.
    """
    return [one.aligned_to(stimuli.ids) if isinstance(one, RegionRDMs) else shown_among(one, stimuli) for one in found]


def shown_among(recordings: Recordings, stimuli: StimulusSet) -> Recordings:
    """The responses to those of the recordings' stimuli that are in `stimuli`, in the recordings' order.

    Raises InputError where none is, unless the recordings come without images.
    """
    among = set(stimuli.ids)
    rows = np.array([row for row, name in enumerate(recordings.stimulus_ids) if name in among], int)
    total = len(recordings.stimulus_ids)
    if len(rows) == total or not recordings.images:
        return recordings
    if not len(rows):
        raise InputError(
            f"None of the {total} stimuli of recordings {recordings.name!r} (the first: "
            f"{recordings.stimulus_ids[0]!r}) is in stimulus set {stimuli.name!r} (the first: "
            f"{stimuli.ids[0] if stimuli.ids else 'none'!r}); stimuli are aligned by id only: give both sides the same."
        )
    note = f"{total - len(rows)} of {total} recorded stimuli, which are not in stimulus set {stimuli.name!r}"
    return replace(recordings.select(stimuli=rows), dropped=(*recordings.dropped, note))


def layer_clause(found: Iterable[Recordings | RegionRDMs]) -> str:
    """What a report says of the claim that the stream runs through cortical layer 5: it is never tested here.

    Public array recordings do not say in which layer a neuroid lies; where a
    user's do, how many do is said, and that a passive recording of one layer does not decide the clause.
    """
    layers: list[str] = []
    for one in found:
        if isinstance(one, Recordings):
            column = one.neuroids.get("layer")
            layers += [""] * len(one.neuroids) if column is None else column.fillna("").astype(str).tolist()
    known = [layer for layer in layers if layer]
    if not known:
        return "layer-5 clause: NOT TESTED (no recordings say in which cortical layer their neuroids lie)"
    return (
        f"layer-5 clause: NOT TESTED (the layer of {len(known)} of {len(layers)} neuroids is known: "
        f"{', '.join(sorted(set(known)))}; passive recordings do not show which layer carries a signal on)"
    )
