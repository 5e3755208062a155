"""A model's features in the form that Brain-Score's classes take: assemblies, and sites as layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bridge.errors import InputError
from comparisons.brainscore.known import key_of
from comparisons.brainscore.own import plain

Read = Callable[[str, Sequence[str]], Any]
"""(site, keys of stimuli) -> features [n, feature], an array or scipy sparse, rows in the order of the keys.

A key is SET/ID, as `comparisons.brainscore.known.key_of` names a stimulus."""


def feature_assembly(values: Any, stimuli: Any, site: str, model: str) -> Any:
    """Features [n, feature], rows as `stimuli` (Brain-Score's stimulus set), as a NeuroidAssembly [presentation,
    neuroid] in float32, as its own extractor gives them.

    The columns of the stimulus set become coordinates of the presentations, as `attach_stimulus_set_meta` does: the
    one that splits are stratified by is among them. `neuroid_id` counts features, with `layer` and `model` beside it:
    with a single coordinate Brain-Score's classes lose the dimension.
    """
    from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly

    # A copy: some of its benchmarks write into what they are handed.
    dense = np.array(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float32)
    coords: dict[str, Any] = {
        str(column): ("presentation", stimuli[column].to_numpy()) for column in stimuli.columns if column != "degrees"
    }
    coords["neuroid_id"] = ("neuroid", np.arange(dense.shape[1]))
    coords["layer"] = ("neuroid", np.full(dense.shape[1], site, dtype=object))
    coords["model"] = ("neuroid", np.full(dense.shape[1], model, dtype=object))
    return NeuroidAssembly(dense, coords=coords, dims=["presentation", "neuroid"])


class SiteActivations:
    """What `LayerScores` asks of a model: activations of its layers, which are sites here, for a stimulus set.

    Features are read when they are asked for, one site at a time. `identifier` has to name weights, dictionary and
    preprocessing, because Brain-Score keeps what it computes under it: see `identified`.
    """

    def __init__(self, identifier: str, read: Read):
        self.identifier = identifier
        self._read = read

    def __call__(
        self, stimuli: Any, layers: Sequence[str], number_of_trials: int = 1, require_variance: bool | None = None
    ) -> Any:
        """The assembly [presentation, neuroid] of one layer. Raises InputError for several, which no caller needs."""
        if len(layers) != 1:
            raise InputError(f"{len(layers)} sites were asked for at once; features are read one site at a time.")
        keys = [key_of(stimuli, name) for name in stimuli["stimulus_id"]]
        return feature_assembly(self._read(layers[0], keys), stimuli, layers[0], self.identifier)


def identified(model: str, keys: Sequence[str]) -> str:
    """An identifier of features that Brain-Score may keep results under: the model's name and a hash of `keys`.

    `keys` name all that the features depend on (the artefacts that hold them: weights, preprocessing, image size,
    dictionary and its revision, pooling): Brain-Score's own keys hold none of it.
    """
    from bridge.store import digest

    return f"{plain(model)}-{digest(sorted(keys))[:16]}"
