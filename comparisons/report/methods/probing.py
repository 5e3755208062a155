"""How probes were made: the steps of `kind: probe`."""

from __future__ import annotations

from collections.abc import Sequence

from comparisons.report.methods.references import Paragraph
from comparisons.results import Result

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
