"""Whether a plugin that was written is the model that was studied: its features against this project's own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import InputError
from comparisons.brainscore.choosing import COMPONENTS, layer_features

if TYPE_CHECKING:
    from bridge.stimuli import StimulusSet
    from comparisons.brainscore.preparing import Ingredients

TOLERANCE = 1e-5
"""Largest difference allowed, as a share of the site's largest feature: rounding gives less."""


@contextmanager
def imported(folder: Path) -> Iterator[Any]:
    """The `model` module of a plugin's directory, without registering anything with Brain-Score."""
    name = "ventral_exported_plugin"
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # no caches in what is submitted
    try:
        importlib.invalidate_caches()
        yield importlib.import_module(f"{name}.model")
    finally:
        sys.dont_write_bytecode = before
        for loaded in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
            del sys.modules[loaded]


def drawn_images(count: int, size: int, seed: int = 0) -> StimulusSet:
    """Textures, shapes and scenes, drawn as for the measurement of simplicity but with other seeds."""
    from bridge.stimuli.battery import Battery

    share = count // 3
    limit = {"textures": share, "shapes": share, "scenes": count - 2 * share}
    content = {"name": "drawn images", "families": list(limit), "size": size, "limit": limit, "seed": 77 + seed}
    return Battery.model_validate(content).load()


def compare(folder: Path, ready: Ingredients, images: int = 9) -> list[str]:
    """Hold every model of the plugin against this project's features of drawn images; notices.

    Raises InputError where they differ by more than rounding, or the plugin cannot be loaded.
    """
    import torch

    backbone = ready.backbone
    stimuli = drawn_images(images, 160)
    shown = [stimuli.image(row) for row in range(len(stimuli))]
    here = backbone.prepare(shown)
    notices = []
    with imported(folder) as plugin:
        about = plugin.submission()
        there = np.stack([plugin.preprocessed(image, **about["preprocessing"]) for image in shown])
        if not np.array_equal(there, here.numpy()):
            raise InputError("The plugin prepares images in another way than this project: it was not written.")
        for identifier, kind in ready.parts.spec.identifiers().items():
            try:
                module = plugin.get_module(identifier)
            except Exception as error:
                reason = " ".join(str(error).split())[:300]
                raise InputError(
                    f"The plugin's model {identifier} cannot be made ({reason}): it was not written."
                ) from error
            layers = [f"stream.{site}" for site in ready.sites]
            found = layer_features(module, iter([torch.from_numpy(there)]), layers)
            for site in ready.sites:
                wanted = own_features(ready, kind, site, here)
                got = found[f"stream.{site}"]
                limit = TOLERANCE * max(float(np.abs(wanted).max()), 1e-12)
                if got.shape != wanted.shape or np.abs(got - wanted).max() > limit:
                    raise InputError(
                        f"The plugin's features of {identifier} at {site} are not this project's, by more than "
                        "rounding: it was not written."
                    )
                if wanted.shape[1] < COMPONENTS:
                    notices.append(
                        f"{identifier} has {wanted.shape[1]} features at {site}; Brain-Score's PLS takes {COMPONENTS}: "
                        "`check` will refuse it."
                    )
    return notices


def own_features(ready: Ingredients, kind: str, site: str, inputs: Any) -> np.ndarray:
    """The same features by this project's own reading and encoding, [n, features]."""
    import torch

    from bridge.streams import read

    value = read(ready.backbone, inputs, [site])[site]
    prefix, pool = ready.parts.sites[site].prefix, ready.parts.spec.pool
    x = value[:, :1] if pool == "class" else value[:, prefix:]
    with torch.inference_mode():
        if kind != "raw":
            sae = ready.saes[site]
            codes = sae.encode(x)
            if kind == "sae":
                x = codes
            else:
                from comparisons.brainscore.chosen_parts import latents_of

                which = latents_of(ready.scores[site], ready.parts.spec.ablate if kind == "ablated" else kind, site)
                if kind == "ablated":
                    left = codes.clone()
                    left[..., which] = 0
                    x = x - (sae.decode(codes, x) - sae.decode(left, x))
                else:
                    x = codes[..., which]
        pooled = x.amax(1) if pool == "max" else x.mean(1)
    return pooled.float().numpy()
