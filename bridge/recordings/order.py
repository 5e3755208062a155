"""Regions of the ventral stream from the eye inward: the one place that knows their order."""

from __future__ import annotations

from collections.abc import Iterable

INWARD = (
    "retina", "LGN", "V1", "EVC", "V2", "V3", "V4", "LO", "LOC", "TEO", "PIT", "CIT", "AIT", "IT", "VTC",
)  # fmt: skip
"""Names that recordings use, whatever their capitals."""
RELAYS = ("V1", "V2", "V4", "IT")
"""Those that follow one another: where two are recorded, one between them is missing."""

_RANK = {name.lower(): place for place, name in enumerate(INWARD)}


def region_rank(region: str) -> int:
    """Place of a region along the ventral stream; unknown regions share the last.

    >>> region_rank("V1") < region_rank("it") < region_rank("M1")
    True
    """
    return _RANK.get(region.lower(), len(_RANK))


def in_order(regions: Iterable[str]) -> tuple[str, ...]:
    """Regions from early to late where all are known, else as they stand.

    >>> in_order(["IT", "V1"]), in_order(["IT", "M1"])
    (('V1', 'IT'), ('IT', 'M1'))
    """
    found = tuple(regions)
    return tuple(sorted(found, key=region_rank)) if all(map(_known, found)) else found


def missing_between(regions: Iterable[str]) -> tuple[str, ...]:
    """The relays of the ventral stream that lie between two of the regions and are not among them.

    >>> missing_between(["V1", "V4", "IT"])
    ('V2',)
    """
    here = set(regions)
    places = [RELAYS.index(name) for name in here if name in RELAYS]
    between = RELAYS[min(places) : max(places)] if places else ()
    return tuple(name for name in between if name not in here)


def _known(region: str) -> bool:
    return region.lower() in _RANK
