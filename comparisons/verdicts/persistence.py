"""The rules of P1, persistence: is what is simple still there at the last stage?

Thresholds were fixed on simulated data sets before real data were opened, and confirmed on fresh seeds
(`ventral validate`). The last stage decides; the stages between are shown beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from comparisons.persistence.grating_cells import Decodability
from comparisons.persistence.partial_rsa import PartialRSA
from comparisons.persistence.unique_simple import COUPLED, UniqueSimple
from comparisons.results import Verdict
from comparisons.verdicts.evidence import STRONG, Estimate, bayes_factor

PREDICTION = "P1 persistence"
LEAST_PHI = 0.04
"""The share of signal variance above which simple features count as there (margin of phi)."""
LEAST_RATIO = 0.2
"""phi of the last region over phi of the first, which SUPPORTED asks for."""
LEAST_D = 0.3
"""D above which a trace of orientation counts as there. At .05, leaks of S into C were taken for it in 8 of 40."""
LAST = 2 / 3
"""The last stages are the sites of the stream's last third (depth above this), whatever a network calls its stages."""


def by_unique_share(
    found: Mapping[str, UniqueSimple], regions: Sequence[str], kappa: float, subject: str, *, simulated: bool = False
) -> Verdict:
    """The phi rule for recordings of natural stimuli; `regions` are the stages asked about, from early to late.

    SUPPORTED: lower end of the last region's interval above max(.04, its leak bound), Bayes factor above 10 against
    that margin, and phi_last / phi_first above .2. REFUTED: one-sided upper bound below .04, Bayes factor below 1/10,
    and the first region's lower end above .04 (else nothing was there to lose).
    """
    if missing := _missing(regions, found):
        return not_testable(subject, [missing], simulated=simulated)
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
        return not_testable(subject, [missing], simulated=simulated)
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


def by_partial_rsa(
    found: Mapping[str, PartialRSA], regions: Sequence[str], subject: str, *, missing: str = "", simulated: bool = False
) -> Verdict:
    """What partial RSA says where only RDMs are public: never SUPPORTED, never REFUTED.

    A partial correlation beyond a complex RDM is also what that RDM leaves out, and its absence may be one of power:
    the grade is weak either way. NOT TESTABLE without two regions, or with `missing` (why there is no complex band).
    """
    if not missing and len(regions) > 1 and not {regions[0], regions[-1]} <= set(found):
        missing = f"the RDMs of {regions[0]} or {regions[-1]} could not be compared (what was left out says why)"
    if missing or (missing := _missing(regions, found)):
        return not_testable(subject, [missing], simulated=simulated)
    first, last = regions[0], regions[-1]
    told: list[str] = []
    numbers: dict[str, float] = {}
    for region in (first, last):
        one = found[region]
        low, high = one.rsa.interval()[0]
        told.append(
            f"partial RSA of simple features in {region}: {one.rsa.estimate[0]:.3f} [{low:.3f}, {high:.3f}], "
            f"{one.without.estimate[0]:.3f} with nothing taken out"
        )
        numbers |= {f"partial {region}": one.rsa.estimate[0], f"raw {region}": one.without.estimate[0]}
    coupling = max(one.coupling for one in found.values())
    told.append(
        f"only RDMs are public: the evidence is weak and decides nothing ({coupling:.0%} of the simple RDM is shared "
        "with what was taken out, and what that misses counts for simple features)"
    )
    return _verdict("INCONCLUSIVE", subject, told, {**numbers, "coupling": coupling}, simulated)


@dataclass(frozen=True)
class SiteD:
    """D at one site of a stream; `depth` is the share of blocks behind it."""

    site: str
    depth: float
    estimate: Estimate


def network_persistence(
    subject: str, curve: Sequence[SiteD], *, beside: Sequence[str] = (), missing: str = ""
) -> Verdict:
    """P1 for one network from D along its stream, in any order.

    SUPPORTED       D - 1.96 se > .3 at every site of the last third (each must pass, so nothing is corrected for)
    REFUTED         D + 1.645 se < .3 at the last site, and D - 1.96 se > .3 at the first: what was there is lost
    INCONCLUSIVE    else
    NOT TESTABLE    fewer than two sites have a D, or none of them in the last third

    `beside` are sentences on what stands beside the network (untrained copies, pixels); they never enter the rule.
    `missing` says why there is no curve.
    """
    known = sorted((one for one in curve if one.estimate.known), key=lambda one: one.depth)
    last = [one for one in known if one.depth > LAST]
    if len(known) < 2 or not last:
        why = missing or f"orientation could be decoded at {len(known)} sites, {len(last)} in the last third"
        reason = f"{why}; the rule needs two sites or more, one of them in the last third of the stream"
        return Verdict(prediction=PREDICTION, subject=subject, answer="NOT TESTABLE", reasons=(reason, *beside))
    first, end = known[0], known[-1]
    weakest = min(last, key=lambda one: one.estimate.lower)
    shown = f"D of orientation is {first.estimate} at {first.site} and {end.estimate} at {end.site}"
    numbers = {
        "D at the first site": first.estimate.value,
        "se of D at the first site": first.estimate.se,
        "D at the last site": end.estimate.value,
        "se of D at the last site": end.estimate.se,
        "least lower end of D in the last third": weakest.estimate.lower,
        "sites in the last third": float(len(last)),
        "bound": LEAST_D,
    }
    answer: Literal["SUPPORTED", "REFUTED", "INCONCLUSIVE"] = "INCONCLUSIVE"
    if weakest.estimate.lower > LEAST_D:
        answer = "SUPPORTED"
        rule = f"its interval lies above {LEAST_D:g} at all {len(last)} sites of the last third"
    elif end.estimate.upper_one_sided < LEAST_D and first.estimate.lower > LEAST_D:
        answer = "REFUTED"
        rule = f"it begins above {LEAST_D:g} and ends below (one-sided 95% bound {end.estimate.upper_one_sided:.3f})"
    elif end.estimate.upper_one_sided < LEAST_D:
        rule = f"it ends below {LEAST_D:g}, but does not begin above: what was never readable cannot be lost"
    else:
        rule = (
            f"in the last third it is not above {LEAST_D:g} throughout ({weakest.estimate} at {weakest.site}), and at "
            "the end not below"
        )
    return Verdict(
        prediction=PREDICTION, subject=subject, answer=answer, reasons=(f"{shown}; {rule}", *beside), numbers=numbers
    )


def _missing(regions: Sequence[str], found: Mapping[str, object]) -> str:
    """Why nothing can be said, or ''."""
    if len(regions) < 2:
        named = f"only {regions[0]} was" if regions else "no region was"
        return f"{named} recorded with these stimuli, and persistence is a question about two stages or more"
    ends = [region for region in (regions[0], regions[-1]) if region not in found]
    if ends:
        return f"{' and '.join(ends)} had too few reliable neuroids for this statistic"
    return ""


def not_testable(subject: str, why: Sequence[str], *, simulated: bool = False) -> Verdict:
    """The verdict on what cannot be asked of these data, with the reasons."""
    return _verdict("NOT TESTABLE", subject, list(why), {}, simulated)


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
