"""How the numbers were made, in plain words, and whom to cite: only for what a run has in it."""

from __future__ import annotations

from dataclasses import dataclass

from comparisons.results import RunResults


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
    if any(result.ceiling for result in found):
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
        steps.append(
            Paragraph(
                "Intervals",
                f"95% intervals come from a bootstrap ({drawn}{seeded}). {resampled}An interval, and a p against "
                "zero, is for one site alone: neither is corrected for the number of sites.",
                ("schuett2023",),
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


def cited(steps: list[Paragraph]) -> list[str]:
    """Keys of the works that the steps cite, in the order of their first mention; their numbers count from 1."""
    return list(dict.fromkeys(key for step in steps for key in step.cited))
