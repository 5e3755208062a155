"""Recordings: responses of neuroids to stimuli over repetitions, or only the RDMs where no more is public."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Recordings:
    """Responses [rep, n_stim, neuroid]; repetitions that were not shown are NaN.

    `stimulus_ids` names the second axis. `neuroids` has one row a neuroid, with columns `neuroid_id`, `region`,
    `subject`, and where known `session` and `layer`. `simultaneous` is True only if trial (rep, stimulus) is the
    same moment for all neuroids. `simulated` data are labelled so wherever they are shown.
    `dropped` says in words what was left out and why.

    Raises InputError when shapes and tables disagree.
    """

    name: str
    data: np.ndarray
    stimulus_ids: tuple[str, ...]
    neuroids: pd.DataFrame
    simultaneous: bool = False
    simulated: bool = False
    citation: str = ""
    dropped: tuple[str, ...] = ()
    truth: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = (len(self.stimulus_ids), len(self.neuroids))
        if self.data.ndim != 3 or self.data.shape[1:] != expected:
            raise InputError(
                f"Recordings {self.name!r} have data of shape {self.data.shape}; expected [rep, {expected[0]} stimuli, "
                f"{expected[1]} neuroids] from its tables."
            )
        if missing := {"neuroid_id", "region", "subject"} - set(self.neuroids.columns):
            raise InputError(f"The neuroid table of {self.name!r} lacks the column(s) {', '.join(sorted(missing))}.")
        if len(set(self.stimulus_ids)) != len(self.stimulus_ids):
            raise InputError(f"Recordings {self.name!r} hold a stimulus id twice; put repetitions on the first axis.")

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions, in the order in which they first appear."""
        return tuple(dict.fromkeys(self.neuroids["region"]))

    def region(self, name: str) -> Recordings:
        """The neuroids of one region."""
        from dataclasses import replace

        keep = (self.neuroids["region"] == name).to_numpy()
        return replace(self, data=self.data[:, :, keep], neuroids=self.neuroids[keep].reset_index(drop=True))


@dataclass(frozen=True)
class RegionRDMs:
    """One region's RDMs where only those are public: float64 [subject, pair].

    Pairs are the upper triangle by rows (scipy's and rsatoolbox's order) of the stimuli in `stimulus_ids`.
    Raises InputError when the number of pairs does not fit the number of stimuli.
    """

    name: str
    region: str
    rdms: np.ndarray
    stimulus_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    measure: str = "correlation"
    simulated: bool = False
    citation: str = ""
    dropped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.stimulus_ids)
        if self.rdms.shape != (len(self.subjects), n * (n - 1) // 2):
            raise InputError(
                f"RDMs {self.name!r} have shape {self.rdms.shape}; {len(self.subjects)} subjects and {n} stimuli need "
                f"({len(self.subjects)}, {n * (n - 1) // 2})."
            )

    def aligned_to(self, ids: tuple[str, ...]) -> RegionRDMs:
        """The same RDMs for the stimuli `ids`, in that order.

        Raises InputError unless every id is among this data set's stimuli.
        """
        if ids == self.stimulus_ids:
            return self
        from dataclasses import replace

        where = {name: row for row, name in enumerate(self.stimulus_ids)}
        missing = [name for name in ids if name not in where]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(ids)} stimulus ids are not in the RDMs {self.name!r} (the first: "
                f"{missing[0]!r}; the RDMs' first: {self.stimulus_ids[0]!r}); stimuli are aligned by id only: "
                "give both sides the same ids."
            )
        rows = np.array([where[name] for name in ids])
        n = len(self.stimulus_ids)
        squares = np.zeros((len(self.rdms), n, n))
        upper = np.triu_indices(n, 1)
        squares[:, upper[0], upper[1]] = squares[:, upper[1], upper[0]] = self.rdms
        new = np.triu_indices(len(ids), 1)
        return replace(self, rdms=squares[:, rows[new[0]], rows[new[1]]], stimulus_ids=tuple(ids))
