"""Power before data are opened: what a data set of this size and reliability could show.

The simulated stream sees the data set's own stimuli and has its regions, neuroids and repetitions; its private noise is
set so that the median neuroid is as reliable as the recorded one. Then the rules judge it where something is true: at
several shares lambda of simple information in the last region, with a bypass, with deletion in a late time bin. Of the
recordings nothing but counts and reliability is used. All is SIMULATED.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bridge.errors import InputError
from bridge.recordings.order import in_order
from bridge.recordings.simulated import Seen, SimulatedRecordings, Stream, analyst_bands, record, record_bins
from comparisons.encoding.evaluation import nanmean
from comparisons.encoding.unique_variance import signal_variance
from comparisons.persistence.counts import are_counts, log_counts
from comparisons.validation.brains import DataSet, answered
from comparisons.validation.spec import Statistic
from comparisons.variability.decoder_error import LEAST_STIMULI
from comparisons.verdicts.evidence import wilson

if TYPE_CHECKING:
    import pandas as pd

    from bridge.recordings.recordings import Recordings

LAMBDAS = (0.0, 0.05, 0.1, 0.2, 0.3)
"""Shares in the last region; the first has .5, and those between lie on the line."""
BYPASSED = 0.3
"""The same where P2's direct path or P3 is asked about."""
UNASKED: dict[Statistic, str] = {
    "phi": "too few stimuli are no oriented patterns",
    "D": "no gratings were shown in every combination",
}
FIRST = 0.5
NOISES = (1e-3, 300.0)
"""Private noise between which the recorded reliability is looked for, in parts of the signal variance."""


@dataclass(frozen=True)
class PowerRow:
    """How often a rule answered what where one thing is true."""

    statistic: Statistic
    truth: str
    """In words."""
    wanted: Literal["SUPPORTED", "REFUTED"]
    datasets: int
    supported: int
    refuted: int

    @property
    def rate(self) -> tuple[float, float]:
        """Wilson's 95% interval of the rate of the answer that is wanted."""
        return wilson(self.supported if self.wanted == "SUPPORTED" else self.refuted, self.datasets)


@dataclass(frozen=True)
class Power:
    """What a data set could show: rows, and by statistic why it could not be asked at all."""

    rows: list[PowerRow]
    untestable: dict[Statistic, str]


@dataclass(frozen=True)
class _Truth:
    """One thing that may be true: what is simulated, and the answer that each statistic should give."""

    told: str
    changes: dict[str, Any]
    wanted: dict[Statistic, Literal["SUPPORTED", "REFUTED"]]


def reliability(trials: np.ndarray) -> float:
    """Median over neuroids of signal variance over the variance of the mean response, of trials [rep, n, neuroid].

    Raises InputError for one repetition, or where no neuroid varies.
    """
    if len(trials) < 2:
        raise InputError("Every stimulus was shown once; reliability, and with it power, is known from repetitions.")
    values = log_counts(trials)
    total = np.nanvar(nanmean(values), axis=0, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = signal_variance(values) / total
    share = share[np.isfinite(share) & (total > 1e-12)]
    if not len(share):
        raise InputError("No neuroid of these recordings varies over stimuli; there is nothing to scale to.")
    return float(np.median(share))


def scaled(recordings: Recordings, seen: Seen) -> SimulatedRecordings:
    """A residual stream of the recordings' size and reliability. Raises InputError as `reliability`, and for one
    region."""
    regions = in_order(recordings.regions)
    if len(regions) < 2:
        raise InputError(
            f"Recordings {recordings.name!r} hold {' '.join(regions)} alone; what passes from stage to stage takes two."
        )
    counts = {region: int((recordings.neuroids["region"] == region).sum()) for region in regions}
    shown = np.isfinite(recordings.data).any(axis=2).sum(axis=0)
    spec = SimulatedRecordings(
        truth="residual",
        neuroids=counts,
        lambdas=shares(FIRST, len(regions)),
        reps=max(2, round(float(np.median(shown)))),
        mean_count=_mean_count(recordings.data),
        simultaneous=recordings.simultaneous,
        simple_dimensions=seen.energies.shape[1],
    )
    target = reliability(recordings.data)
    low, high = np.log(NOISES)
    for _ in range(7):
        middle = (low + high) / 2
        tried = spec.model_copy(update={"private_noise": float(np.exp(middle))})
        data = record(tried, _ids(seen), Stream.of(tried, seen).stages()).data
        low, high = (middle, high) if reliability(data) > target else (low, middle)
    return spec.model_copy(update={"private_noise": float(np.exp((low + high) / 2))})


def shares(last: float, regions: int) -> tuple[float, ...]:
    """lambda by region: `FIRST` in the first, `last` in the last, and the line between."""
    return tuple(float(value) for value in np.linspace(FIRST, last, regions))


def power(
    spec: SimulatedRecordings,
    seen: Seen,
    table: pd.DataFrame,
    *,
    lambdas: Sequence[float] = LAMBDAS,
    timed: bool = False,
    datasets: int = 20,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Power:
    """How often the rules of P1, P2 and P3 answer what, in data of the size of `spec` (from `scaled`).

    P1 and P2 at each lambda of the last region, a strict hierarchy where it is 0; P2's direct path with a bypass of 1
    over a hierarchy, where there are three regions; P3 with time bins, if the recordings have them (`timed`). What
    these stimuli and trials cannot be asked has no rows and a reason.
    """
    untestable: dict[Statistic, str] = {}
    if not spec.simultaneous:
        untestable["transport"] = "the regions were not recorded in the same trials"
    elif len(table) < LEAST_STIMULI:
        untestable["transport"] = f"{len(table)} stimuli; decoders need {LEAST_STIMULI} or more"
    if not timed:
        untestable["late loss"] = "there are no time bins within 70 to 100 and 150 to 200 ms"
    truths = _truths(len(spec.neuroids), lambdas, untestable)
    rows = []
    for number, truth in enumerate(truths):
        answers: dict[Statistic, Counter[str]] = {statistic: Counter() for statistic in truth.wanted}
        for one in range(datasets):
            drawn = int(np.random.SeedSequence([seed, number, one]).generate_state(1)[0])
            own = SimulatedRecordings(**{**spec.model_dump(), **truth.changes, "seed": drawn})
            stream = Stream.of(own, seen)
            ids = _ids(seen)
            recordings = record_bins(stream, ids) if own.time_bins else record(own, ids, stream.stages())
            data = DataSet(recordings, analyst_bands(stream), table)
            for statistic, answer in answered(data, list(answers), drawn).items():
                answers[statistic][answer] += 1
            progress((number * datasets + one + 1) / (len(truths) * datasets))
        for statistic, counts in answers.items():
            if counts["NOT TESTABLE"] == datasets:
                untestable[statistic] = UNASKED.get(statistic, "the rule says NOT TESTABLE of all such data")
                continue
            wanted = truth.wanted[statistic]
            rows.append(PowerRow(statistic, truth.told, wanted, datasets, counts["SUPPORTED"], counts["REFUTED"]))
    return Power(rows, untestable)


def _truths(regions: int, lambdas: Sequence[float], untestable: Mapping[Statistic, str]) -> list[_Truth]:
    """What is simulated of a data set with so many regions, without what cannot be asked of it."""
    found = []
    levels: list[Statistic] = ["phi", "D", *(["transport"] if "transport" not in untestable else [])]  # type: ignore[list-item]
    for last in lambdas:
        name, truth = (f"lambda {last:.2f}", "residual") if last else ("hierarchy", "nhbt")
        answer: Literal["SUPPORTED", "REFUTED"] = "SUPPORTED" if last else "REFUTED"
        changes = {"truth": truth, "lambdas": shares(last, regions)}
        found.append(_Truth(name, changes, dict.fromkeys(levels, answer)))
    if "transport" not in untestable and regions > 2:
        bypass = {"truth": "bypass", "dynamics": "nhbt", "lambdas": shares(BYPASSED, regions)}
        found.append(_Truth("bypass of 1 over a hierarchy", bypass, {"direct path": "SUPPORTED"}))
    if "late loss" not in untestable:
        timed = {"lambdas": shares(BYPASSED, regions), "time_bins": True}
        found.append(_Truth("gated deletion late", {**timed, "truth": "edit"}, {"late loss": "SUPPORTED"}))
        found.append(_Truth("nothing deleted", {**timed, "truth": "residual"}, {"late loss": "REFUTED"}))
    return found


def _mean_count(data: np.ndarray) -> float:
    """The mean spike count where these are counts; 5 where they are not."""
    return float(np.clip(np.nanmean(data), 0.05, 1e4)) if are_counts(data) else 5.0


def _ids(seen: Seen) -> tuple[str, ...]:
    return tuple(str(row) for row in range(len(seen.energies)))
