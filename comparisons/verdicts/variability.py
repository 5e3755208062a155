"""The rules of P2, variability: is what varies at a stage passed on, as it is, to all later ones?

Of networks, the level of t at the longest distance decides, against a plain twin. Untrained copies are shown beside and
never subtracted: t near 1 is what the architecture gives. Of recordings, decoder-error transport from the first area to
the last does (simultaneous trials only); the variance profile of others is shown as weak evidence and decides nothing.
Thresholds were fixed on simulated data sets before real data were opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from comparisons.results import Verdict
from comparisons.variability.decoder_error import Transport
from comparisons.variability.profile import Profile
from comparisons.variability.transport import Transported

PREDICTION = "P2 variability"
SEEDS = 5
"""Trained networks that differ by seed, without which nothing is said of an architecture."""
PASSED_ON, LOST = 0.5, 0.1
"""t above and below which a stage's variation counts as passed on and as lost."""
LEAST_REL = 0.03
"""Correlation of two halves' errors below which the first area has no shared error that could be transported."""
LEAST_GAIN = 0.05
"""Slope of decoded on true values below which an area does not tell the variable."""
TRANSPORTED = 0.5
"""Calibrated transport above which errors count as inherited."""
NOT_TRANSPORTED = 0.25
"""Calibrated transport below which they count as lost."""
LEAST_TRANSPORT = 0.05
"""Transport below which nothing arrives, where the later area does not tell the variable."""
LEAST_DIRECT = 0.3
"""Direct path (C1) above which it is reported; a bypass as strong as the chain gives .8. Above .1, as first planned,
.05 to .10 of streams without one were reported (CHANGELOG)."""
PROFILE_LEVEL = 0.05
"""Permutation p of a variance profile below which the profile is said to follow those before."""

# ------------------------------------------------------------------------------------------------------- networks


def network_variability(
    subject: str,
    trained: Sequence[Mapping[str, Transported]],
    plain: Sequence[Mapping[str, Transported]] = (),
    untrained: Sequence[Mapping[str, Transported]] = (),
) -> Verdict:
    """P2 of a network from t of every stage to the furthest stage that its directions can be carried to, a mapping
    (by source) for each seed; of the plain twins and the untrained copies likewise.

    SUPPORTED ("by architecture"): over at least 5 seeds, the lower end of t's interval is above .5 for every source,
    and the plain twins' t lies within +-.1 (upper ends of |t|'s interval). REFUTED: over at least 5 seeds the upper end
    is below .1 for every source. NOT TESTABLE without two stages. Intervals are Student's over seeds. Else
    INCONCLUSIVE.
    """
    sources = [name for name in trained[0] if all(name in one for one in trained)] if trained else []
    if not sources:
        reason = "there are no two stages between which directions can be carried"
        return _said(subject, "NOT TESTABLE", [reason], {})
    levels = {name: over_seeds([one[name] for one in trained]) for name in sources}
    numbers = {"seeds": float(len(trained))}
    for name, (mean, low, high) in levels.items():
        numbers |= {f"t {name}": mean, f"t {name}, lower": low, f"t {name}, upper": high}
    worst = min(sources, key=lambda name: levels[name][1])
    best = max(sources, key=lambda name: levels[name][2])
    first = levels[sources[0]]
    reasons = [
        f"t from the first stage is {first[0]:.2f} [{first[1]:.2f}, {first[2]:.2f}] over {len(trained)} trained "
        f"network{'s' * (len(trained) != 1)}; over all stages its interval lies in "
        f"[{levels[worst][1]:.2f}, {levels[best][2]:.2f}]"
    ]
    if untrained:
        levels_untrained = [over_seeds([one[name] for one in untrained if name in one])[0] for name in sources]
        numbers |= {"t untrained, first": levels_untrained[0], "untrained copies": float(len(untrained))}
        reasons.append(
            f"in {len(untrained)} untrained cop{'y' if len(untrained) == 1 else 'ies'} t from the first stage is "
            f"{levels_untrained[0]:.2f}: what is passed on, the architecture passes on"
        )
    twin = None
    if plain:
        ends = [over_seeds([one[name] for one in plain if name in one]) for name in plain[0]]
        twin = max(max(abs(low), abs(high)) for _, low, high in ends)
        numbers |= {"|t| plain, upper": twin, "plain twins": float(len(plain))}
        reasons.append(f"in {len(plain)} plain twin{'s' * (len(plain) != 1)} |t| is below {twin:.2f} at every stage")
    if len(trained) < SEEDS:
        reasons.append(f"an architecture is judged by at least {SEEDS} seeds; {len(trained)} given")
        return _said(subject, "INCONCLUSIVE", reasons, numbers)
    if all(high < LOST for _, _, high in levels.values()):
        reasons.append(f"less than {LOST} arrives as it was")
        return _said(subject, "REFUTED", reasons, numbers)
    if all(low > PASSED_ON for _, low, _ in levels.values()):
        if twin is not None and twin < LOST:
            reasons.append("passed on by architecture: the same layers without skips lose it")
            return _said(subject, "SUPPORTED", reasons, numbers)
        reasons.append(
            "no plain twin was given" if twin is None else f"the plain twin's |t| is not shown to be below {LOST}"
        )
        return _said(subject, "INCONCLUSIVE", reasons, numbers)
    reasons.append(f"t is neither above {PASSED_ON} at every stage nor below {LOST} at every stage")
    return _said(subject, "INCONCLUSIVE", reasons, numbers)


def with_masks(verdict: Verdict, ratios: Sequence[tuple[float, float]]) -> Verdict:
    """The verdict with what ReLUs after the sums let through, from (t, trace of the active mask) of some stages.

    A reason, not a rule: the identity path of such a network transports no more than the trace.
    """
    if not ratios:
        return verdict
    traces, shares = [trace for _, trace in ratios], [t / trace for t, trace in ratios if trace > 0]
    reason = (
        f"a ReLU follows every sum, and its mask alone lets {min(traces):.2f} to {max(traces):.2f} through; t is "
        f"{min(shares, default=0):.2f} to {max(shares, default=0):.2f} of that"
    )
    numbers = {**verdict.numbers, "t over mask, least": min(shares, default=0.0)}
    return verdict.model_copy(update={"reasons": (*verdict.reasons, reason), "numbers": numbers})


def over_seeds(found: Sequence[Transported]) -> tuple[float, float, float]:
    """Mean t over seeds and its 95% interval: Student's over seeds; of a single seed, normal over its images."""
    from scipy.stats import t as student

    values = np.array([one.t for one in found if np.isfinite(one.t)])
    if not len(values):
        return float("nan"), float("-inf"), float("inf")
    if len(values) == 1:
        half = 1.96 * found[0].t_se if np.isfinite(found[0].t_se) else float("inf")
    else:
        half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    mean = float(values.mean())
    return mean, mean - half, mean + half


# ---------------------------------------------------------------------------------------------------------- recordings


def by_transport(found: Sequence[Transport], subject: str, *, simulated: bool = False) -> Verdict:
    """The rule for areas recorded in the same trials; the longest distance, `found[0]`, decides.

    INCONCLUSIVE where rel's lower end is at most .03. Where g_k's lower end is above .05: SUPPORTED if cal's lower end
    is above .5, REFUTED if its upper end is below .25. Where the upper ends of g_k and of T are both below .05:
    REFUTED. Else INCONCLUSIVE. C1 is reported where its lower end is above .3, and decides nothing.
    """
    one = found[0]
    numbers = {
        f"{name} {part.earlier} to {part.later}": value.value
        for part in found
        for name, value in (("T", part.t), ("cal", part.cal), ("rel", part.rel), ("g", part.gain), ("C1", part.direct))
        if value is not None
    }
    for name, value in (("cal", one.cal), ("rel", one.rel), ("g", one.gain), ("T", one.t)):
        numbers |= {f"{name} lower": value.lower, f"{name} upper": value.upper}
    told = [
        f"errors about the stimulus that {one.earlier} makes arrive in {one.later} at {one.cal} of what {one.later} "
        f"tells of it (slope {one.gain}); halves of {one.earlier} agree on their errors at {one.rel}"
    ]
    answer = _transport_answer(one)
    if answer == "SUPPORTED":
        told.append(
            "variability about the stimulus is inherited; a recoding that keeps it readable, and common input larger "
            "than the first area's own noise, are not excluded"
        )
    if one.rel.lower <= LEAST_REL:
        told.append(f"halves of {one.earlier} share too little of their errors for their transport to be seen")
    elif answer == "REFUTED" and one.gain.upper < LEAST_GAIN:
        told.append(f"{one.later} does not tell the variable, and none of the errors arrive (T {one.t})")
    for part in found:
        if part.direct is not None and part.direct.lower > LEAST_DIRECT:
            told.append(f"{part.earlier} to {part.later}: a bypass or common input (C1 {part.direct})")
    return _said(subject, answer, told, numbers, simulated)


def _transport_answer(one: Transport) -> str:
    if not one.rel.lower > LEAST_REL:
        return "INCONCLUSIVE"
    if one.gain.lower > LEAST_GAIN:
        if one.cal.lower > TRANSPORTED:
            return "SUPPORTED"
        return "REFUTED" if one.cal.upper < NOT_TRANSPORTED else "INCONCLUSIVE"
    return "REFUTED" if one.gain.upper < LEAST_GAIN and one.t.upper < LEAST_TRANSPORT else "INCONCLUSIVE"


def by_profile(found: Sequence[Profile], subject: str, *, simulated: bool = False) -> Verdict:
    """What variance profiles say of areas that were not recorded in the same trials: weak evidence, INCONCLUSIVE."""
    one = found[-1]
    numbers = {f"profile R2, {part.region}": part.added for part in found}
    numbers |= {f"profile p, {part.region}": part.p for part in found}
    follows = "follows" if one.p < PROFILE_LEVEL else "does not follow"
    told = [
        f"areas were not recorded in the same trials, so that only variance over stimuli can be compared: that of "
        f"{one.region} {follows} that of earlier areas (added R2 {one.added:.2f}, p {one.p:.3f}), weak evidence "
        f"{'for' if one.p < PROFILE_LEVEL else 'against'} inheritance, which decides nothing"
    ]
    return _said(subject, "INCONCLUSIVE", told, numbers, simulated)


def not_testable(subject: str, why: str, *, simulated: bool = False) -> Verdict:
    """What these data cannot answer, and why."""
    return _said(subject, "NOT TESTABLE", [why], {}, simulated)


def _said(
    subject: str, answer: str, reasons: Sequence[str], numbers: Mapping[str, float], simulated: bool = False
) -> Verdict:
    known = {name: value for name, value in numbers.items() if np.isfinite(value)}
    return Verdict.model_validate(
        {
            "prediction": PREDICTION,
            "subject": subject,
            "answer": answer,
            "reasons": tuple(reasons),
            "numbers": known,
            "simulated": simulated,
        }
    )
