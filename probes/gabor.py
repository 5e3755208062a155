"""Gabor, Gaussian and difference-of-Gaussians fits to receptive-field maps: a feature's closed-form description.

Maps are [feature, height, width], square; coordinates are parts of the map's width from its centre, x to the right
and y up; orientation is that of the bars, degrees anticlockwise from horizontal; frequency is in cycles a map. With u
across the bars and v along them, from the centre (x, y):

    gabor     amplitude exp(-u^2 / 2 sigma_across^2 - v^2 / 2 sigma_along^2) cos(2 pi frequency u + phase)

(Jones & Palmer 1987, eq. 1). A pair of maps that share all of it but the phase is a quadrature pair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from probes import separable

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GaborFit:
    """Parameters of each feature, and how well they describe its map; every field [feature], or [feature, map].

    NaN where the map was not finite or was 0.
    """

    x: Array
    y: Array
    orientation: Array
    frequency: Array
    sigma_across: Array
    sigma_along: Array
    phase: Array
    """Degrees, [feature] or, of pairs, [feature, map]."""
    amplitude: Array
    r2: Array
    """Share of the sum of squares of the maps fitted."""
    held_out: Array
    """Correlation of the fit with maps that it was not fitted to; NaN where none were given."""

    @property
    def cycles(self) -> Array:
        """Cycles within one standard deviation on either side across the bars: how oscillating the field is."""
        return 2 * self.sigma_across * self.frequency

    def rows(self) -> dict[str, Array]:
        """Field by field, for a table or a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def drawn(self, size: int) -> Array:
        """The fitted maps, [feature, size, size], or [feature, map, size, size] of pairs."""
        x, y = _axes(size)
        theta = np.deg2rad(self.orientation)[:, None, None]
        dx, dy = x - self.x[:, None, None], y - self.y[:, None, None]
        u, v = dy * np.cos(theta) - dx * np.sin(theta), dx * np.cos(theta) + dy * np.sin(theta)
        across, along, f = (a[:, None, None] for a in (self.sigma_across, self.sigma_along, self.frequency))
        envelope = np.exp(-(u**2) / (2 * across**2) - v**2 / (2 * along**2))
        if self.phase.ndim == 1:
            turn = np.deg2rad(self.phase)[:, None, None]
            return self.amplitude[:, None, None] * envelope * np.cos(2 * np.pi * f * u + turn)
        turns = np.deg2rad(self.phase)[:, :, None, None]
        carrier = np.cos((2 * np.pi * f * u)[:, None] + turns)
        return self.amplitude[:, :, None, None] * envelope[:, None] * carrier


def fit_gabor(maps: NDArray, held_out: NDArray | None = None) -> GaborFit:
    """Fit a Gabor to every map [feature, s, s], from the best of about 4,000 candidates (see `STARTS`).

    `held_out` are maps of the same features from other data (the other half of the images or of the noise): the fit is
    correlated with them. Raises InputError for maps that are not square, or smaller than 5 pixels.
    """
    return _fit(_checked(maps)[:, None], None if held_out is None else _checked(held_out)[:, None], single=True)


def fit_quadrature_pair(maps: NDArray, held_out: NDArray | None = None) -> GaborFit:
    """As `fit_gabor`, for pairs of maps [feature, 2, s, s] that share all but phase and amplitude.

    The two leading axes of a complex cell's second-order kernel are such a pair, up to a turn of both phases alike
    (Adelson & Bergen 1985): its phases differ by 90 degrees and its amplitudes are equal, which the fit leaves free.
    """
    if np.ndim(maps) != 4 or np.shape(maps)[1] != 2:
        raise InputError(f"Pairs of maps are [feature, 2, size, size], not {list(np.shape(maps))}; give two a feature.")
    return _fit(_checked(maps), None if held_out is None else _checked(held_out), single=False)


def _fit(maps: Array, held_out: Array | None, single: bool) -> GaborFit:
    import torch

    count, size = len(maps), maps.shape[-1]
    usable = np.isfinite(maps).all(axis=(1, 2, 3)) & (maps != 0).any(axis=(1, 2, 3))
    y = separable.as_maps(maps[usable].reshape(usable.sum(), maps.shape[1], size**2))
    model = GaborModel(size)
    with torch.inference_mode(), separable.one_thread():
        starts = _starts(size, y)
    p, c, r2 = separable.fit(model, y, starts)
    x0, y0, theta, across, along, frequency = p.double().numpy().T
    even, odd = c.double().numpy().transpose(2, 0, 1)
    found = {
        "x": x0,
        "y": y0,
        "orientation": np.rad2deg(theta) % 180,
        "frequency": np.exp(frequency),
        "sigma_across": np.exp(across),
        "sigma_along": np.exp(along),
        # Turning the bars by 180 degrees turns u around, and with it the sign of the phase.
        "phase": np.rad2deg(np.arctan2(-odd, even)) * np.where(np.rad2deg(theta) % 360 < 180, 1, -1)[:, None] % 360,
        "amplitude": np.hypot(even, odd),
        "r2": r2.double().numpy(),
    }
    whole = {name: np.full((count, *values.shape[1:]), np.nan) for name, values in found.items()}
    for name, values in found.items():
        whole[name][usable] = values
    if single:
        whole["phase"], whole["amplitude"] = whole["phase"][:, 0], whole["amplitude"][:, 0]
    fitted = GaborFit(**whole, held_out=np.full(count, np.nan))
    if held_out is None:
        return fitted
    drawn = fitted.drawn(size).reshape(count, -1)
    return GaborFit(**whole, held_out=correlation(drawn, held_out.reshape(count, -1)))


def correlation(one: Array, other: Array) -> Array:
    """Pearson correlation row by row, [feature]; NaN where a row is constant or not finite."""
    a, b = (values - values.mean(axis=1, keepdims=True) for values in (one, other))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


def _checked(maps: NDArray) -> Array:
    found = np.asarray(maps, np.float64)
    if found.ndim not in (3, 4) or found.shape[-1] != found.shape[-2] or found.shape[-1] < 5:
        raise InputError(f"Maps have shape {list(found.shape)}; give square ones of 5 pixels or more, one a feature.")
    return found


# ------------------------------------------------------------------------------------------------ models


def _axes(size: int) -> tuple[Array, Array]:
    axis = (np.arange(size) + 0.5) / size - 0.5
    return axis[None, :], -axis[:, None]


class _Plane:
    """Points of a square map and the bounds of what models share."""

    def __init__(self, size: int):
        import torch

        x, y = _axes(size)
        self.x = torch.tensor(np.broadcast_to(x, (size, size)).reshape(-1), dtype=torch.float32)
        self.y = torch.tensor(np.broadcast_to(y, (size, size)).reshape(-1), dtype=torch.float32)
        self.narrow, self.wide = math.log(0.5 / size), math.log(1.0)


class GaborModel(_Plane):
    """p = x, y, theta, log sigma_across, log sigma_along, log frequency; the basis is the even and the odd Gabor."""

    def __init__(self, size: int):
        import torch

        super().__init__(size)
        self.low = torch.tensor([-0.6, -0.6, -math.inf, self.narrow, self.narrow, math.log(0.2)])
        self.high = torch.tensor([0.6, 0.6, math.inf, self.wide, self.wide, math.log(0.5 * size)])

    def rotated(self, p: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """u, v [batch, n] and sin, cos of theta [batch, 1]."""
        dx, dy = self.x - p[:, 0:1], self.y - p[:, 1:2]
        s, c = p[:, 2:3].sin(), p[:, 2:3].cos()
        return dy * c - dx * s, dx * c + dy * s, s, c

    def basis(self, p: Tensor) -> Tensor:
        """Even and odd Gabor, [batch, 2, n]."""
        import torch

        u, v, _, _ = self.rotated(p)
        envelope = (u.square() * (-0.5 * (-2 * p[:, 3:4]).exp()) + v.square() * (-0.5 * (-2 * p[:, 4:5]).exp())).exp()
        angle = u * (2 * math.pi * p[:, 5:6].exp())
        return torch.stack([envelope * angle.cos(), envelope * angle.sin()], dim=1)

    def slopes(self, p: Tensor, phi: Tensor, c: Tensor) -> Tensor:
        """Derivatives by all six parameters, [batch, 6, n]."""
        import torch

        u, v, s, k = self.rotated(p)
        g = c[:, 0:1] * phi[:, 0] + c[:, 1:2] * phi[:, 1]
        h = (c[:, 1:2] * phi[:, 0] - c[:, 0:1] * phi[:, 1]) * (2 * math.pi * p[:, 5:6].exp())
        gu, gv = g * u * (-2 * p[:, 3:4]).exp(), g * v * (-2 * p[:, 4:5]).exp()
        by_u = h - gu  # derivative of g by u; by v it is -gv
        return torch.stack([by_u * s + gv * k, gv * s - by_u * k, -by_u * v - gv * u, gu * u, gv * v, h * u], dim=1)


class GaussianModel(GaborModel):
    """The same without its carrier: p = x, y, theta, log sigma_across, log sigma_along."""

    def __init__(self, size: int):
        super().__init__(size)
        self.low, self.high = self.low[:5], self.high[:5]

    def basis(self, p: Tensor) -> Tensor:
        """The Gaussian, [batch, 1, n]."""
        u, v, _, _ = self.rotated(p)
        weight = u.square() * (-0.5 * (-2 * p[:, 3:4]).exp()) + v.square() * (-0.5 * (-2 * p[:, 4:5]).exp())
        return weight.exp()[:, None]

    def slopes(self, p: Tensor, phi: Tensor, c: Tensor) -> Tensor:
        """Derivatives by all five parameters, [batch, 5, n]."""
        import torch

        u, v, s, k = self.rotated(p)
        g = c[:, 0:1] * phi[:, 0]
        gu, gv = g * u * (-2 * p[:, 3:4]).exp(), g * v * (-2 * p[:, 4:5]).exp()
        return torch.stack([gv * k - gu * s, gv * s + gu * k, gu * v - gv * u, gu * u, gv * v], dim=1)


class DifferenceModel(_Plane):
    """Two round Gaussians of one centre: p = x, y, log sigma of the centre, log ratio of surround to centre."""

    def __init__(self, size: int):
        import torch

        super().__init__(size)
        self.low = torch.tensor([-0.6, -0.6, self.narrow, math.log(1.1)])
        self.high = torch.tensor([0.6, 0.6, self.wide, math.log(8.0)])

    def basis(self, p: Tensor) -> Tensor:
        """Centre and surround, [batch, 2, n]."""
        import torch

        r2 = (self.x - p[:, 0:1]).square() + (self.y - p[:, 1:2]).square()
        scales = ((-2 * p[:, 2:3]).exp(), (-2 * (p[:, 2:3] + p[:, 3:4])).exp())
        return torch.stack([(-0.5 * r2 * scale).exp() for scale in scales], dim=1)

    def slopes(self, p: Tensor, phi: Tensor, c: Tensor) -> Tensor:
        """Derivatives by all four parameters, [batch, 4, n]."""
        import torch

        dx, dy = self.x - p[:, 0:1], self.y - p[:, 1:2]
        r2 = dx.square() + dy.square()
        centre = c[:, 0:1] * phi[:, 0] * (-2 * p[:, 2:3]).exp()
        surround = c[:, 1:2] * phi[:, 1] * (-2 * (p[:, 2:3] + p[:, 3:4])).exp()
        both = centre + surround
        return torch.stack([both * dx, both * dy, both * r2, surround * r2], dim=1)


@dataclass(frozen=True)
class Alternatives:
    """Of each feature [feature], for a Gaussian and a difference of Gaussians: R2 of the maps fitted, and correlation
    with held-out maps (NaN where none were given)."""

    gaussian_r2: Array
    gaussian_held_out: Array
    difference_r2: Array
    difference_held_out: Array


def fit_alternatives(maps: NDArray, held_out: NDArray | None = None) -> Alternatives:
    """Fit the two rivals of the Gabor to maps [feature, s, s]; compare by the held-out correlation (a Gabor has more
    parameters, so that it always fits better what it was fitted to). Raises what `fit_gabor` raises."""
    import torch

    y = _checked(maps)
    size, count = y.shape[-1], len(y)
    usable = np.isfinite(y).all(axis=(1, 2)) & (y != 0).any(axis=(1, 2))
    clean = separable.as_maps(y[usable].reshape(usable.sum(), 1, size**2))
    out = np.full((4, count), np.nan)
    rivals: list[tuple[separable.Model, Tensor]] = [
        (GaussianModel(size), _blob_starts(size, clean, 5)),
        (DifferenceModel(size), _blob_starts(size, clean, 4)),
    ]
    for row, (model, starts) in enumerate(rivals):
        with torch.inference_mode():
            p, c, r2 = separable.fit(model, clean, starts)
            drawn = (c @ model.basis(p))[:, 0].double().numpy()
        out[2 * row, usable] = r2.double().numpy()
        if held_out is not None:
            out[2 * row + 1, usable] = correlation(drawn, _checked(held_out)[usable].reshape(len(drawn), -1))
    return Alternatives(*out)


# ------------------------------------------------------------------------------------------------ starts


STARTS = 5
"""Spatial frequencies whose best candidate a fit starts from, of the eight that are scanned."""


@lru_cache(maxsize=4)
def _scan(size: int) -> tuple[Tensor, Tensor, NDArray[np.intp]]:
    """Candidate parameters [candidate, 6], their orthonormal pairs [2 candidate, n], and the group of each."""
    import torch

    frequencies = np.geomspace(0.7, 0.4 * size, 8)
    places = np.linspace(-0.32, 0.32, 5)
    rows, groups = [], []
    for group, frequency in enumerate(frequencies):
        for cycles in (0.25, 0.5):  # standard deviations, in periods
            sigma = min(max(cycles / frequency, 0.7 / size), 0.4)
            # Where fields are small beside the spacing of places, the map is searched more finely.
            fine = places if sigma > 0.08 else np.linspace(-0.4, 0.4, 9)
            for theta in np.arange(8) * np.pi / 8:
                rows += [
                    [x, y, theta, np.log(sigma), np.log(1.5 * sigma), np.log(frequency)] for x in fine for y in fine
                ]
                groups += [group] * len(fine) ** 2
    p = torch.tensor(np.array(rows), dtype=torch.float32)
    model = GaborModel(size)
    pairs = torch.cat([model.basis(part) for part in p.split(512)])
    even = pairs[:, 0] / pairs[:, 0].norm(dim=1, keepdim=True)
    odd = pairs[:, 1] - (pairs[:, 1] * even).sum(1, keepdim=True) * even
    odd = odd / odd.norm(dim=1, keepdim=True).clamp_min(1e-6)
    return p, torch.cat([even, odd]), np.array(groups)


def _starts(size: int, maps: Tensor) -> Tensor:
    """The candidates that explain most of each feature's maps, the best of each of several spatial frequencies,
    [feature, STARTS, 6]."""
    import torch

    p, pairs, groups = _scan(size)
    found = []
    for part in maps.split(512):
        explained = (part @ pairs.T).square().sum(1)
        explained = explained[:, : len(p)] + explained[:, len(p) :]
        best, value = [], []
        for group in range(groups.max() + 1):
            members = torch.from_numpy(np.flatnonzero(groups == group))
            most = explained[:, members].max(1)
            best.append(members[most.indices])
            value.append(most.values)
        order = torch.stack(value, dim=1).topk(STARTS, dim=1).indices
        found.append(p[torch.gather(torch.stack(best, dim=1), 1, order)])
    return torch.cat(found) if found else maps.new_empty(0, STARTS, 6)


def _blob_starts(size: int, maps: Tensor, parameters: int) -> Tensor:
    """Round Gaussians at each map's two extreme points and at its centre of energy, in three widths."""
    import torch

    plane = _Plane(size)
    flat = maps[:, 0]
    energy = flat.square()
    weight = energy / energy.sum(1, keepdim=True)
    centres = [torch.stack([(weight * plane.x).sum(1), (weight * plane.y).sum(1)], dim=1)]
    for place in (flat.argmax(1), flat.argmin(1)):
        centres.append(torch.stack([plane.x[place], plane.y[place]], dim=1))
    starts = []
    for centre in centres:
        for sigma in (0.06, 0.12, 0.25):
            width = torch.full((len(maps), 1), math.log(max(sigma, 0.7 / size)))
            rest = [torch.zeros_like(width), width, width] if parameters == 5 else [width, torch.full_like(width, 0.7)]
            starts.append(torch.cat([centre, *rest], dim=1))
    return torch.stack(starts, dim=1)
