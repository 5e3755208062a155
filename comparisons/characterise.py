"""Present stimuli to the sites of a network and hand the arrays to the probes.

A feature is a unit of a site, or a latent of a dictionary at it. Its responses are those of one token: the one in the
middle of the grid for gratings, which are drawn around the middle of the image, and tokens anywhere for natural or
drawn scenes, each with the window of the image that its receptive field sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InputError
from bridge.streams import Site
from probes.tuning.analysis import Tuning, analyse_tuning
from probes.tuning.fits import NakaRushton, fit_naka_rushton
from probes.tuning.grid import grating_grid
from probes.tuning.modulation import harmonics, preferred_condition
from probes.tuning.series import SizeTuning, colour_index, size_tuning

if TYPE_CHECKING:
    import pandas as pd

    from bridge.models.base import Backbone, Preprocessing
    from bridge.stimuli.battery import Battery
    from bridge.stimuli.stimulus_set import StimulusSet

Array = NDArray[np.float32]
WINDOW = 32
"""Windows of more pixels than this are brought down to it: the bank's highest frequency is 6 cycles a window."""
MARGIN = 1.25
"""How much wider than the receptive field a window is."""


@dataclass(frozen=True)
class Latents:
    """Features of activations: as they are passed on (after TopK or a ReLU), and before. Each [n, tokens, m]."""

    post: Array
    pre: Array


Codes = Callable[[Array], Latents]
"""From a site's activations [n, tokens, d] to its features."""


def units(activations: Array) -> Latents:
    """A site's own units as features: nothing comes before them."""
    return Latents(activations, activations)


# ----------------------------------------------------------------------------------------------- presenting


def centre_token(site: Site) -> int:
    """The token whose place is the middle of the image: of an even grid, the one right of and below it.

    Of sites without a grid the first token (a class token, or the only one).
    """
    return site.prefix + site.grid[0] // 2 * site.grid[1] + site.grid[1] // 2 if site.grid else 0


def present(
    backbone: Backbone,
    stimuli: StimulusSet,
    keep: Mapping[str, NDArray[np.intp]],
    *,
    batch: int = 64,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> dict[str, Array]:
    """The values of some tokens at some sites, float32 [n, kept, d] by site, in one pass over the stimuli.

    `keep` names the tokens: an array [kept], the same for every stimulus, or [n, kept], each stimulus its own.
    """
    import torch

    from bridge.passes import placed
    from bridge.streams import read

    found: dict[str, list[Array]] = {name: [] for name in keep}
    with placed(backbone, device, False):
        for start in range(0, len(stimuli), batch):
            rows = range(start, min(start + batch, len(stimuli)))
            inputs = backbone.prepare([stimuli.image(row) for row in rows]).to(device)
            values = read(backbone, inputs, keep)
            for name, tokens in keep.items():
                own = tokens if tokens.ndim == 1 else tokens[rows.start : rows.stop]
                index = torch.as_tensor(np.broadcast_to(own, (len(rows), own.shape[-1])).copy(), device=device)
                picked = torch.gather(values[name], 1, index[:, :, None].expand(-1, -1, values[name].shape[2]))
                found[name].append(picked.float().cpu().numpy())
            if progress is not None:
                progress(rows.stop / len(stimuli))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def tuning_battery(preprocessing: Preprocessing, jitter: int = 0, seed: int = 0) -> Battery:
    """Gratings, their contrast, size and colour series, and blanks, drawn at the size at which the network sees them.

    `jitter` displaces each pattern by up to so many pixels: give half a patch for networks that cut images into
    patches. Raises ConfigError where the network's input cannot carry the gratings.
    """
    from bridge.stimuli.battery import Battery

    size = preprocessing.resize or preprocessing.size
    families = ("gratings", "contrasts", "sizes", "colours", "blanks")
    return Battery(name="gratings", families=families, size=size, jitter=jitter, seed=seed)


def aliasing(cycles: NDArray, preprocessing: Preprocessing, drawn: int) -> str | None:
    """A warning where gratings of so many cycles an image, drawn at `drawn` pixels, alias in the network's input.

    Frequencies at or above half the pixels of the image as the network sees it are folded to lower ones.
    """
    seen = min(preprocessing.resize or preprocessing.size, drawn)
    beyond = np.unique(cycles[cycles >= seen / 2])
    if not len(beyond):
        return None
    said = ", ".join(f"{f:g}" for f in beyond)
    return f"gratings of {said} cycles an image alias in an image of {seen} pixels (limit {seen / 2:g})"


def phase_locking(table: pd.DataFrame, values: NDArray) -> tuple[float, float]:
    """How much the phase of gratings alone says of a token's distance from its mean, and how much it would by chance.

    `values` [n, d] answer to the battery of `table`. With e the squared distance of a token from its mean over all
    gratings, the share of the variance of e that lies between phases, (sum over phases of (mean e - e)^2) / total. A
    patch grid does the same to all orientations and frequencies at one phase; displacing patterns (`jitter`), each
    orientation and frequency its own way, undoes that. Chance is (phases - 1) / (gratings - 1). NaN where nothing
    varies.
    """
    rows = np.flatnonzero((table["family"] == "gratings").to_numpy())
    x = values[rows].astype(np.float64)
    energy = ((x - x.mean(axis=0)) ** 2).sum(axis=1)
    phases, codes = np.unique(table["phase"].to_numpy(float)[rows], return_inverse=True)
    means = np.bincount(codes, energy) / np.bincount(codes)
    total = energy.var()
    share = float(means[codes].var() / total) if total > 0 else float("nan")
    return share, (len(phases) - 1) / (len(rows) - 1)


# -------------------------------------------------------------------------------------------------- tuning


@dataclass(frozen=True)
class Series:
    """What the series beside the tuning set say of each feature [feature]."""

    contrast: NakaRushton
    size: SizeTuning
    colour: NDArray[np.float64]


@dataclass(frozen=True)
class SiteTuning:
    """A site's features before and after sparsification (equal for units), and the dictionary's FVU on gratings."""

    pre: Tuning
    post: Tuning
    series: Series
    unexplained: float | None
    """Share of the gratings' variance that the dictionary leaves unexplained: gratings are unlike what it learnt on,
    and where this is large its latents say little of the stream. None for units."""


def tune(
    table: pd.DataFrame,
    activations: Array,
    codes: Codes = units,
    reconstruct: Callable[[Array], Array] | None = None,
    *,
    permutations: int = 2000,
    seed: int = 0,
) -> SiteTuning:
    """The tuning of one site's features from activations [n, 1, d] to the stimuli of `tuning_battery`, row by row.

    `table` is the battery's, in the same order. The baseline is the response to the mid-grey blank.
    """
    family = table["family"].to_numpy()
    latents = codes(activations)
    blank = np.flatnonzero((family == "blanks") & np.isclose(table["luminance"].to_numpy(float), 0.5))
    if not len(blank):
        raise InputError("The stimuli hold no mid-grey blank; present those of `tuning_battery`.")
    gratings = np.flatnonzero(family == "gratings")
    factors = [table[name].to_numpy(float) for name in ("orientation", "cycles", "phase")]
    found: list[Tuning] = []
    for values in (latents.pre[:, 0], latents.post[:, 0]):
        if found and latents.pre is latents.post:
            found.append(found[0])
            continue
        shown = [factor[gratings] for factor in factors]
        base = values[blank[0]]
        found.append(analyse_tuning(values[gratings], *shown, baseline=base, permutations=permutations, seed=seed))
    unexplained = None
    if reconstruct is not None:
        x = activations[gratings, 0].astype(np.float64)
        left = ((x - reconstruct(activations[gratings])[:, 0]) ** 2).sum()
        unexplained = float(left / max(((x - x.mean(axis=0)) ** 2).sum(), 1e-300))
    return SiteTuning(found[0], found[1], _series(table, latents.pre[:, 0], latents.pre[blank[0], 0]), unexplained)


def _series(table: pd.DataFrame, values: Array, baseline: Array) -> Series:
    family = table["family"].to_numpy()
    clean = np.where(np.isfinite(values).all(axis=0) & np.isfinite(baseline), values, 0).astype(np.float64)
    base = np.where(np.isfinite(baseline), baseline, 0).astype(np.float64)

    def best(rows: NDArray, level: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Curves over a factor at the preferred orientation, [feature, level], and its levels."""
        part = table.iloc[rows]
        grid = grating_grid(clean[rows], *(part[name].to_numpy(float) for name in ("orientation", level, "phase")))
        return preferred_condition(harmonics(grid), base).over_frequency, grid.frequencies

    contrast = best(np.flatnonzero(family == "contrasts"), "contrast")
    size = best(np.flatnonzero(family == "sizes"), "radius")
    colour, cycles = table["colour"].to_numpy(), table["cycles"].to_numpy(float)
    coloured = [np.flatnonzero((family == "colours") & (colour == axis)) for axis in ("L-M", "S")]
    quarter = np.isin(table["phase"].to_numpy(float), (0, 90, 180, 270))
    alike = (family == "gratings") & quarter & np.isin(cycles, np.unique(cycles[coloured[0]]))
    chromatic = np.max([best(rows, "cycles")[0].max(axis=1) for rows in coloured], axis=0)
    achromatic = best(np.flatnonzero(alike), "cycles")[0].max(axis=1)
    return Series(fit_naka_rushton(*contrast), size_tuning(*size), colour_index(chromatic, achromatic))


# ------------------------------------------------------------------------------------- receptive fields, windows


@dataclass(frozen=True)
class Field:
    """A site's effective receptive field at its middle token: the energy of its gradient [height, width], and the side
    in pixels of the centred square that holds 95% of it."""

    energy: NDArray[np.float64]
    side: float


def effective_fields(
    backbone: Backbone, sites: Mapping[str, Site], *, images: int = 8, directions: int = 4, seed: int = 0
) -> dict[str, Field]:
    """Where in the input the middle token of each site looks (Luo et al. 2016): the mean square of the gradient of
    random directions in the token's space, over images of seeded noise."""
    import torch

    from bridge.streams import run, tapped
    from probes.receptive_fields import field_size

    if backbone.preprocessing is None:
        raise InputError(f"{backbone.name} reads texts; receptive fields are those of networks that read images.")
    size = backbone.preprocessing.size
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(images, 3, size, size, generator=generator).requires_grad_(True)
    values: dict[str, torch.Tensor] = {}

    def keeper(name: str) -> Callable[[torch.Tensor], None]:
        def tap(value: torch.Tensor) -> None:
            values[name] = value[:, centre_token(sites[name])].clone()

        return tap

    with torch.enable_grad(), tapped(backbone, {name: keeper(name) for name in sites}, stop=True):
        run(backbone, inputs)
    found = {}
    for name, value in values.items():
        energy = torch.zeros(size, size, dtype=torch.float64)
        for _ in range(directions):
            direction = torch.randn(value.shape[1], generator=generator)
            gradient = torch.autograd.grad((value @ direction).sum(), inputs, retain_graph=True)[0]
            energy += gradient.double().square().sum((0, 1))
        field = np.sqrt(energy.numpy())
        side = float(field_size(field[None]).square[0])
        found[name] = Field(energy.numpy(), size * side if np.isfinite(side) else float(size))
    return found


@dataclass(frozen=True)
class Windows:
    """What tokens of a site see: grey windows [n * places, s, s], the image each is of, and the tokens [n, places]."""

    images: Array
    groups: NDArray[np.intp]
    tokens: NDArray[np.intp]


def window_side(field: float, size: int) -> int:
    """The side in pixels of a field's window, one of a few sizes (half octaves), so that sites can share windows."""
    wanted = min(max(MARGIN * field, 8), size)
    return int(min(round(2 ** (np.ceil(2 * np.log2(wanted) - 0.25) / 2)), size))


def windows(greys: Array, site: Site, side: int, places: int, seed: int = 0) -> Windows:
    """Windows of `side` pixels around tokens of a site, from grey images [n, size, size] as the network sees them.

    `places` tokens an image are drawn among those whose window lies within the image (where they are too few, the ones
    next to the middle; what lies outside the image is mid-grey). Windows of more than `WINDOW` pixels are brought down
    to that.
    """
    from PIL import Image

    n, size = len(greys), greys.shape[1]
    grid = site.grid or (1, 1)
    rows, columns = (((np.arange(count) + 0.5) / count * size) for count in grid)
    inside = [
        (r, c)
        for r, y in enumerate(rows)
        for c, x in enumerate(columns)
        if min(y, x) >= side / 2 - 1 and max(y, x) <= size - side / 2 + 1
    ]
    if len(inside) < places:
        every = np.stack(np.meshgrid(np.arange(grid[0]), np.arange(grid[1]), indexing="ij"), axis=-1).reshape(-1, 2)
        away = np.hypot(rows[every[:, 0]] - size / 2, columns[every[:, 1]] - size / 2)
        inside = [(int(r), int(c)) for r, c in every[np.argsort(away, kind="stable")[:places]]]
    rng = np.random.default_rng(seed)
    count = min(places, len(inside))
    chosen = np.array([rng.choice(len(inside), count, replace=False) for _ in range(n)])
    spots = np.array(inside)
    pad = side
    padded = np.pad(greys, ((0, 0), (pad, pad), (pad, pad)), constant_values=0.5)
    cut = np.empty((n, count, side, side), np.float32)
    for image in range(n):
        for place, spot in enumerate(spots[chosen[image]]):
            # Rounded down, always alike: half a pixel to and fro would blur the smallest fields.
            top = int(np.floor(rows[spot[0]] - side / 2)) + pad
            left = int(np.floor(columns[spot[1]] - side / 2)) + pad
            cut[image, place] = padded[image, top : top + side, left : left + side]
    cut = cut.reshape(-1, side, side)
    if side > WINDOW:
        small = (WINDOW, WINDOW)
        cut = np.stack([np.asarray(Image.fromarray(one).resize(small, Image.Resampling.BILINEAR)) for one in cut])
    tokens = site.prefix + spots[chosen, 0] * grid[1] + spots[chosen, 1] if site.grid else np.zeros((n, count), np.intp)
    return Windows(cut, np.repeat(np.arange(n), count), tokens)


def greys_of(stimuli: StimulusSet, preprocessing: Preprocessing) -> Array:
    """Every stimulus as the network sees it, in grey [0, 1], float32 [n, size, size] (Rec. 601 weights)."""
    mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.stack(
        [np.tensordot(weights, preprocessing(stimuli.image(row)) * std + mean, axes=1) for row in range(len(stimuli))]
    ).astype(np.float32)
