"""What `ventral brain-score check` runs beside a plugin, in the environment that it is checked in.

A program of its own: it imports Brain-Score, numpy and the standard library, nothing of this project. Called with two
files: what is asked (JSON: identifiers, images, batches, benchmark) and where the answers go.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def main(asked_file: str, answer_file: str) -> None:
    """Answer, model by model; what goes wrong with one is its answer."""
    asked = json.loads(Path(asked_file).read_text())
    strangers = [name for name in asked["strangers"] if importlib.util.find_spec(name) is not None]
    answer: dict[str, Any] = {"strangers": strangers, "models": {}}
    for identifier in asked["identifiers"]:
        try:
            answer["models"][identifier] = measured(identifier, asked)
        except Exception as error:
            answer["models"][identifier] = {"error": f"{type(error).__name__}: {error}"}
    Path(answer_file).write_text(json.dumps(answer))


def measured(identifier: str, asked: dict[str, Any]) -> dict[str, Any]:
    """What a model gives for the images: features by layer, whether they depend on the batch, time and memory."""
    from brainscore_vision import load_model

    began = time.perf_counter()
    model = load_model(identifier)
    loading = time.perf_counter() - began
    regions = {str(region): str(layer) for region, layer in dict(model.layer_model.region_layer_map).items()}
    layers = list(dict.fromkeys(regions.values()))
    extractor = model.activations_model._extractor
    paths = asked["images"]
    own = extractor._batch_size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    features = read(extractor, paths, layers, own)
    seconds = (time.perf_counter() - began) / len(paths)
    order = np.random.default_rng(0).permutation(len(paths))
    others = {
        "shuffled": {
            name: values[np.argsort(order)]
            for name, values in read(extractor, [paths[i] for i in order], layers, own).items()
        },
        **{f"batches of {size}": read(extractor, paths, layers, size) for size in asked["batches"]},
    }
    found: dict[str, Any] = {
        "regions": regions,
        "layers": {name: described(features[name], {key: one[name] for key, one in others.items()}) for name in layers},
        "seconds_an_image": seconds,
        "seconds_to_load": loading,
        "memory": max(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024,
        "logits": int(read(extractor, paths[:2], ["logits"], own)["logits"].reshape(2, -1).shape[1]),
    }
    if asked.get("benchmark"):
        found["scores"] = scored(model, Path(asked["benchmark"]))
    return found


def read(extractor: Any, paths: list[str], layers: list[str], size: int) -> dict[str, np.ndarray]:
    """Activations by layer, in batches of a size, as Brain-Score reads them; nothing is cached."""
    return dict(extractor._get_activations_batched(paths, layers, size, require_variance=False))


def described(values: np.ndarray, others: dict[str, np.ndarray]) -> dict[str, Any]:
    """Numbers of one layer's features [images, ...]."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    finite = bool(np.isfinite(flat).all())
    scale = float(np.abs(flat).max()) or 1.0
    return {
        "shape": list(values.shape),
        "finite": finite,
        "zero": [int(row) for row in np.flatnonzero(~flat.any(axis=1))],
        "rank": int(np.linalg.matrix_rank(flat - flat.mean(0))) if finite else 0,
        "constant": int((np.ptp(flat, axis=0) == 0).sum()),
        "differences": {
            key: float(np.abs(one.reshape(flat.shape) - flat).max() / scale) for key, one in others.items()
        },
    }


def scored(model: Any, folder: Path) -> dict[str, dict[str, float]]:
    """Scores on the benchmark that a folder holds, region by region: raw, ceiling and Brain-Score's own (r2 / ceiling).

    The folder: responses.npz (data [presentation, neuroid], stimulus_id, repetition, neuroid_id, region, degrees) and
    images/*.png by the number of the stimulus in stimuli.json.
    """
    from brainscore_core.supported_data_standards.brainio.assemblies import NeuronRecordingAssembly
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
    from brainscore_vision import load_ceiling, load_metric
    from brainscore_vision.benchmark_helpers.neural_common import NeuralBenchmark, average_repetition

    ids = json.loads((folder / "stimuli.json").read_text())
    stimuli = StimulusSet({"stimulus_id": ids, "object_name": ["image"] * len(ids)})
    stimuli.stimulus_paths = {name: folder / "images" / f"{number}.png" for number, name in enumerate(ids)}
    stimuli.identifier = f"check-{folder.name}"
    with np.load(folder / "responses.npz", allow_pickle=False) as arrays:
        held = {name: arrays[name] for name in arrays.files}
    found = {}
    for region in sorted(set(held["region"].tolist())):
        mine = held["region"] == region
        repeated = NeuronRecordingAssembly(
            held["data"][:, mine],
            coords={
                "stimulus_id": ("presentation", held["stimulus_id"]),
                "object_name": ("presentation", np.array(["image"] * len(held["stimulus_id"]))),
                "repetition": ("presentation", held["repetition"]),
                "neuroid_id": ("neuroid", held["neuroid_id"][mine]),
                "region": ("neuroid", held["region"][mine]),
            },
            dims=["presentation", "neuroid"],
        )
        averaged = average_repetition(repeated)
        for assembly in (repeated, averaged):
            assembly.attrs.update(stimulus_set=stimuli, stimulus_set_identifier=stimuli.identifier)
        benchmark = NeuralBenchmark(
            identifier=f"{stimuli.identifier}.{region}-pls",
            version=1,
            assembly=averaged,
            parent=region,
            similarity_metric=load_metric("pls", crossvalidation_kwargs={"stratification_coord": None}),
            visual_degrees=float(held["degrees"]),
            number_of_trials=1,
            ceiling_func=lambda repeated=repeated: load_ceiling("internal_consistency")(repeated),
        )
        score = benchmark(model)
        found[str(region)] = {
            "score": float(score),
            "raw": float(score.attrs["raw"]),
            "ceiling": float(score.attrs["ceiling"]),
        }
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
