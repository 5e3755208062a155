"""What Brain-Score asks a model plugin for; everything that is particular to this submission is in submission.json."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import backbone, weights
from .dictionary import Dictionary
from .stream import Feature, Stream

HERE = Path(__file__).parent
BIBTEX = HERE / "citation.bib"


def submission() -> dict[str, Any]:
    """The network, its sites, and the models (by identifier) that read them."""
    return json.loads((HERE / "submission.json").read_text(encoding="utf-8"))


def get_module(identifier: str) -> Stream:
    """The network with the features of one of the models."""
    about = submission()
    model = about["models"][identifier]
    shared: dict[str, dict[str, Any]] = {}
    features = {}
    for site, one in model["features"].items():
        dictionary = None
        if (name := one.get("dictionary")) is not None:
            own = about["dictionaries"][name]
            if name not in shared:
                shared[name] = weights.tensors(own["weights"])
            dictionary = Dictionary(own["config"], shared[name], writes=one["kind"] == "ablated")
        features[site] = Feature(
            one["kind"], about["pool"], about["sites"][site]["prefix"], dictionary, one.get("latents")
        )
    return Stream(backbone.build(about["network"]), about["sites"], features, about["layout"]).eval()


def get_model(identifier: str) -> Any:
    """One of the models as Brain-Score reads activations from it."""
    from brainscore_vision.model_helpers.activations.pytorch import PytorchWrapper

    about = submission()
    name = identifier
    if not os.environ.get("BRAINSCORE_CACHE_PLUGIN_REVISION"):
        # Brain-Score keeps activations by this name alone: with other weights it must be another name.
        name += "-" + hashlib.sha256((HERE / "submission.json").read_bytes()).hexdigest()[:12]
    wrapper = PytorchWrapper(
        identifier=name,
        model=get_module(identifier),
        preprocessing=partial(preprocessed_files, **about["preprocessing"]),
        batch_size=about["batch_size"],
    )
    wrapper.image_size = about["preprocessing"]["size"]
    return wrapper


def get_layers(identifier: str) -> list[str]:
    """The layers that a region can be mapped to."""
    return [f"stream.{site}" for site in submission()["models"][identifier]["features"]]


def get_bibtex(identifier: str) -> str:
    """What to cite."""
    return BIBTEX.read_text(encoding="utf-8") if BIBTEX.is_file() else ""


def commitment(identifier: str) -> Any:
    """The model with its regions, its visual angle and its behavioural readout."""
    from brainscore_vision.model_helpers.brain_transformation import ModelCommitment

    about = submission()
    regions = json.loads((HERE / "region_layer_map" / f"{identifier}.json").read_text(encoding="utf-8"))
    return ModelCommitment(
        identifier=identifier,
        activations_model=get_model(identifier),
        layers=get_layers(identifier),
        behavioral_readout_layer=about["models"][identifier]["readout"],
        region_layer_map=regions,
        visual_degrees=about["degrees"],
    )


# ------------------------------------------------------------------------------------------------- preprocessing


def preprocessed_files(paths: Sequence[str], **options: Any) -> np.ndarray:
    """Images from files as the network's input, float32 [images, 3, size, size]."""
    from brainscore_vision.model_helpers.activations.pytorch import load_image

    return np.stack([preprocessed(np.asarray(load_image(str(path)).convert("RGB")), **options) for path in paths])


def preprocessed(
    image: np.ndarray,
    *,
    size: int,
    resize: int,
    squash: bool,
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: str,
) -> np.ndarray:
    """uint8 [height, width, 3] to float32 [3, size, size]: the shorter side (`squash`: both) to `resize`, the middle,
    (value / 255 - mean) / std."""
    height, width = image.shape[:2]
    short = min(height, width)
    new = (resize, resize) if squash else (int(resize * width / short), int(resize * height / short))
    if new != (width, height):
        image = np.asarray(Image.fromarray(image).resize(new, Image.Resampling[interpolation.upper()]))
    top, left = round((image.shape[0] - size) / 2), round((image.shape[1] - size) / 2)
    image = image[top : top + size, left : left + size]
    scaled = (image.astype(np.float32) / 255 - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)


def file_hashes(about: Mapping[str, Any]) -> dict[str, str]:
    """The sha256 of every file of weights that the submission names."""
    entries = [about["network"].get("weights"), *(own["weights"] for own in about["dictionaries"].values())]
    return {entry["path"]: entry["sha256"] for entry in entries if entry is not None}
