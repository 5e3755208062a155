"""The rules of P1, persistence: is what is simple still there at the last stage?

Thresholds were fixed on simulated data sets before real data were opened, and confirmed on fresh seeds
(`ventral validate`). The last stage decides; the stages between are shown beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comparisons.persistence.grating_cells import Decodability
from comparisons.persistence.unique_simple import COUPLED, UniqueSimple
from comparisons.results import Verdict
from comparisons.verdicts.evidence import STRONG, bayes_factor

PREDICTION = "P1 persistence"
LEAST_PHI = 0.04
"""The share of signal variance above which simple features count as there (margin of phi)."""
LEAST_RATIO = 0.2
"""phi of the last region over phi of the first, which SUPPORTED asks for."""
LEAST_D = 0.3
"""D above which a trace of orientation counts as there. At .05, leaks of S into C were taken for it in 8 of 40."""


def by_unique_share(
    found: Mapping[str, UniqueSimple], regions: Sequence[str], kappa: float, subject: str, *, simulated: bool = False
) -> Verdict:
    """The phi rule for recordings of natural stimuli; `regions` are the stages asked about, from early to late.

    SUPPORTED: lower end of the last region's interval above max(.04, its leak bound), Bayes factor above 10 against
    that margin, and phi_last / phi_first above .2. REFUTED: one-sided upper bound below .04, Bayes factor below 1/10,
    and the first region's lower end above .04 (else nothing was there to lose).
    """
    if missing := _missing(regions, found):
        return _untestable(subject, missing, simulated)
    first, last = found[regions[0]], found[regions[-1]]
    margin = max(LEAST_PHI, last.leak_bound)
    for_it, against = bayes_factor(last.estimate, margin), bayes_factor(last.estimate, LEAST_PHI)
    ratio = last.estimate.value / first.estimate.value if first.estimate.value > 0 else float("nan")
    numbers = {f"phi {name}": one.estimate.value for name, one in found.items()} | {
        "phi lower": last.interval[0],
        "phi upper, one-sided": last.upper,
        "leak bound": last.leak_bound,
        "kappa": kappa,
        "Bayes factor": for_it,
        "ratio to the first region": ratio,
    }
    told = [
        f"phi in {last.region} is {last.estimate.value:.3f} [{last.interval[0]:.3f}, {last.interval[1]:.3f}] of the "
        f"signal variance ({first.region}: {first.estimate.value:.3f}); Bayes factor against a share below "
        f"{margin:.2f}: {for_it:.3g}"
    ]
    if kappa > COUPLED:
        told.append(
            f"simple and complex features are coupled (kappa {kappa:.2f}), so that phi up to {last.leak_bound:.3f} "
            "could be what the complex band lacks"
        )
    if last.interval[0] > margin and for_it > STRONG and ratio > LEAST_RATIO:
        return _verdict("SUPPORTED", subject, told, numbers, simulated)
    if last.upper < LEAST_PHI and against < 1 / STRONG:
        if first.interval[0] > LEAST_PHI:
            return _verdict("REFUTED", subject, told, numbers, simulated)
        told.append(f"but {first.region} itself shows no simple share to lose")
    return _verdict("INCONCLUSIVE", subject, told, numbers, simulated)


def by_decodability(
    found: Mapping[str, Decodability], regions: Sequence[str], subject: str, *, simulated: bool = False
) -> Verdict:
    """The D rule for recordings of gratings; `regions` are the stages asked about, from early to late.

    SUPPORTED: lower end of D in the last region above .3, and the excess over the complex-only reference above 0.
    REFUTED: one-sided upper bound below .3, with the first region's lower end above .3.
    D says that a trace is there, not how large a share it is: at lambda .02/.05/.1/.3 it is about .09/.41/.65/.85.
    """
    if missing := _missing(regions, found):
        return _untestable(subject, missing, simulated)
    first, last = found[regions[0]], found[regions[-1]]
    numbers = {f"D {name}": one.d.value for name, one in found.items()} | {
        "D lower": last.d.lower,
        "D upper, one-sided": last.d.upper_one_sided,
        "excess over complex-only": last.excess.value,
        "excess lower": last.excess.lower,
    }
    told = [
        f"orientation is decoded across spatial frequencies and phases in {last.region} at {last.d} of what a "
        f"population of simple neuroids would reach ({first.region}: {first.d}); excess over complex features alone "
        f"{last.excess}"
    ]
    if last.d.lower > LEAST_D and last.excess.lower > 0:
        return _verdict("SUPPORTED", subject, told, numbers, simulated)
    if last.d.upper_one_sided < LEAST_D:
        if first.d.lower > LEAST_D:
            return _verdict("REFUTED", subject, told, numbers, simulated)
        told.append(f"but it is not decoded in {first.region} either, so that nothing was there to lose")
    return _verdict("INCONCLUSIVE", subject, told, numbers, simulated)


def _missing(regions: Sequence[str], found: Mapping[str, object]) -> str:
    """Why nothing can be said, or ''."""
    if len(regions) < 2:
        named = f"only {regions[0]} was" if regions else "no region was"
        return f"{named} recorded with these stimuli, and persistence is a question about two stages or more"
    ends = [region for region in (regions[0], regions[-1]) if region not in found]
    if ends:
        return f"{' and '.join(ends)} had too few reliable neuroids for this statistic"
    return ""


def _untestable(subject: str, why: str, simulated: bool) -> Verdict:
    return _verdict("NOT TESTABLE", subject, [why], {}, simulated)


def _verdict(answer: str, subject: str, told: list[str], numbers: dict[str, float], simulated: bool) -> Verdict:
    finite = {name: float(value) for name, value in numbers.items() if abs(value) < float("inf")}
    return Verdict.model_validate(
        {
            "prediction": PREDICTION,
            "subject": subject,
            "answer": answer,
            "reasons": tuple(told),
            "numbers": finite,
            "simulated": simulated,
        }
    )
