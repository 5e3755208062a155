"""How the numbers were made, in plain words, and whom to cite: only for what a run has in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    "gao2017": Reference(
        "Gao, P. et al. (2017). A theory of multineuronal dimensionality, dynamics and measurement. bioRxiv 214262.",
        "https://doi.org/10.1101/214262",
    ),
    "facco2017": Reference(
        "Facco, E., d'Errico, M., Rodriguez, A. & Laio, A. (2017). Estimating the intrinsic dimension of datasets by a "
        "minimal neighborhood information. Scientific Reports 7, 12140.",
        "https://doi.org/10.1038/s41598-017-11873-y",
    ),
    "chung2018": Reference(
        "Chung, S., Lee, D. D. & Sompolinsky, H. (2018). Classification and geometry of general perceptual manifolds. "
        "Physical Review X 8, 031003.",
        "https://doi.org/10.1103/PhysRevX.8.031003",
    ),
    "stringer2019": Reference(
        "Stringer, C. et al. (2019). High-dimensional geometry of population responses in visual cortex. Nature 571, "
        "361-365.",
        "https://doi.org/10.1038/s41586-019-1346-5",
    ),
    "jones1987": Reference(
        "Jones, J. P. & Palmer, L. A. (1987). An evaluation of the two-dimensional Gabor filter model of simple "
        "receptive fields in cat striate cortex. Journal of Neurophysiology 58, 1233-1258.",
        "https://doi.org/10.1152/jn.1987.58.6.1233",
    ),
    "rust2005": Reference(
        "Rust, N. C., Schwartz, O., Movshon, J. A. & Simoncelli, E. P. (2005). Spatiotemporal elements of macaque V1 "
        "receptive fields. Neuron 46, 945-956.",
        "https://doi.org/10.1016/j.neuron.2005.05.021",
    ),
    "adelson1985": Reference(
        "Adelson, E. H. & Bergen, J. R. (1985). Spatiotemporal energy models for the perception of motion. Journal of "
        "the Optical Society of America A 2, 284-299.",
        "https://doi.org/10.1364/JOSAA.2.000284",
    ),
    "fel2024": Reference(
        "Fel, T. et al. (2024). Understanding visual feature reliance through the lens of complexity. arXiv "
        "2407.06076.",
        "https://arxiv.org/abs/2407.06076",
    ),
    "gao2024": Reference(
        "Gao, L. et al. (2024). Scaling and evaluating sparse autoencoders. arXiv 2406.04093.",
        "https://arxiv.org/abs/2406.04093",
    ),
    "bricken2023": Reference(
        "Bricken, T. et al. (2023). Towards monosemanticity: decomposing language models with dictionary learning. "
        "Transformer Circuits Thread.",
        "https://transformer-circuits.pub/2023/monosemantic-features/index.html",
    ),
    "bussmann2024": Reference(
        "Bussmann, B., Leask, P. & Nanda, N. (2024). BatchTopK sparse autoencoders. arXiv 2412.06410.",
        "https://arxiv.org/abs/2412.06410",
    ),
    "bussmann2025": Reference(
        "Bussmann, B. et al. (2025). Learning multi-level features with Matryoshka sparse autoencoders. arXiv "
        "2503.17547.",
        "https://arxiv.org/abs/2503.17547",
    ),
    "rajamanoharan2024a": Reference(
        "Rajamanoharan, S. et al. (2024). Improving dictionary learning with gated sparse autoencoders. arXiv "
        "2404.16014.",
        "https://arxiv.org/abs/2404.16014",
    ),
    "rajamanoharan2024b": Reference(
        "Rajamanoharan, S. et al. (2024). Jumping ahead: improving reconstruction fidelity with JumpReLU sparse "
        "autoencoders. arXiv 2407.14435.",
        "https://arxiv.org/abs/2407.14435",
    ),
    "dunefsky2024": Reference(
        "Dunefsky, J., Chlenski, P. & Nanda, N. (2024). Transcoders find interpretable LLM feature circuits. arXiv "
        "2406.11944.",
        "https://arxiv.org/abs/2406.11944",
    ),
    "lindsey2024": Reference(
        "Lindsey, J. et al. (2024). Sparse crosscoders for cross-layer features and model diffing. Transformer "
        "Circuits Thread.",
        "https://transformer-circuits.pub/2024/crosscoders/index.html",
    ),
    "paulo2025": Reference(
        "Paulo, G. & Belrose, N. (2025). Sparse autoencoders trained on the same data learn different features. arXiv "
        "2501.16615.",
        "https://arxiv.org/abs/2501.16615",
    ),
}


@dataclass(frozen=True)
class Paragraph:
    """One step of the method and the works it rests on."""

    title: str
    text: str
    cited: tuple[str, ...] = ()


PROBES = Paragraph(
    "What features encode",
    "Gratings are shown to the token in the middle of the image. A feature is tuned to orientation if permuting "
    "orientations shows it, with a false discovery rate of .05 over the features of its site; curves are of the mean "
    "response or of its first harmonic over phases, whichever is larger. Gabor simplicity is the R2, cross-validated "
    "over images, of a feature's response from a bank of Gabors that fills its receptive field (rectified phases and "
    "energy, ridge regression); features from .5 count as simple. The same from random convolutions is subtracted "
    "where that is said. A variable is decoded by ridge regression from 50 principal components and tested on "
    "conditions that were left out: of gratings from the middle token; of patches, shapes and objects from the whole "
    "image, before and after averaging over places. The floor is that of permuted labels; untrained networks stand "
    "beside the trained ones and are never subtracted. Such numbers describe drawn stimuli, and have no interval: they "
    "are of all features of a site.",
)
GEOMETRY = Paragraph(
    "Geometry",
    "The participation ratio is (sum l)^2 / sum l^2 of the eigenvalues l of the covariance over images; TwoNN finds "
    "the intrinsic dimension from the ratio of the distances to two nearest neighbours, also as images are left out. "
    "Both depend on the number of units and images: `matched` gives every site as many units as the narrowest has. "
    "Radius, dimension and capacity are those of object manifolds in mean-field theory, the exponent that of the "
    "spectrum's power law.",
    ("gao2017", "facco2017", "chung2018", "stringer2019"),
)
FIELDS = Paragraph(
    "Receptive fields",
    "White noise in the window that the middle token sees is weighted by each feature's response. Gabors, Gaussians "
    "and differences of Gaussians are fitted to the map of one half of the noise and correlated with that of the "
    "other; an energy model (a quadrature pair, from the response-weighted covariance) is set against a linear and a "
    "rectified Gabor by what each predicts of the other half.",
    ("jones1987", "rust2005", "adelson1985"),
)
COMPLEXITY = Paragraph(
    "V-information complexity",
    "1 less the mean, over depths from the pixels on, of the share of a feature's variance that a linear reader finds. "
    "It is defined by what is decodable over depth, so it cannot tell whether simple features stay decodable.",
    ("fel2024",),
)


def probe_paragraphs(results: Sequence[Result]) -> list[Paragraph]:
    """The steps of probes that a run has in it."""
    measures = {result.measure for result in results if result.comparison == "probe"}
    wanted = (
        (PROBES, bool(measures)),
        (FIELDS, "share with a linear field" in measures),
        (GEOMETRY, any("dimension" in measure or "manifold" in measure for measure in measures)),
        (COMPLEXITY, any("V-information" in measure for measure in measures)),
    )
    return [paragraph for paragraph, shown in wanted if shown]


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
    steps += encoding_paragraphs(found) + banded_paragraphs(found)
    steps += probe_paragraphs(found)
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


ARCHITECTURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "topk": ("keeps the k largest latents of each token", ("gao2024",)),
    "batchtopk": (
        "keeps the largest latents of a batch, k a token on average, and afterwards those above a threshold that gives "
        "the same number",
        ("bussmann2024",),
    ),
    "matryoshka": (
        "is several nested dictionaries, each of which has to reconstruct on its own (latents as in batch top-k)",
        ("bussmann2025", "bussmann2024"),
    ),
    "jumprelu": ("learns a threshold for each latent, with a penalty that aims at k of them", ("rajamanoharan2024b",)),
    "gated": ("decides on one path which latents are active and on another how strongly", ("rajamanoharan2024a",)),
    "relu": ("has rectified latents with an L1 penalty", ("bricken2023",)),
}


def dictionary_paragraphs(results: RunResults) -> list[Paragraph]:
    """How the dictionaries of a run were trained, from its config, or that they were loaded."""
    if not results.dictionaries:
        return []
    used = {one.name for one in results.dictionaries}
    entries = [entry for entry in results.config.get("saes", ()) if entry.get("name") in used]
    trained = [entry for entry in entries if entry.get("kind") == "train"]
    steps = []
    if trained:
        told = [_trained(entry) for entry in trained]
        text = (
            "A sparse dictionary writes each token of a site as a few of many directions. "
            + " ".join(text for text, _ in told)
            + _recipe([entry.get("training", {}) for entry in trained])
            + " Unexplained variance is the sum of squared errors over the sum of squares about the mean vector."
        )
        works = dict.fromkeys(["gao2024", *(key for _, keys in told for key in keys)])
        steps.append(Paragraph("Sparse dictionaries", text, tuple(works)))
    if loaded := [f"`{entry['name']}`" for entry in entries if entry.get("kind") == "load"]:
        text = (
            f"{', '.join(loaded)}: trained elsewhere and loaded. What was loaded is pinned by commit or sha256, its "
            "model and site were held against the network at hand, and the variance that it explains was measured."
        )
        steps.append(Paragraph("Dictionaries that were loaded", text))
    if any(result.dictionary for result in results.results):
        text = (
            "The codes of a dictionary (the activations of its latents) stand beside the stream as a model of their "
            "own, named MODEL · DICTIONARY, and are compared as the stream is."
        )
        steps.append(Paragraph("Codes", text))
    return steps


def _recipe(trainings: Sequence[Mapping[str, Any]]) -> str:
    """What all trainings share."""
    parts = ["decoder directions have norm 1"]
    if all(training.get("scale", "variance") == "variance" for training in trainings):
        parts.insert(0, "activations are centred and scaled by one number")
    kinds = [training.get("architecture", {}) for training in trainings]
    if any(kind.get("kind", "topk") not in ("relu", "gated") and kind.get("aux_coefficient", 1) for kind in kinds):
        parts.append("dead latents learn from what the others leave over")
    return f" In the training {'; '.join(parts)}."


def _trained(entry: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """How one entry's dictionaries were trained, and the works that it rests on."""
    training = entry.get("training", {})
    architecture = training.get("architecture", {}).get("kind", "topk")
    words, works = ARCHITECTURES.get(architecture, (f"is of the kind {architecture}", ()))
    tokens = entry.get("tokens")
    drawn = f"{tokens} patches of each" if isinstance(tokens, int) else "all patches"
    shown = (entry.get("stimuli") or {}).get("name")
    stimuli = f"the stimuli {shown}" if shown else "the run's own stimuli (not on any recording)"
    long = f"{training['tokens']:,} tokens" if training.get("tokens") else f"{training.get('epochs', 8):g} epochs"
    text = f"`{entry['name']}` {words}; it was trained for {long} on {drawn} of {stimuli}"
    if share := training.get("held_out"):
        text += f", of which {share:.0%}, chosen by id, were held out to measure its quality"
    if entry.get("joint"):
        text, works = f"{text}; it reads all its sites together (a crosscoder)", (*works, "lindsey2024")
    if entry.get("writes"):
        text, works = f"{text}; it predicts {entry['writes']} (a transcoder)", (*works, "dunefsky2024")
    if entry.get("seeds", 1) > 1:
        text, works = f"{text}; {entry['seeds']} seeds show what of it is chance", (*works, "paulo2025")
    return text + ".", works


def cited(steps: list[Paragraph]) -> list[str]:
    """Keys of the works that the steps cite, in the order of their first mention; their numbers count from 1."""
    return list(dict.fromkeys(key for step in steps for key in step.cited))
