"""How many dimensions each site fills, how objects lie in it, and what a dictionary makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comparisons.characterise import Latents
from comparisons.probing.chosen import Chosen
from comparisons.probing.found import DRAWN, Found
from comparisons.results import Exhibit
from probes.geometry import cvpca, effective_latents, matched, participation_ratio
from probes.intrinsic import decimation, two_nn
from probes.manifolds import manifold_geometry

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 5
"""Draws of units where sites are matched in their number."""
RANKS = (10, 500)
"""Ranks through which the power law of the spectrum is fitted, as far as there are so many."""
MANIFOLD_DRAWS = 100
RATIO, DIMENSION = "participation ratio", "intrinsic dimension (TwoNN)"


def dimensions(found: Found, one: Chosen, latents: Latents, activations: NDArray) -> None:
    """Of a stream its participation ratio and intrinsic dimension, of a dictionary the effective number of its live
    latents against that dimension; from tokens [n, places, d] of drawn images, for the stream one of each image: tokens
    of one image are not independent."""
    x = activations[:, 0].astype(np.float64)
    if not np.isfinite(x).all():
        found.dropped.append(f"{found.model} {one.name}: no geometry: not all activations are finite")
        return
    dimension = two_nn(x).dimension
    if one.stage is None:
        said = f"{x.shape[1]} units, {len(x)} images, one token each"
        found.say(one, RATIO, participation_ratio(x), len(x), DRAWN, said)
        curve = decimation(x, seed=0)
        thinned = ", ".join(f"{value:.1f} from {count}" for count, value, _ in curve[1:])
        found.say(one, DIMENSION, dimension, len(x), DRAWN, said, f"thinned out: {thinned} images")
        found.curves.setdefault("decimation", []).append({"site": one.name, "points": [list(point) for point in curve]})
        return
    z = latents.post.reshape(-1, latents.post.shape[2])
    z = np.where(np.isfinite(z), z, 0)
    effective, live = effective_latents(z), int((z != 0).any(axis=0).sum())
    said = f"{live} of {z.shape[1]} latents are ever active"
    found.say(one, "effective number of live latents", effective, len(z), DRAWN, said,
              f"the stream's intrinsic dimension is {dimension:.1f}")  # fmt: skip
    found.say(one, "live latents for each intrinsic dimension", effective / dimension, len(z), DRAWN, said,
              "effective number over the stream's TwoNN dimension")  # fmt: skip


def matched_dimensions(found: Found, streams: Sequence[tuple[Chosen, NDArray]], seed: int) -> None:
    """Participation ratio and intrinsic dimension of streams [n, d] at the same number of images and units: means over
    draws of as many units as the narrowest has."""
    streams = [(one, x) for one, x in streams if np.isfinite(x).all()]
    if len(streams) < 2:
        return
    drawn = [matched([x.astype(np.float64) for _, x in streams], seed=seed + draw) for draw in range(DRAWS)]
    width = drawn[0][0].shape[1]
    for number, (one, x) in enumerate(streams):
        said = f"{width} of {x.shape[1]} units, {len(x)} images, mean of {DRAWS} draws of units"
        found.say(one, f"{RATIO}, matched", _mean([participation_ratio(draw[number]) for draw in drawn]), len(x),
                  DRAWN, said)  # fmt: skip
        found.say(one, f"{DIMENSION}, matched", _mean([two_nn(draw[number]).dimension for draw in drawn]), len(x),
                  DRAWN, said)  # fmt: skip


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def objects(found: Found, one: Chosen, table: pd.DataFrame, values: NDArray, read: str, seed: int) -> None:
    """The spectrum's exponent, and radius, dimension and capacity of object manifolds, from features [n, d] of scenes:
    a manifold is one object (category and exemplar) at all its places, sizes, poses and backgrounds."""
    x = values.astype(np.float64)
    x = x[:, np.isfinite(x).all(axis=0)]
    if x.shape[1] == 0 or not (x.std(axis=0) > 0).any():
        found.dropped.append(f"{found.model} {one.name}: no manifolds: no feature is finite and varies")
        return
    n = len(x)
    power = cvpca(np.stack([x, x]), RANKS)
    found.say(one, "exponent of the spectrum", power.alpha, n, read,
              f"through {power.fitted} ranks from {RANKS[0]} on; a network has no trial noise, so both repeats of "
              "cross-validated PCA are the same")  # fmt: skip
    labels = [f"{c} {e}" for c, e in zip(table["category"], table["exemplar"], strict=True)]
    shape = manifold_geometry(x, labels, MANIFOLD_DRAWS, seed)
    defined = np.isfinite(shape.capacity)
    said = (
        f"{len(defined)} objects, {n // len(defined)} images each, {int((~defined).sum())} undefined",
        "mean-field theory at margin 0, correlations between centres not removed",
    )
    for measure, value in (
        ("manifold radius, median", np.median(shape.radius[defined]) if defined.any() else np.nan),
        ("manifold dimension, median", np.median(shape.dimension[defined]) if defined.any() else np.nan),
        ("manifold capacity", 1 / np.mean(1 / shape.capacity[defined]) if defined.any() else np.nan),
    ):
        found.say(one, measure, float(value), n, read, *said)


def draw_decimation(found: Found) -> None:
    """Add the picture of all decimation curves."""
    curves: list[dict[str, Any]] = found.curves.get("decimation", [])
    if not curves:
        return
    found.picture(
        Exhibit(
            group="Intrinsic dimension at fewer images",
            caption=f"{found.model}: TwoNN's dimension as images are left out (mean of parts). Where a curve is flat, "
            "neither noise nor the number of images sets it; where it falls to the left, more images would raise it.",
            words="; ".join(f"{one['site']}: {one['points'][0][1]:.1f} from all images" for one in curves),
            file=f"decimation-{found.slug}.png",
        ),
        _decimation_picture(curves),
    )


def _decimation_picture(curves: Sequence[Mapping[str, Any]]) -> bytes:
    from matplotlib import colormaps

    from comparisons.report.output import as_bytes, canvas, settings

    with settings():
        figure = canvas(6.2, 3.4)
        axes = figure.add_axes((0.1, 0.15, 0.55, 0.78))
        for number, one in enumerate(curves):
            counts, means, _ = zip(*one["points"], strict=True)
            shade = colormaps["viridis"](0.92 * number / max(len(curves) - 1, 1))
            axes.plot(counts, means, "o-", color=shade, markersize=3, linewidth=1.3, label=one["site"])
        axes.set_xscale("log", base=2)
        ticks = sorted({point[0] for one in curves for point in one["points"]})
        axes.set_xticks(ticks, [str(count) for count in ticks])
        axes.set_xlabel("Images")
        axes.set_ylabel("TwoNN dimension")
        axes.set_ylim(bottom=0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=7)
        return as_bytes(figure, "png")
