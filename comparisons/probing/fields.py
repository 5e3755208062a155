"""Receptive fields of a site's features: noise maps, the Gabor that describes them, and the energy model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from comparisons.card_data import ReceptiveField
from comparisons.noise import Noise
from comparisons.probing.chosen import Chosen
from comparisons.probing.found import Found
from probes.energy import fit_energy
from probes.gabor import GaborFit, fit_alternatives, fit_gabor
from probes.receptive_fields import NoiseMaps, noise_maps

FEATURES = 128
"""Features of a site whose fields are fitted, at most: a seeded draw of more."""
NOISE = "noise"
RELIABLE = 0.5
"""Correlation of the maps of two halves of the noise from which a feature counts as having a linear field."""
GABOR_FIELDS = ("x", "y", "orientation", "sigma_across", "sigma_along", "phase", "amplitude", "r2")


def drawn_features(width: int, wanted: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """The features whose fields are fitted: all, or a seeded draw with the `wanted` ones in it; ascending."""
    if width <= FEATURES:
        return np.arange(width)
    others = np.setdiff1d(np.random.default_rng(seed).permutation(width)[:FEATURES], wanted)
    return np.sort(np.concatenate([wanted, others[: max(FEATURES - len(wanted), 0)]]))


def fields(
    found: Found, one: Chosen, noise: Noise, responses: NDArray, features: NDArray[np.intp], size: int, side: float
) -> dict[int, ReceptiveField]:
    """Fit the fields of some `features` from their responses [n, m] to the noise, in an image of `size` pixels.

    Columns of the table are NaN for features that were not drawn. Frequencies are in cycles an image. Given back is
    what cards show, by feature.
    """
    values = np.where(np.isfinite(responses[:, features]).all(axis=0), responses[:, features], 0)
    maps = noise_maps(noise.patches, values)
    # Fitted to one half of the noise and judged on the other; the description is that of all of it.
    held = fit_gabor(maps.halves[0], maps.halves[1])
    rivals = fit_alternatives(maps.halves[0], maps.halves[1])
    whole = fit_gabor(maps.whole)
    energy = fit_energy(noise.patches, values)
    across = size / (noise.patches.shape[1] * noise.grain)  # windows an image
    columns = {
        "noise_reliability": maps.reliability,
        **{f"gabor_{name}": getattr(whole, name) for name in GABOR_FIELDS},
        "gabor_frequency": whole.frequency * across,
        "gabor_held_out": held.held_out,
        "gaussian_held_out": rivals.gaussian_held_out,
        "difference_held_out": rivals.difference_held_out,
        "energy_r": energy.energy,
        "linear_r": energy.linear,
        "rectified_r": energy.rectified,
        "energy_orientation": energy.pair.orientation,
        "energy_frequency": energy.pair.frequency * across,
    }
    found.keep(one, {name: _spread(array, features, responses.shape[1]) for name, array in columns.items()})
    _say(found, one, columns, len(noise.patches), responses.shape[1], side)
    found_fields = {int(f): shown(maps, held.held_out, whole, row) for row, f in enumerate(features)}
    return {feature: field for feature, field in found_fields.items() if field is not None}


def receptive_field(noise: Noise, responses: NDArray) -> ReceptiveField | None:
    """The field of one feature [n, 1] for its card; None where it answers to no noise."""
    if not np.isfinite(responses).all() or responses.std() == 0:
        return None
    maps = noise_maps(noise.patches, responses)
    held, whole = fit_gabor(maps.halves[0], maps.halves[1]), fit_gabor(maps.whole)
    return shown(maps, held.held_out, whole, 0)


def shown(maps: NoiseMaps, held_out: NDArray, whole: GaborFit, row: int) -> ReceptiveField | None:
    """What the card of feature `row` shows of its maps and fit; None for a map that is not finite or 0."""
    image = maps.whole[row]
    if not np.isfinite(image).all() or not image.any():
        return None
    said = f"{held_out[row]:.2f} (map with itself {maps.reliability[row]:.2f})"
    return ReceptiveField(image, whole.drawn(image.shape[-1])[row], said)


def _spread(values: NDArray, features: NDArray[np.intp], width: int) -> NDArray[np.float64]:
    """Values of some features among all, NaN elsewhere."""
    out = np.full(width, np.nan)
    out[features] = values
    return out


def _say(found: Found, one: Chosen, columns: Mapping[str, NDArray], n: int, width: int, side: float) -> None:
    reliable = columns["noise_reliability"] >= RELIABLE
    r = np.column_stack([columns[name] for name in ("gabor_held_out", "gaussian_held_out", "difference_held_out")])
    models = np.column_stack([columns[name] for name in ("energy_r", "linear_r", "rectified_r")])
    modelled = np.isfinite(models).any(axis=1)
    said = (
        f"{len(reliable)} of {width} features, {n} noise images",
        f"{int(reliable.sum())} have a map that repeats (r of halves from {RELIABLE})",
    )
    found.say(one, "receptive field, pixels", side, n, NOISE, "side of the square with 95% of the gradient's energy")
    found.say(one, "share with a linear field", float(reliable.mean()), n, NOISE, *said)
    some = reliable & np.isfinite(r).all(axis=1)
    found.say(one, "Gabor fit of linear fields, held-out r", _median(r[some, 0]), n, NOISE, *said)
    best = (r[some].argmax(axis=1) == 0).mean() if some.any() else np.nan
    found.say(one, "linear fields best described by a Gabor", float(best), n, NOISE, *said,
              "against a Gaussian and a difference of Gaussians, on the other half of the noise")  # fmt: skip
    energy = np.nan_to_num(models[modelled], nan=-1).argmax(axis=1) == 0
    found.say(one, "share best predicted by an energy model", float(energy.mean()) if modelled.any() else np.nan, n,
              NOISE, *said, "against a Gabor and a rectified one, on the other half of the noise")  # fmt: skip
    found.say(one, "energy model, held-out r", _median(models[modelled, 0]), n, NOISE, *said)


def _median(values: NDArray) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")
