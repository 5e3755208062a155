"""How the numbers were made, in plain words, and whom to cite: only for what a run has in it."""

from __future__ import annotations

from comparisons.report.methods.brainscore import benchmark_paragraphs
from comparisons.report.methods.dictionaries import dictionary_paragraphs
from comparisons.report.methods.encoding import banded_paragraphs, encoding_paragraphs
from comparisons.report.methods.predictions import prediction_paragraphs
from comparisons.report.methods.probing import probe_paragraphs
from comparisons.report.methods.references import Paragraph
from comparisons.results import RunResults


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
    steps += dictionary_paragraphs(results)
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
    steps += encoding_paragraphs(found) + banded_paragraphs(found) + benchmark_paragraphs(results.benchmarks)
    steps += probe_paragraphs(found) + prediction_paragraphs(results)
    if any(result.ceiling and result.comparison not in ("encoding", "brain-score") for result in found):
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


def cited(steps: list[Paragraph]) -> list[str]:
    """Keys of the works that the steps cite, in the order of their first mention; their numbers count from 1."""
    return list(dict.fromkeys(key for step in steps for key in step.cited))
