"""Which site stands for a region: the one that predicts recordings of it best, from the submission's own features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import ConfigError, InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bridge.recordings.recordings import Recordings
    from bridge.stimuli import StimulusSet


def layer_features(module: nn.Module, batches: Iterator[torch.Tensor], layers: Sequence[str]) -> dict[str, np.ndarray]:
    """The outputs [n, features] of a module's layers for batches of its input, by layer."""
    import torch

    found: dict[str, list[np.ndarray]] = {name: [] for name in layers}
    with torch.inference_mode(), _kept(module, found):
        for batch in batches:
            module(batch)
    return {name: np.concatenate(parts) for name, parts in found.items()}


@contextmanager
def _kept(module: nn.Module, found: Mapping[str, list[np.ndarray]]) -> Iterator[None]:
    handles = [
        module.get_submodule(name).register_forward_hook(
            lambda _, args, output, parts=parts: parts.append(output.cpu().numpy())
        )
        for name, parts in found.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def scores_on_recordings(
    features: Mapping[str, np.ndarray], stimuli: StimulusSet, recordings: Recordings, region: str
) -> dict[str, float]:
    """Score of each site in a region: PLS with 25 components, 10 splits, median r over neuroids, mean over splits.

    features [n, feature] in the order of `stimuli`. Raises InputError where stimuli and recordings share no id or the
    region was not recorded.
    """
    from comparisons.encoding.evaluation import nanmean, predictivity

    if region not in recordings.regions:
        raise InputError(
            f"{region} was not recorded in {recordings.name!r} (it has {', '.join(recordings.regions)}); choose its "
            "site on others, or give one."
        )
    row_of = {name: row for row, name in enumerate(stimuli.ids)}
    shown = [number for number, name in enumerate(recordings.stimulus_ids) if name in row_of]
    if not shown:
        raise InputError(
            f"The config's stimuli and the recordings {recordings.name!r} share no id (the first ones: "
            f"{stimuli.ids[0]!r}, {recordings.stimulus_ids[0]!r}); give both sides the same ids."
        )
    rows = [row_of[recordings.stimulus_ids[number]] for number in shown]
    responses = nanmean(recordings.region(region).data[:, shown].astype(np.float64))
    found = {}
    for site, values in features.items():
        if values.shape[1] < COMPONENTS:
            found[site] = float("nan")
            continue
        found[site] = predictivity(values[rows], responses, method="pls").score
    return found


COMPONENTS = 25
"""Brain-Score's PLS takes so many components; a layer with fewer features than that cannot be scored by it."""


def best(scores: Mapping[str, float], region: str) -> str:
    """The site with the highest score. Raises InputError where none has one."""
    known = {site: score for site, score in scores.items() if np.isfinite(score)}
    if not known:
        raise InputError(
            f"No site can be chosen for {region}: none has a score, which takes {COMPONENTS} features or more that "
            "vary over the stimuli; give wider sites, or `features: [sae]`."
        )
    return max(known, key=lambda site: known[site])


def scores_on_benchmark(
    module: nn.Module, layers: Mapping[str, str], preprocessing: Any, identifier: str, region: str, degrees: float
) -> dict[str, float]:
    """Score of each site (`layers` names the module's layer of each) on one of Brain-Score's benchmarks, by its own
    LayerScores.

    Raises ConfigError for an unknown benchmark or one of another region, UnreachableError where its data cannot be
    fetched.
    """
    from bridge.brainscore import load_registered

    benchmark = load_registered("benchmark", identifier)
    if getattr(benchmark, "region", region) != region:
        raise ConfigError(
            f"submission.regions.{region}: {identifier} is a benchmark of {benchmark.region}; give another."
        )
    from brainscore_vision.model_helpers.activations.pytorch import PytorchWrapper
    from brainscore_vision.model_helpers.brain_transformation import LayerScores

    from comparisons.brainscore.scoring_there import uncached

    with uncached():
        wrapper = PytorchWrapper(module, preprocessing, identifier="candidate", batch_size=32)
        scorer = LayerScores("candidate", wrapper, visual_degrees=degrees)
        scores = scorer(benchmark, list(layers.values()), prerun=True)
    return {site: float(scores.sel(layer=layer)) for site, layer in layers.items()}
