"""RDMs that stand beside models in a comparison: pixels, Gabors and random features, a data set's own, a region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from bridge.spec import Seed, Spec
from comparisons.baselines import Baseline, baseline, small_greys
from comparisons.rdms import correlation_rdm, pairs_of

if TYPE_CHECKING:
    from bridge.recordings.recordings import RegionRDMs
    from bridge.stimuli import StimulusSet


class Pixels(Spec):
    """The images themselves, as a floor that a network should rise above."""

    kind: Literal["pixels"] = "pixels"
    size: Annotated[int, Field(ge=4, le=512)] = 32
    """Side in pixels to which images are brought before they are compared."""


class Baselines(Spec):
    """Features that nothing was learnt for: a Gabor bank (what V1 is modelled by), random convolutions of the same
    sizes and places, and pixels on random axes."""

    kind: Literal["baselines"] = "baselines"
    names: Annotated[list[Baseline], Field(min_length=1)] = ["Gabor bank", "random convolutions"]
    """Which of them."""
    seed: Seed = 0
    """Seed of the random ones."""


class DatasetReferences(Spec):
    """The reference RDMs that a data set brings: category models, judgements."""

    kind: Literal["dataset"] = "dataset"
    name: str
    """The data set (`ventral data list`)."""


class RegionReference(Spec):
    """A region of this run's recordings, set against the other recordings (mean RDM over subjects)."""

    kind: Literal["recordings"] = "recordings"
    name: str
    """Name of the recordings."""
    region: str
    """The region."""


AnyReference = Annotated[Pixels | Baselines | DatasetReferences | RegionReference, Field(discriminator="kind")]


def fingerprint(reference: Any) -> dict[str, Any]:
    """Everything that a reference's RDMs depend on besides the stimuli and recordings of the run."""
    if isinstance(reference, DatasetReferences):
        from bridge.data import dataset

        return {**reference.content(), **dataset(reference.name).fingerprint()}
    return reference.content()


def reference_rdms(
    reference: Any, stimuli: StimulusSet, regions: list[RegionRDMs]
) -> list[tuple[str, np.ndarray, tuple[str, str] | None]]:
    """(label, RDM [pair], the (recordings, region) it is of, if any) for each RDM of a reference; NaN for pairs that
    it does not have.

    Raises ConfigError for a data set or region that does not exist, UndefinedPatterns for a blank image.
    """
    from bridge.errors import ConfigError, did_you_mean

    if isinstance(reference, Pixels):
        return [("pixels", pixel_rdm(stimuli, reference.size), None)]
    if isinstance(reference, Baselines):
        greys = small_greys(stimuli)
        return [(name, correlation_rdm(baseline(name, greys, reference.seed)), None) for name in reference.names]
    if isinstance(reference, DatasetReferences):
        from bridge.data import dataset

        found = [item.aligned_to(stimuli.ids) for item in dataset(reference.name).references()]
        return [(item.name, item.rdms.mean(axis=0), None) for item in found]
    for item in regions:
        if (item.name, item.region) == (reference.name, reference.region):
            label = f"{item.name} {item.region}"
            # Pairs that the region was not shown are not known: NaN.
            whole = np.full(len(stimuli) * (len(stimuli) - 1) // 2, np.nan)
            whole[pairs_of(stimuli.ids, item.stimulus_ids)] = item.rdms.mean(axis=0)
            return [(label, whole, (item.name, item.region))]
    known = [f"{item.name}, {item.region}" for item in regions]
    given = f"{reference.name}, {reference.region}"
    raise ConfigError(f"references: there are no recordings {given!r}; {did_you_mean(given, known)}.")


def pixel_rdm(stimuli: StimulusSet, size: int) -> np.ndarray:
    """Correlation distance between images brought to `size` x `size` pixels, [pair]."""
    from bridge.models.base import Preprocessing

    prepare = Preprocessing(size=size, squash=True, mean=(0, 0, 0), std=(1, 1, 1))
    return correlation_rdm(np.stack([prepare(stimuli.image(row)) for row in range(len(stimuli))]))
