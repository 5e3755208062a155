"""Works to cite, by key, and a step of the method that cites some."""

from __future__ import annotations

from dataclasses import dataclass


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
    "liao2016": Reference(
        "Liao, Q. & Poggio, T. (2016). Bridging the gaps between residual learning, recurrent neural networks and "
        "visual cortex. arXiv 1604.03640.",
        "https://arxiv.org/abs/1604.03640",
    ),
    "muratore2022": Reference(
        "Muratore, P., Tafazoli, S., Piasini, E., Laio, A. & Zoccolan, D. (2022). Prune and distill: similar "
        "reformatting of image information along rat visual cortex and deep neural networks. NeurIPS 35.",
        "https://arxiv.org/abs/2205.13816",
    ),
    "kaplan1958": Reference(
        "Kaplan, E. L. & Meier, P. (1958). Nonparametric estimation from incomplete observations. Journal of the "
        "American Statistical Association 53, 457-481.",
        "https://doi.org/10.1080/01621459.1958.10501452",
    ),
    "peduzzi1995": Reference(
        "Peduzzi, P., Concato, J., Feinstein, A. R. & Holford, T. R. (1995). Importance of events per independent "
        "variable in proportional hazards regression analysis II. Journal of Clinical Epidemiology 48, 1503-1510.",
        "https://doi.org/10.1016/0895-4356(95)00048-8",
    ),
    "lawson2024": Reference(
        "Lawson, T., Farnik, L., Houghton, C. & Aitchison, L. (2024). Residual stream analysis with multi-layer SAEs. "
        "arXiv 2409.04185.",
        "https://arxiv.org/abs/2409.04185",
    ),
    "goris2014": Reference(
        "Goris, R. L. T., Movshon, J. A. & Simoncelli, E. P. (2014). Partitioning neuronal variability. Nature "
        "Neuroscience 17, 858-865.",
        "https://doi.org/10.1038/nn.3711",
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
