"""How encoding models were made, alone and in bands."""

from __future__ import annotations

from collections.abc import Sequence

from comparisons.report.methods.references import Paragraph
from comparisons.results import Result


def encoding_paragraphs(results: Sequence[Result]) -> list[Paragraph]:
    """The steps of encoding that a run has in it."""
    measures = [result.measure for result in results if result.comparison == "encoding"]
    if not measures:
        return []
    maps = {measure.split(",")[0].split(" ")[0] for measure in measures}
    told = {
        "pls": "`pls` is partial least squares with 25 components",
        "ridge": "`ridge` is ridge regression with penalty 1",
        "ridgecv": "`ridgecv` is ridge regression whose penalty (one of 99, the same for all neuroids of a region) is "
        "chosen by leave-one-out within each training set",
        "neuron-to-neuron": "`neuron-to-neuron` takes the best single feature",
    }
    steps = [
        Paragraph(
            "Encoding",
            "Linear maps from a site's features to the responses of single neuroids are fitted on one part of the "
            "stimuli and judged on the rest: r is Pearson's correlation over the stimuli left out, the median over "
            "neuroids, the mean over random splits, as Brain-Score computes it. "
            + "; ".join(text for name, text in told.items() if name in maps)
            + ".",
            ("yamins2014", "schrimpf2018"),
        )
    ]
    corrected = any("noise-corrected r2" in measure for measure in measures)
    if corrected or any(result.ceiling for result in results if result.comparison == "encoding"):
        text = (
            "Repetitions are split into halves, the mean responses are correlated and corrected for their number "
            "(Spearman-Brown): that reliability c bounds the variance a model can explain, its square root bounds r. "
            "`r^2/c` is Brain-Score's normalisation since December 2025, `(r/c)^2` the one before."
        )
        if corrected:
            text += " Noise-corrected r2 takes the variance over repetitions out of both terms of r2, without bias."
        steps.append(Paragraph("Ceiling of encoding", text, ("pospisil2021",) if corrected else ()))
    if any(measure.endswith("site selected") for measure in measures):
        text = (
            "The best site of each network and region is chosen on one part of the stimuli; every result, also that of "
            "the site selected, is of the other part."
        )
        steps.append(Paragraph("Choice of the site", text))
    return steps


def banded_paragraphs(results: Sequence[Result]) -> list[Paragraph]:
    """The step of banded encoding, if a run has it in it."""
    measures = [result.measure for result in results if result.comparison == "banded encoding"]
    if not measures:
        return []
    text = (
        "Groups of sites (bands) predict single neuroids together by ridge regression with a penalty for each band. "
        "Ratios and penalty are chosen by leave-one-out within the stimuli that are fitted; every number is of stimuli "
        "left out. R2 is 1 less the squared error over that of the mean of the fitted stimuli. A band's unique R2 is "
        "what all bands explain less what all others do; shared is what two or more can explain."
    )
    if any(measure.startswith("phi") for measure in measures):
        text += (
            " phi is the squared error that a band takes away, over the variance that repetitions share, summed over "
            "the neuroids that are reliable."
        )
    return [Paragraph("Banded encoding", text, ("nunez2019",))]
