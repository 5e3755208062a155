"""The rule of P3, editing: which latents are edited or kept, and what their shares say of a network.

A latent is *edited* if its deletion is gated by a context that can be read from the stream, *kept* if its slope is
near 0. Thresholds were fixed before any network was looked at. Where the truth is planted (SIMULATED, the cells of
comparisons.validation.planted_editing, seeds 3000 to 3039, 40 a cell; printed by `python -m
comparisons.validation.editing_rates`):

    no deletion, untrained (also 10 times as strong), static (also of the square), damping, plain (also 3 times as
    strong): SUPPORTED in 0 of 400, REFUTED in 400; gated deletion of .5 or .8 at a quarter or a half of the tokens:
    SUPPORTED in 160 of 160; gated deletion of 6% of the features: 37 of 40 (13 of 34 before a_f^2 stood in the gate's
    regression, seeds 1000 to 1033); a gate that does not depend on the stream: REFUTED in 40 of 40, though it edits.
    With a poor dictionary (cosine .7, codes of one step), static deletion of the square was SUPPORTED in 1 of 5 before
    a_f^2, in 0 of 10 since; gated deletion of .5 at a quarter in 10 of 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from comparisons.editing.gating import Gating
from comparisons.editing.slopes import Slopes
from comparisons.editing.time_resolved import TimeContrast
from comparisons.results import Verdict
from comparisons.verdicts.evidence import ONE_SIDED, TWO_SIDED, wilson

PREDICTION = "P3 editing"
EDITED, KEPT = 0.04, 0.25
"""Shares of the live latents that a verdict asks for."""
LIVE = 200
"""Live latents without which absence cannot be said."""
TOKENS, ACTIVE = 50, 300
"""Tokens for each latent of a dictionary, and tokens at which a latent must be active, to be live."""
LEVEL = 0.05
"""Level of the test of mod, divided by the number of live latents (Bonferroni)."""
MOD, AWAY, RATIO = 0.06, 3.0, 0.25
"""mod must exceed .06, 3 times its size along other latents' writes, and a quarter of the slope (the error of a
dictionary makes static deletion look gated by about that much)."""
SLOPE = -0.05
"""The upper end of an edited latent's slope must lie below."""
KEPT_SLOPE = 0.2
"""|slope| of a kept latent, with its one-sided error, lies below."""
NAIVE_LEVEL = 0.05


@dataclass(frozen=True)
class Sorted:
    """Which latents are live, edited, kept: bool [m] each."""

    live: NDArray[np.bool_]
    edited: NDArray[np.bool_]
    kept: NDArray[np.bool_]

    @property
    def counts(self) -> Counts:
        """How many of each."""
        return Counts(int(self.live.sum()), int(self.edited.sum()), int(self.kept.sum()))


@dataclass(frozen=True)
class Counts:
    """Numbers of live, edited and kept latents, of one block or of several together."""

    live: int
    edited: int
    kept: int

    @staticmethod
    def total(parts: Sequence[Counts]) -> Counts:
        """Blocks or networks pooled."""
        return Counts(*(sum(getattr(part, name) for part in parts) for name in ("live", "edited", "kept")))

    def share(self, what: str) -> float:
        """Share of the live latents that are `edited` or `kept`; NaN without live ones."""
        return getattr(self, what) / self.live if self.live else float("nan")


def sort_latents(slopes: Slopes, gating: Gating) -> Sorted:
    """Live, edited and kept latents of one block, from its slopes and context effects [m]."""
    from scipy.stats import norm

    enough = slopes.tokens >= TOKENS * np.isfinite(slopes.beta).sum()
    live = np.isfinite(slopes.beta) & (slopes.active >= ACTIVE) & enough
    critical = norm.isf(LEVEL / max(int(live.sum()), 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        edited = (
            live
            & (gating.mod / gating.se > critical)
            & (gating.mod > np.maximum(MOD, AWAY * gating.elsewhere))
            & (gating.mod > RATIO * np.abs(slopes.beta))
            & (slopes.beta + TWO_SIDED * slopes.se < SLOPE)
        )
        kept = live & (np.abs(slopes.beta) + ONE_SIDED * slopes.se < KEPT_SLOPE)
    return Sorted(live, edited, kept)


def editing_verdict(subject: str, trained: Counts, untrained: Sequence[Counts]) -> Verdict:
    """P3 of a network from the latents of its blocks, pooled, and those of its untrained copies.

    SUPPORTED: edited >= 4% and kept >= 25% of the live latents, and more edited ones than in the untrained copies
    (than in each, and than in all by Fisher's exact test at 5%). REFUTED: at least 200 live latents, the upper Wilson
    bound of the edited share below 4%, and no such excess. NOT TESTABLE: no live latent. Else INCONCLUSIVE.
    """
    if not trained.live:
        return Verdict(
            prediction=PREDICTION,
            subject=subject,
            answer="NOT TESTABLE",
            reasons=(
                f"no latent is active at {ACTIVE} tokens with {TOKENS} tokens a latent: present more stimuli, or train "
                "smaller dictionaries",
            ),
        )
    low, high = wilson(trained.edited, trained.live)
    edited, kept = trained.share("edited"), trained.share("kept")
    numbers = {
        "live": float(trained.live),
        "edited share": edited,
        "edited share, lower": low,
        "edited share, upper": high,
        "kept share": kept,
    }
    reasons = [
        f"{trained.edited} of {trained.live} live latents ({edited:.1%} [{low:.1%}, {high:.1%}]) are deleted by a "
        f"write that a context in the stream gates, {trained.kept} ({kept:.0%}) are kept"
    ]
    alive = [counts for counts in untrained if counts.live]
    if not alive:
        reasons.append("no untrained copy was given (or none has live latents), so an excess over it is not known")
        return _said(subject, "INCONCLUSIVE", reasons, numbers)
    pooled = Counts.total(alive)
    p = _fisher(trained, pooled)
    excess = p < LEVEL and edited > max(counts.share("edited") for counts in alive)
    numbers |= {"untrained edited share": pooled.share("edited"), "untrained copies": float(len(alive)), "p excess": p}
    reasons.append(
        f"in {len(alive)} untrained cop{'y' if len(alive) == 1 else 'ies'} {pooled.share('edited'):.1%} are "
        f"(one-sided p {p:.2g})"
    )
    if edited >= EDITED and kept >= KEPT and excess:
        return _said(subject, "SUPPORTED", reasons, numbers)
    if trained.live >= LIVE and high < EDITED and not excess:
        reasons.append("no deletion gated by context readable from the stream; a hidden gate would not be seen")
        return _said(subject, "REFUTED", reasons, numbers)
    if edited >= EDITED and not excess:
        reasons.append("the share is not larger than in the untrained copies")
    elif edited >= EDITED:
        reasons.append(f"fewer than {KEPT:.0%} of the latents are kept, so this is no editing of a part")
    elif high >= EDITED:
        reasons.append(f"the share may lie on either side of {EDITED:.0%}")
    else:
        reasons.append(
            f"too few live latents to say that there are none (fewer than {LIVE})"
            if trained.live < LIVE
            else "more than in the untrained copies, but few"
        )
    return _said(subject, "INCONCLUSIVE", reasons, numbers)


def recordings_editing(
    subject: str, contrasts: Mapping[str, TimeContrast], why_not: str = "", *, simulated: bool = False
) -> Verdict:
    """P3 of recordings: NOT TESTABLE for the reason `why_not`, or from the time-resolved contrast of every region.

    The answer is INCONCLUSIVE also where the contrast is consistent with editing, and says so: that an input was
    cancelled by inhibition cannot be told from spikes.
    """
    if why_not or not contrasts:
        reason = why_not or "no neuroid is reliable both early and late"
        return _said(subject, "NOT TESTABLE", [reason], {}).model_copy(update={"simulated": simulated})
    numbers: dict[str, float] = {}
    reasons: list[str] = []
    for region, one in contrasts.items():
        low, high = np.quantile(one.draws, [0.025, 0.975]) if len(one.draws) else (np.nan, np.nan)
        numbers |= {f"contrast {region}": one.estimate, f"contrast {region}, lower": float(low)}
        numbers[f"contrast {region}, upper"] = float(high)
        said = {"consistent": "consistent with editing", "not consistent": "not consistent with editing"}
        reasons.append(
            f"{region}: {said.get(one.answer, 'undecided')} (late minus early share of simple features, less that of "
            f"complex ones: {one.estimate:.2f} [{low:.2f}, {high:.2f}])"
        )
    reasons.append(
        "an input cancelled by inhibition cannot be told from one that never came, nor a gate from a deletion that is "
        "always on, so this supports nothing"
    )
    known = {name: value for name, value in numbers.items() if np.isfinite(value)}
    return _said(subject, "INCONCLUSIVE", reasons, known).model_copy(update={"simulated": simulated})


def naive_editing(slopes: Slopes) -> float:
    """The share of latents that a naive analyst calls deleted: slopes (marginal ones, say) below 0 at p < .05.

    Not used for verdicts: it finds "editing" where nothing is deleted.
    """
    from scipy.stats import norm

    known = np.isfinite(slopes.beta) & (slopes.se > 0)
    z = slopes.beta[known] / slopes.se[known]
    return float((z < -norm.isf(NAIVE_LEVEL / 2)).mean()) if known.any() else float("nan")


def _fisher(one: Counts, other: Counts) -> float:
    from scipy.stats import fisher_exact

    table = [[one.edited, one.live - one.edited], [other.edited, other.live - other.edited]]
    return float(fisher_exact(table, alternative="greater")[1])


def _said(subject: str, answer: str, reasons: Sequence[str], numbers: dict[str, float]) -> Verdict:
    return Verdict.model_validate(
        {
            "prediction": PREDICTION,
            "subject": subject,
            "answer": answer,
            "reasons": tuple(reasons),
            "numbers": numbers,
        }
    )
