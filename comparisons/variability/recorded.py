"""P2 of one set of recordings: which statistic they allow, what it says, and the results that stand beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bridge.errors import InputError
from comparisons.variability.decoder_error import Bounded, Transport, reliable, stabilised, transports
from comparisons.variability.gain import variability
from comparisons.variability.profile import Profile, profiles
from comparisons.variability.tetrad import tetrad
from comparisons.verdicts.variability import by_profile, by_transport, not_testable

if TYPE_CHECKING:
    import pandas as pd

    from bridge.recordings.recordings import Recordings, RegionRDMs
    from comparisons.results import Verdict

UNKNOWN = "nothing is known of the stimuli (no images, no factors) that areas could tell of"


class Judged(NamedTuple):
    """A verdict; fields of results; what is undefined and why; and curves over areas and pairs of areas."""

    verdict: Verdict
    results: list[dict[str, Any]]
    dropped: list[str]
    curves: dict[str, Any]


def judge(
    one: Recordings | RegionRDMs,
    values: np.ndarray | None,
    order: Sequence[str] | None = None,
    why_none: str = UNKNOWN,
    *,
    draws: int = 1000,
    permutations: int = 1000,
    seed: int = 0,
) -> Judged:
    """P2 of recordings, by decoder-error transport where trials are simultaneous, else by the variance profile.

    `values` [n, variable] are the stimulus variables, or None, and `why_none` says why; `order` the areas from early to
    late (default: as they first appear). What cannot be tested is NOT TESTABLE, and never raises.
    """
    from bridge.recordings.recordings import Recordings

    simulated = one.simulated
    if not isinstance(one, Recordings):
        why = "only RDMs are known, and variability is that of single trials"
        return Judged(not_testable(one.name, why, simulated=simulated), [], [], {})
    if len(one.data) < 2:
        why = "each stimulus was shown once, and variability is what differs between repetitions"
        return Judged(not_testable(one.name, why, simulated=simulated), [], [], {})
    if not (np.isfinite(one.data).sum(axis=0) > 1).any():
        why = "no stimulus was shown twice (to all areas, where they were recorded together)"
        return Judged(not_testable(one.name, why, simulated=simulated), [], list(one.dropped), {})
    names = one.regions if order is None else tuple(name for name in order if name in one.regions)
    about = _about(one, draws, seed)
    results, dropped, curves = _spread(one, names, about, seed)
    missing = [name for name in order or () if name not in one.regions]
    dropped += [f"{one.name}: {', '.join(missing)} was not recorded"] if missing else []

    def untestable(why: str) -> Judged:
        return Judged(not_testable(one.name, why, simulated=simulated), results, dropped, curves)

    if len(names) < 2:
        return untestable(
            f"only {', '.join(names) or 'no area'} was recorded, and what is inherited comes from another"
        )
    regions = one.neuroids["region"].tolist()
    if not one.simultaneous:
        try:
            weak = profiles(one.data, regions, order=names, permutations=permutations, seed=seed)
        except InputError as error:
            return untestable(f"areas were not recorded in the same trials; of their variance profiles: {error}")
        results += list(_of_profiles(weak, about))
        curves["profiles"] = [asdict(part) for part in weak]
        return Judged(by_profile(weak, one.name, simulated=simulated), results, dropped, curves)
    if values is None:
        return untestable(why_none)
    try:
        found = transports(one.data, regions, values, order=names, draws=draws, seed=seed)
    except InputError as error:
        return untestable(str(error))
    left_out = int((~reliable(stabilised(one.data))).sum())
    dropped += [f"{one.name}: {left_out} of {len(regions)} neuroids, which are not reliable"] if left_out else []
    results += [row for part in found for row in _of_transport(part, about)]
    curves["transport"] = [_told(part) for part in found]
    if len(names) > 2:
        areas = [one.region(name).data for name in (names[0], names[-2], names[-1])]
        try:
            beyond = tetrad(*areas, seed=seed)
            note = f"secondary; mean over splits (SD {beyond.spread:.2f}), rank {beyond.rank}, given {names[-2]}"
            if np.isfinite(beyond.tau):
                results.append(_row(about, f"tetrad tau from {names[0]}", names[-1], beyond.tau, None, [note]))
            else:
                dropped.append(f"{one.name}: tetrad undefined (nothing shared repeats)")
        except InputError as error:
            dropped.append(f"{one.name}: tetrad undefined ({error})")
    return Judged(by_transport(found, one.name, simulated=simulated), results, dropped, curves)


def with_repetitions(one: Recordings) -> Recordings:
    """The stimuli that have two trials or more in which all areas were recorded, where areas were recorded together;
    what was left out is said in `dropped`. Large sets show most of their stimuli once."""
    if not one.simultaneous or len(one.regions) < 2 or len(one.data) < 2:
        return one
    shown = np.isfinite(one.data)
    used = shown.any(axis=(0, 1))
    repeated = shown[:, :, used].all(axis=2).sum(axis=0) >= 2
    if repeated.all():
        return one
    why = f"{int((~repeated).sum())} of {len(repeated)} stimuli, without two trials in which all areas were recorded"
    return replace(one.select(stimuli=repeated), dropped=(*one.dropped, why))


def factor_values(table: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Columns of a stimulus table as variables [n, d]; `orientation` as the cosine and sine of twice the angle.

    Raises InputError for a column that does not exist, or holds anything but numbers.
    """
    from bridge.errors import did_you_mean

    found = []
    for name in names:
        if name not in table:
            raise InputError(f"factors: the stimuli have no column {name!r}; {did_you_mean(name, table.columns)}.")
        try:
            column = table[name].to_numpy(float)
        except (TypeError, ValueError):
            column = np.full(len(table), np.nan)
        if not np.isfinite(column).all():
            raise InputError(f"factors: column {name!r} holds values that are no numbers; name another.")
        angle = 2 * np.deg2rad(column)
        found += [np.cos(angle), np.sin(angle)] if name == "orientation" else [column]
    return np.stack(found, axis=1)


def _about(one: Recordings, draws: int, seed: int) -> dict[str, Any]:
    return {
        "comparison": "variability",
        "model": one.name,
        "role": "reference",
        "site": None,
        "recordings": one.name,
        "n_stimuli": len(one.stimulus_ids),
        "n_subjects": int(one.neuroids["subject"].nunique()),
        "n_draws": draws,
        "seed": seed,
        "simulated": one.simulated,
        "dropped": list(one.dropped),
    }


def _row(
    about: dict[str, Any], measure: str, region: str, estimate: float, interval: Any, notes: list[str]
) -> dict[str, Any]:
    return {
        **about,
        "measure": measure,
        "region": region,
        "estimate": estimate,
        "interval": interval,
        "notes": notes,
        "n_draws": about["n_draws"] if interval else 0,
    }


def _spread(
    one: Recordings, names: Sequence[str], about: dict[str, Any], seed: int
) -> tuple[list[dict[str, Any]], list[str], dict[str, Any]]:
    """Fano factor and gain variance of every area, means over neuroids with bootstrap intervals over them."""
    results: list[dict[str, Any]] = []
    dropped: list[str] = []
    curves: dict[str, Any] = {}
    rng = np.random.default_rng(seed)
    for name in names:
        try:
            found = variability(one.region(name).data)
        except InputError as error:
            dropped.append(f"{one.name} {name}: no Fano factor ({error})")
            continue
        for measure, values in (("Fano factor", found.fano), ("gain variance", found.gain_variance)):
            known = values[np.isfinite(values)]
            if not len(known):
                dropped.append(f"{one.name} {name}: no {measure} (no neuroid responds)")
                continue
            drawn = known[rng.integers(len(known), size=(max(about["n_draws"], 1), len(known)))].mean(axis=1)
            limits = tuple(float(end) for end in np.quantile(drawn, [0.025, 0.975])) if about["n_draws"] else None
            notes = [f"mean over {len(known)} of {len(values)} neuroids; interval: neuroids resampled"]
            results.append(_row(about, measure, name, float(known.mean()), limits, notes))
            curves.setdefault(measure, {})[name] = [float(known.mean()), *(limits or ())]
    return results, dropped, curves


def _of_transport(part: Transport, about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    told = [
        ("transport T", part.t, "errors of the first that arrive"),
        ("transport, calibrated", part.cal, "T over the slope with which the later area tells the variables"),
        ("agreement of halves", part.rel, f"correlation of the errors of two halves of {part.earlier}"),
        ("slope of decoded values", part.gain, "of the later area, decoders trained on other stimuli"),
        ("direct path C1", part.direct, "beside the area before, two-stage least squares; bypass or common input"),
    ]
    for measure, value, note in told:
        if value is not None and np.isfinite(value.value):
            limits = (value.lower, value.upper) if np.isfinite([value.lower, value.upper]).all() else None
            where = f"{measure} from {part.earlier}"
            yield _row(about, where, part.later, value.value, limits, [note, "interval: stimuli resampled, no new fit"])


def _of_profiles(found: Sequence[Profile], about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in found:
        weights = ", ".join(f"{name} {weight:.2f}" for name, weight in part.weights.items())
        note = f"weak evidence; weights {weights}; {part.neuroids} neuroids an area with matched mean counts"
        yield {**_row(about, "variance profile, added R2", part.region, part.added, None, [note]), "p": part.p}


def _told(part: Transport) -> dict[str, Any]:
    def ends(value: Bounded | None) -> list[float | None] | None:
        if value is None:
            return None
        return [x if np.isfinite(x) else None for x in (value.value, value.lower, value.upper)]

    of = {"T": part.t, "cal": part.cal, "rel": part.rel, "g": part.gain, "C1": part.direct}
    return {"earlier": part.earlier, "later": part.later, **{name: ends(value) for name, value in of.items()}}
