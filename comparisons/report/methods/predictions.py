"""How the three predictions were tested: the steps of persistence, variability and editing."""

from __future__ import annotations

from comparisons.report.methods.references import Paragraph
from comparisons.results import Result, RunResults

VERDICTS = Paragraph(
    "Verdicts",
    "Each verdict comes from one primary statistic and a rule with bounds that were fixed, on simulated data sets, "
    "before real data were opened; everything else stands beside it. SUPPORTED and REFUTED each ask for an interval on "
    "the right side of a bound; what lies between is INCONCLUSIVE, and what data cannot say is NOT TESTABLE.",
)
NETWORK_D = Paragraph(
    "P1 in networks: robust decodability",
    "D is R2 of a ridge probe on 50 principal components of a site, tested on conditions (spatial frequencies, phases, "
    "places, contrasts or backgrounds) that it was not fitted on; intervals from resampled cells of the design, the "
    "floor from permuted labels. The verdict reads D of orientation at the first site and at those of the last third. "
    "Untrained networks and pixels, Gabors and random projections stand beside and are never subtracted.",
    ("liao2016", "fel2024", "muratore2022"),
)
SURVIVAL = Paragraph(
    "P1 in networks: survival of features",
    "Dictionaries of several sites, three seeds or more each, are matched one to one by mutual nearest neighbours "
    "above the 99th percentile of the null: by decoder cosine within a basis, else by the correlation of activations "
    "at the same places of the same stimuli. A feature is born at the first site that has it and dies at the first "
    "later site without a match (Kaplan-Meier; Greenwood's variance). Each step is also divided by the rate at which "
    "another seed of the site reached finds the features of the first, within the same stratum of Gabor simplicity: "
    "where the same features are found again and again that is an upper bound, the plain curve a lower one. The hazard "
    "ratio is that of a Cox regression on simplicity, firing density and seed stability, stratified by birth, and "
    "needs ten deaths a covariate.",
    ("kaplan1958", "peduzzi1995", "paulo2025", "lawson2024"),
)
RECORDED_P1 = Paragraph(
    "P1 in recordings",
    "D is R2 of orientation, decoded from gratings at spatial frequencies and phases left out, over what a population "
    "of the same size and reliability that carries simple features alone would reach. phi is the error that simple "
    "features take away beside complex ones, over the variance that repetitions share; where complex features can be "
    "told from simple ones, a leak of that size is allowed for.",
)
TRANSPORT = Paragraph(
    "P2 in networks: transport",
    "Random vectors are sent through the network's Jacobians from the stream after one block to that after another; t "
    "is the product of what arrives with what was sent (carried along the skip path where the basis changes), over the "
    "square of the latter.",
)
ERRORS = Paragraph(
    "P2 in recordings: transport of decoding errors",
    "Components of the images' Gabor energies are decoded on single trials, by decoders fitted on other stimuli. The "
    "covariance of two areas' errors within stimuli, over that of two halves of the earlier area, says how much of an "
    "error arrives; over the later area's slope it is calibrated. Errors are first freed of the population's common "
    "gain. The direct path is a two-stage least squares coefficient beside the area before. Where areas were not "
    "recorded in the same trials, profiles of variance over stimuli are compared, as weak evidence. Fano factors and "
    "gain variance are those of a modulated Poisson process.",
    ("goris2014",),
)
EDITING = Paragraph(
    "P3: edit slopes",
    "What a block changes along the decoder direction of each latent is regressed on that latent given all others "
    "(ridge, debiased); \N{MINUS SIGN}1 is full deletion, 0 none. A latent counts as edited if its slope depends on a "
    "gate that is read from the stream on other tokens, beyond additive terms, along its own direction and not along "
    "others; as kept if its slope is within .2 of 0.",
)


def prediction_paragraphs(results: RunResults) -> list[Paragraph]:
    """The steps of the predictions that a run asks."""
    of: dict[str, list[Result]] = {}
    for result in results.results:
        of.setdefault(result.comparison, []).append(result)
    persistence, variability = of.get("persistence", []), of.get("variability", [])
    wanted = (
        (VERDICTS, bool(results.verdicts)),
        (NETWORK_D, any(r.measure.startswith("D of ") and r.region == "network" for r in persistence)),
        (SURVIVAL, any(r.measure.startswith("survival of ") for r in persistence)),
        (RECORDED_P1, any(r.model == "simple features" for r in persistence)),
        (TRANSPORT, any(r.measure == "transport t" for r in variability)),
        (ERRORS, any(r.model == r.recordings for r in variability)),
        (EDITING, "editing" in of),
    )
    return [paragraph for paragraph, shown in wanted if shown]
