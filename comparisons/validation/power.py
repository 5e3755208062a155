"""Power before data are opened: what a data set of this size and reliability could show.

The simulated stream sees the data set's own stimuli and has its regions, neuroids and repetitions; its private noise is
set so that the median neuroid is as reliable as the recorded one. Then the rules judge it at several shares lambda of
simple information in the last region. Of the recordings nothing but counts and reliability is used. All is SIMULATED.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bridge.errors import InputError
from bridge.recordings.order import in_order
from bridge.recordings.simulated import Seen, SimulatedRecordings, Stream, analyst_bands, record
from comparisons.encoding.evaluation import nanmean
from comparisons.encoding.unique_variance import signal_variance
from comparisons.persistence.counts import are_counts, log_counts
from comparisons.persistence.recorded import Bands, recorded_persistence
from comparisons.verdicts.evidence import wilson
from comparisons.verdicts.persistence import by_decodability, by_unique_share

if TYPE_CHECKING:
    import pandas as pd

    from bridge.recordings.recordings import Recordings

LAMBDAS = (0.0, 0.05, 0.1, 0.2, 0.3)
"""Shares in the last region; the first has .5, and those between lie on the line."""
FIRST = 0.5
NOISES = (1e-3, 300.0)
"""Private noise between which the recorded reliability is looked for, in parts of the signal variance."""


@dataclass(frozen=True)
class PowerRow:
    """How often a rule answered what at one lambda of the last region."""

    statistic: str
    share: float
    datasets: int
    supported: int
    refuted: int

    @property
    def rate(self) -> tuple[float, float]:
        """Wilson's 95% interval of the rate of SUPPORTED (of REFUTED where the share is 0)."""
        return wilson(self.refuted if self.share == 0 else self.supported, self.datasets)


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
    datasets: int = 20,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> list[PowerRow]:
    """How often phi and D answer what at each lambda of the last region; a strict hierarchy where it is 0.

    Statistics that these stimuli cannot be asked for (no gratings, too few others) have no rows.
    """
    rows = []
    for number, last in enumerate(lambdas):
        answers: dict[str, Counter[str]] = {"phi": Counter(), "D": Counter()}
        for one in range(datasets):
            drawn = np.random.SeedSequence([seed, number, one]).generate_state(1)[0]
            truth = {"truth": "nhbt" if last == 0 else "residual", "seed": int(drawn)}
            lambdas_here = shares(last, len(spec.neuroids))
            own = SimulatedRecordings(**{**spec.model_dump(), **truth, "lambdas": lambdas_here})
            stream = Stream.of(own, seen)
            recordings = record(own, _ids(seen), stream.stages())
            made = analyst_bands(stream)
            bands = Bands(np.asarray(made.simple, np.float64), np.asarray(made.complex, np.float64), "")
            found = recorded_persistence(recordings, table, bands, draws=300, seed=int(drawn))
            kappa = found.coupling.kappa if found.coupling else 0.0
            if "phi" not in found.untestable:
                answers["phi"][by_unique_share(found.phi, found.regions, kappa, "").answer] += 1
            if "D" not in found.untestable:
                answers["D"][by_decodability(found.d, found.regions, "").answer] += 1
            progress((number * datasets + one + 1) / (len(lambdas) * datasets))
        for statistic, counts in answers.items():
            if counts:
                rows.append(PowerRow(statistic, float(last), datasets, counts["SUPPORTED"], counts["REFUTED"]))
    return rows


def _mean_count(data: np.ndarray) -> float:
    """The mean spike count where these are counts; 5 where they are not."""
    return float(np.clip(np.nanmean(data), 0.05, 1e4)) if are_counts(data) else 5.0


def _ids(seen: Seen) -> tuple[str, ...]:
    return tuple(str(row) for row in range(len(seen.energies)))
