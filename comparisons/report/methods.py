"""How the numbers were made, in plain words, and whom to cite: only for what a run has in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comparisons.results import Result, RunResults


@dataclass(frozen=True)
class Reference:
    """A work to cite."""

    text: str
    address: str


REFERENCES = {
    "kirchner": Reference(
        "Kirchner, J. H. Serendipitous connections: applying explanations from AI to the brain. Essay.",
        "https://universalprior.substack.com/p/serendipitous-connections-applying",
    ),
    "elhage2021": Reference(
        "Elhage, N. et al. (2021). A mathematical framework for transformer circuits. Transformer Circuits Thread.",
        "https://transformer-circuits.pub/2021/framework/index.html",
    ),
    "kriegeskorte2008": Reference(
        "Kriegeskorte, N., Mur, M. & Bandettini, P. (2008). Representational similarity analysis: connecting the "
        "branches of systems neuroscience. Frontiers in Systems Neuroscience 2, 4.",
        "https://doi.org/10.3389/neuro.06.004.2008",
    ),
    "nili2014": Reference(
        "Nili, H. et al. (2014). A toolbox for representational similarity analysis. PLoS Computational Biology 10, "
        "e1003553.",
        "https://doi.org/10.1371/journal.pcbi.1003553",
    ),
    "schuett2023": Reference(
        "Schütt, H. H., Kipnis, A. D., Diedrichsen, J. & Kriegeskorte, N. (2023). Statistical inference on "
        "representational geometries. eLife 12, e82566.",
        "https://doi.org/10.7554/eLife.82566",
    ),
    "yamins2014": Reference(
        "Yamins, D. L. K. et al. (2014). Performance-optimized hierarchical models predict neural responses in higher "
        "visual cortex. PNAS 111, 8619-8624.",
        "https://doi.org/10.1073/pnas.1403112111",
    ),
    "schrimpf2018": Reference(
        "Schrimpf, M. et al. (2018). Brain-Score: which artificial neural network for object recognition is most "
        "brain-like? bioRxiv 407007.",
        "https://doi.org/10.1101/407007",
    ),
    "nunez2019": Reference(
        "Nunez-Elizalde, A. O., Huth, A. G. & Gallant, J. L. (2019). Voxelwise encoding models with non-spherical "
        "multivariate normal priors. NeuroImage 197, 482-492.",
        "https://doi.org/10.1016/j.neuroimage.2019.04.012",
    ),
    "pospisil2021": Reference(
        "Pospisil, D. A. & Bair, W. (2021). The unbiased estimation of the fraction of variance explained by a model. "
        "PLoS Computational Biology 17, e1009212.",
        "https://doi.org/10.1371/journal.pcbi.1009212",
    ),
}


@dataclass(frozen=True)
class Paragraph:
    """One step of the method and the works it rests on."""

    title: str
    text: str
    cited: tuple[str, ...] = ()


def paragraphs(results: RunResults) -> list[Paragraph]:
    """The method of a run, step by step."""
    found = results.results
    steps = [
        Paragraph(
            "The question behind it",
            "Does the ventral stream work like a residual stream, where every stage reads from and adds to one shared "
            "channel, so that simple information stays readable at later stages? The claim is Kirchner's; the term is "
            "that of transformer circuits.",
            ("kirchner", "elhage2021"),
        ),
        Paragraph(
            "Stream and sites",
            "The residual stream is read after the stem and after every block (resid_post); a block's write is what "
            "it adds to the stream. Depth is the share of blocks behind a site: 0 at the stem, 1 after the last block.",
        ),
    ]
    if any(result.comparison == "rsa" for result in found):
        steps.append(
            Paragraph(
                "Representational similarity analysis",
                "For a site and for a brain region, the dissimilarity of every pair of stimuli is collected in a "
                "matrix (RDM). The similarity of two such matrices, over all pairs, is the estimate: the mean over "
                "subjects.",
                ("kriegeskorte2008",),
            )
        )
    steps += encoding_paragraphs(found) + banded_paragraphs(found)
    if any(result.ceiling and result.comparison != "encoding" for result in found):
        steps.append(
            Paragraph(
                "Noise ceiling",
                "How well the best possible model could do, given how far the subjects differ. Upper bound: each "
                "subject against the mean of all; lower bound: each subject against the mean of the others. Where "
                "there is one subject only, there is no ceiling.",
                ("nili2014",),
            )
        )
    if any(result.interval for result in found):
        draws = sorted({result.n_draws for result in found if result.n_draws})
        seeds = sorted({result.seed for result in found if result.seed is not None})
        drawn = f"{' or '.join(f'{count:,}' for count in draws)} draws" if draws else "a number of draws not recorded"
        seeded = f", seed {' or '.join(map(str, seeds))}" if seeds else ""
        rsa = any(result.comparison == "rsa" and result.interval for result in found)
        resampled = (
            "For representational similarity, stimuli and subjects are drawn anew at once, the variance is corrected "
            "for doing both, and the limits follow the t distribution; with a single subject, stimuli alone are drawn. "
            if rsa
            else ""
        )
        if any(result.comparison.endswith("encoding") and result.interval for result in found):
            resampled += (
                "For encoding, neuroids and held-out stimuli are drawn anew and the maps stay as they were fitted, so "
                "that no stimulus is ever both fitted and predicted. "
            )
        steps.append(
            Paragraph(
                "Intervals",
                f"95% intervals come from a bootstrap ({drawn}{seeded}). {resampled}An interval, and a p against "
                "zero, is for one site alone: neither is corrected for the number of sites.",
                ("schuett2023",) if rsa or not resampled else (),
            )
        )
    if any(result.role in ("untrained", "control") for result in found):
        steps.append(
            Paragraph(
                "Untrained networks and controls",
                "An untrained network has the same architecture and random weights: what it reaches needs no training. "
                "Controls change one property, such as leaving out the skip connections.",
            )
        )
    return steps


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


def cited(steps: list[Paragraph]) -> list[str]:
    """Keys of the works that the steps cite, in the order of their first mention; their numbers count from 1."""
    return list(dict.fromkeys(key for step in steps for key in step.cited))
