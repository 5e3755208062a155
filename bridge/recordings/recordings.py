"""Recordings: responses of neuroids to stimuli over repetitions, or only the RDMs where no more is public."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Recordings:
    """Responses [rep, n_stim, neuroid]; repetitions that were not shown are NaN.

    `stimulus_ids` names the second axis. `neuroids` has one row a neuroid, with columns `neuroid_id`, `region`,
    `subject`, and where known `session` and `layer` (empty where it is not). `simultaneous` is True only if trial
    (rep, stimulus) is the same moment for all neuroids; `trial_ids` [rep, n_stim] then may say which trial it was
    (text, empty where none was). `simulated` data are labelled so wherever they are shown. `images` is False where
    what was shown is not public, so that no network can be shown it.
    Where responses are resolved in time, `time_bins` are (start, end) in ms from stimulus onset and `binned`
    [time_bin, rep, n_stim, neuroid] has the responses in each; `data` stays the response to the whole presentation.
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
    images: bool = True
    trial_ids: np.ndarray | None = None
    time_bins: tuple[tuple[float, float], ...] = ()
    binned: np.ndarray | None = None

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
        binned = () if self.binned is None else self.binned.shape
        if binned != ((len(self.time_bins), *self.data.shape) if self.time_bins else ()):
            raise InputError(
                f"Recordings {self.name!r} have binned responses of shape {binned}; expected [{len(self.time_bins)} "
                f"time bins, then as data {self.data.shape}], and none without time bins."
            )
        if self.trial_ids is not None and self.trial_ids.shape != self.data.shape[:2]:
            raise InputError(
                f"Recordings {self.name!r} have trial ids of shape {self.trial_ids.shape}; expected one a trial, "
                f"{self.data.shape[:2]}."
            )

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions, in the order in which they first appear."""
        return tuple(dict.fromkeys(self.neuroids["region"]))

    def region(self, name: str) -> Recordings:
        """The neuroids of one region."""
        return self.select(neuroids=(self.neuroids["region"] == name).to_numpy())

    def select(self, *, stimuli: np.ndarray | None = None, neuroids: np.ndarray | None = None) -> Recordings:
        """The stimuli and neuroids at these rows (or where a mask is true), in that order; all where left out."""
        n, q = self.data.shape[1:]
        rows = np.arange(n) if stimuli is None else np.arange(n)[stimuli]
        keep = np.arange(q) if neuroids is None else np.arange(q)[neuroids]

        def cut(values: np.ndarray) -> np.ndarray:
            values = values if stimuli is None else values[..., rows, :]
            return values if neuroids is None else values[..., keep]

        return replace(
            self,
            data=cut(self.data),
            stimulus_ids=tuple(self.stimulus_ids[row] for row in rows),
            neuroids=self.neuroids.iloc[keep].reset_index(drop=True),
            trial_ids=None if self.trial_ids is None else self.trial_ids[:, rows],
            binned=None if self.binned is None else cut(self.binned),
        )

    def at(self, time_bin: int) -> Recordings:
        """The responses in one time bin as recordings of their own. Raises InputError where there is no such bin."""
        if self.binned is None or not 0 <= time_bin < len(self.time_bins):
            raise InputError(
                f"Recordings {self.name!r} have {len(self.time_bins)} time bins, and bin {time_bin} was asked for; "
                "give recordings that are resolved in time."
            )
        return replace(self, data=self.binned[time_bin], time_bins=(), binned=None)


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
