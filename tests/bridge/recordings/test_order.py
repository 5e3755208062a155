"""One order of the ventral stream for all that speak of regions."""

from __future__ import annotations

from bridge.recordings.order import INWARD, RELAYS, in_order, missing_between, region_rank


def test_regions_stand_from_the_eye_inward_whatever_their_capitals() -> None:
    assert in_order(["IT", "v4", "V2", "LGN", "V1"]) == ("LGN", "V1", "V2", "v4", "IT")
    assert in_order(["AIT", "PIT", "CIT"]) == ("PIT", "CIT", "AIT")
    assert in_order(["IT", "EVC"]) == ("EVC", "IT")


def test_an_unknown_region_leaves_all_as_they_stand_and_ranks_last() -> None:
    assert in_order(["IT", "M1", "V1"]) == ("IT", "M1", "V1")
    assert in_order([]) == ()
    assert region_rank("M1") == region_rank("S1") > max(map(region_rank, INWARD))


def test_a_relay_between_two_others_is_missed() -> None:
    assert missing_between(["IT", "V1"]) == ("V2", "V4")
    assert missing_between(["V1", "PIT"]) == missing_between(["EVC"]) == missing_between([]) == ()
    assert set(RELAYS) < set(INWARD)
