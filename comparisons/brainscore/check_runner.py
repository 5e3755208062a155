"""What `ventral brain-score check` runs beside a plugin, in the environment that it is checked in.

A program of its own: it imports Brain-Score, pytest, numpy and the standard library, nothing of this project. Called
with two files: what is asked (JSON: tests, identifiers, images, batches, benchmark) and where the answers go. Tests and
measurements share one process, since importing Brain-Score takes most of the time; after each the answers are written.
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

FEW = 16
"""Images that are read again in other batches."""


def main(asked_file: str, answer_file: str) -> None:
    """Answer, step by step; what goes wrong with one model is its answer."""
    asked = json.loads(Path(asked_file).read_text())
    strangers = [name for name in asked["strangers"] if importlib.util.find_spec(name) is not None]
    answer: dict[str, Any] = {"strangers": strangers, "tests": {}, "models": {}}

    def told() -> None:
        Path(answer_file).write_text(json.dumps(answer))

    import pytest

    for name, arguments in asked["tests"].items():
        answer["tests"][name] = int(pytest.main(arguments))
        told()
    for identifier in asked["identifiers"]:
        try:
            answer["models"][identifier] = measured(identifier, asked)
        except Exception as error:
            answer["models"][identifier] = {"error": f"{type(error).__name__}: {error}"}
        told()


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
        **{f"in batches of {size}": read(extractor, paths[:FEW], layers, size) for size in asked["batches"]},
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
    """Numbers of one layer's features [images, ...]; `others` are of the same images, or of the first of them."""
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
            key: float(np.abs(one.reshape(len(one), -1) - flat[: len(one)]).max() / scale)
            for key, one in others.items()
        },
    }


def scored(model: Any, folder: Path) -> dict[str, dict[str, float]]:
    """Scores on the benchmarks that a folder holds, one a region: raw, ceiling and Brain-Score's own (r2 / ceiling).

    stimuli.json: ids, files of images, degrees. REGION.npz: averaged [n, neuroid] and trials [repetition, n, neuroid]
    in the order of the ids, and neuroid_id.
    """
    about = json.loads((folder / "stimuli.json").read_text())
    found = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            benchmark = benchmark_of(path.stem, about, {name: arrays[name] for name in arrays.files})
        score = benchmark(model)
        found[path.stem] = {
            "score": float(score),
            "raw": float(score.attrs["raw"]),
            "ceiling": float(score.attrs["ceiling"]),
        }
    return found


def benchmark_of(region: str, about: dict[str, Any], held: dict[str, np.ndarray]) -> Any:
    """One region's responses as Brain-Score's NeuralBenchmark with its PLS."""
    from brainscore_core.supported_data_standards.brainio.assemblies import NeuronRecordingAssembly
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
    from brainscore_vision import load_ceiling, load_metric
    from brainscore_vision.benchmark_helpers.neural_common import NeuralBenchmark

    ids = about["ids"]
    stimuli = StimulusSet({"stimulus_id": ids})
    stimuli.stimulus_paths = {name: Path(file) for name, file in zip(ids, about["files"], strict=True)}
    stimuli.identifier = f"check-{about['digest']}"

    def assembly(data: np.ndarray) -> Any:
        count = len(data)
        coords = {
            "stimulus_id": ("presentation", np.repeat(np.array(ids, dtype=object), count)),
            "stimulus_row": ("presentation", np.repeat(np.arange(len(ids)), count)),
            "neuroid_id": ("neuroid", held["neuroid_id"].astype(object)),
            "region": ("neuroid", np.array([region] * data.shape[2], dtype=object)),
            "time_bin_start": ("time_bin", [70]),
            "time_bin_end": ("time_bin", [170]),
        }
        if count > 1:
            coords["repetition"] = ("presentation", np.tile(np.arange(count), len(ids)))
        rows = data.transpose(1, 0, 2).reshape(-1, data.shape[2])
        kept = np.isfinite(rows).any(axis=1)
        coords = {key: (dim, np.asarray(v)[kept] if dim == "presentation" else v) for key, (dim, v) in coords.items()}
        dims = ["presentation", "neuroid", "time_bin"]
        return NeuronRecordingAssembly(rows[kept][:, :, None], coords=coords, dims=dims).squeeze("time_bin")

    averaged, repeated = assembly(held["averaged"][None]), assembly(held["trials"])
    averaged.attrs.update(stimulus_set=stimuli, stimulus_set_identifier=stimuli.identifier)

    def ceiling() -> Any:
        from brainscore_core.metrics import Score

        return load_ceiling("internal_consistency")(repeated) if len(held["trials"]) > 1 else Score(np.nan)

    return NeuralBenchmark(
        identifier=f"{stimuli.identifier}.{region}-pls",
        version=1,
        assembly=averaged,
        parent=region,
        similarity_metric=load_metric("pls", crossvalidation_kwargs={"stratification_coord": None}),
        visual_degrees=about["degrees"],
        number_of_trials=1,
        ceiling_func=ceiling,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
