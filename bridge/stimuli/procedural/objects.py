"""Eight classes of object as parametric, shaded parts: the classes of Majaj et al. (2015) and Hong et al. (2016).

An object is a list of parts, painted in order; a part is a signed distance function (Quilez's forms) in the object's
frame, where the object fills about [-1, 1] x [-1, 1], v up. Exemplars differ in their proportions; exemplar n of a
category is the same object whatever the battery's seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bridge.stimuli.procedural.canvas import Image, generator

Distance = Callable[[Image, Image], Image]


@dataclass(frozen=True)
class Part:
    """A shape and its tone: 0 is the object's own tone, positive the lighter or darker way that contrasts with it."""

    distance: Distance
    tone: float = 0.0


def ellipse(cu: float, cv: float, ru: float, rv: float, angle: float = 0.0) -> Distance:
    """An ellipse with centre, radii and tilt (degrees). The distance is to first order, exact on the border."""
    c, s = float(np.cos(np.deg2rad(angle))), float(np.sin(np.deg2rad(angle)))

    def distance(u: Image, v: Image) -> Image:
        p, q = u - cu, v - cv
        a, b = (c * p + s * q) / ru, (c * q - s * p) / rv
        k = np.sqrt(a * a + b * b)
        gradient = np.sqrt((a / ru) ** 2 + (b / rv) ** 2) + 1e-3
        return (k - 1) * k / gradient

    return distance


def box(cu: float, cv: float, hu: float, hv: float, corner: float = 0.03) -> Distance:
    """A rectangle with centre, half sides and rounded corners."""

    def distance(u: Image, v: Image) -> Image:
        p, q = np.abs(u - cu) - (hu - corner), np.abs(v - cv) - (hv - corner)
        outside = np.sqrt(np.maximum(p, 0) ** 2 + np.maximum(q, 0) ** 2)
        return outside + np.minimum(np.maximum(p, q), 0) - corner

    return distance


def capsule(au: float, av: float, bu: float, bv: float, radius: float) -> Distance:
    """A line from a to b, thickened by `radius`."""
    du, dv = bu - au, bv - av
    length2 = du * du + dv * dv

    def distance(u: Image, v: Image) -> Image:
        p, q = u - au, v - av
        t = np.clip((p * du + q * dv) / length2, 0, 1)
        return np.sqrt((p - t * du) ** 2 + (q - t * dv) ** 2) - radius

    return distance


def polygon(*points: tuple[float, float]) -> Distance:
    """A convex polygon, points anticlockwise. Outside the corners the distance is a lower bound."""
    sides = []
    for (au, av), (bu, bv) in zip(points, points[1:] + points[:1], strict=True):
        length = float(np.hypot(bu - au, bv - av))
        sides.append(((bv - av) / length, (au - bu) / length, au, av))

    def distance(u: Image, v: Image) -> Image:
        inside = [nu * (u - au) + nv * (v - av) for nu, nv, au, av in sides]
        return np.maximum.reduce(np.broadcast_arrays(*inside))

    return distance


def union(*shapes: Distance) -> Distance:
    """All of several shapes as one."""
    return lambda u, v: np.minimum.reduce(np.broadcast_arrays(*(shape(u, v) for shape in shapes)))


def _animal(r: Callable[[float, float], float]) -> list[Part]:
    length, height, leg, top = r(0.5, 0.7), r(0.2, 0.34), r(0.35, 0.65), r(-0.05, 0.2)
    head_u, head_v, head = length + r(0.08, 0.22), top + r(0.2, 0.5), r(0.15, 0.24)
    spread, thick = length * r(0.65, 0.85), r(0.055, 0.09)
    legs = [
        capsule(u, top - height / 2, u + tilt, top - height - leg, thick)
        for u, tilt in ((-spread, -0.08), (-spread + 0.22, 0.05), (spread - 0.22, -0.05), (spread, 0.08))
    ]
    ear = r(0.1, 0.3)
    body = union(
        *legs,
        ellipse(0, top, length, height, r(-6, 8)),
        capsule(length * 0.7, top + 0.05, head_u, head_v, head * 0.62),
        ellipse(head_u + 0.06, head_v, head * 1.3, head * 0.9, r(-30, 0)),
        capsule(head_u - 0.06, head_v + head * 0.6, head_u - 0.1, head_v + head * 0.6 + ear, 0.05),
        capsule(-length * 0.9, top + 0.05, -length - r(0.15, 0.3), top + r(-0.35, 0.35), 0.04),
    )
    return [Part(body), Part(ellipse(head_u + 0.1, head_v + 0.05, 0.045, 0.045), 0.5)]


def _boat(r: Callable[[float, float], float]) -> list[Part]:
    deck, keel, bow, half = r(-0.35, -0.2), r(-0.8, -0.65), r(0.75, 0.95), r(0.4, 0.6)
    mast_u, mast_v, boom = r(-0.15, 0.1), r(0.75, 0.95), r(-0.15, 0.0)
    hull = polygon((-half, keel), (half, keel), (bow, deck), (-bow + r(0, 0.25), deck))
    main = polygon((mast_u + 0.06, boom), (mast_u + r(0.45, 0.75), boom), (mast_u + 0.06, mast_v - 0.05))
    jib = polygon((mast_u - r(0.35, 0.6), boom), (mast_u - 0.06, boom), (mast_u - 0.06, mast_v - r(0.1, 0.4)))
    return [
        Part(capsule(mast_u, deck, mast_u, mast_v, 0.035)),
        Part(main, 0.35),
        Part(jib, 0.2),
        Part(hull),
        Part(box(0, deck - 0.05, half, 0.03, 0.02), 0.35),
    ]


def _car(r: Callable[[float, float], float]) -> list[Part]:
    half, floor, bonnet, roof = r(0.85, 0.98), r(-0.4, -0.3), r(-0.02, 0.12), r(0.38, 0.62)
    rear, front, rake = r(-0.7, -0.45), r(0.35, 0.55), r(0.15, 0.35)
    cabin = polygon(
        (rear - 0.1, bonnet - 0.05), (front + rake, bonnet - 0.05), (front - 0.1, roof), (rear + 0.12, roof)
    )
    wheel, axle = r(0.17, 0.25), r(0.5, 0.62)
    pillar = (rear + front) / 2
    window = 0.09
    panes = [
        polygon(
            (rear + 0.06, bonnet + 0.04),
            (pillar - 0.04, bonnet + 0.04),
            (pillar - 0.04, roof - window),
            (rear + 0.17, roof - window),
        ),
        polygon(
            (pillar + 0.04, bonnet + 0.04),
            (front + rake - 0.16, bonnet + 0.04),
            (front - 0.13, roof - window),
            (pillar + 0.04, roof - window),
        ),
    ]
    wheels = [ellipse(u, floor - 0.02, wheel, wheel) for u in (-axle, axle)]
    hubs = [ellipse(u, floor - 0.02, wheel * 0.45, wheel * 0.45) for u in (-axle, axle)]
    return [
        Part(union(cabin, box(0, (floor + bonnet) / 2, half, (bonnet - floor) / 2, r(0.06, 0.14)))),
        Part(union(*panes), 0.45),
        Part(union(*wheels), 0.6),
        Part(union(*hubs), 0.05),
    ]


def _chair(r: Callable[[float, float], float]) -> list[Part]:
    width, seat, back, foot = r(0.4, 0.55), r(-0.2, 0.0), r(0.8, 0.98), r(-0.95, -0.8)
    thick, depth = r(0.05, 0.08), r(0.12, 0.25)
    legs = union(
        capsule(-width, seat, -width, foot, thick),
        capsule(width, seat, width, foot, thick),
        capsule(-width + depth, seat, -width + depth, foot + 0.16, thick),
        capsule(width + depth, seat, width + depth, foot + 0.16, thick),
    )
    cushion = polygon(
        (-width - 0.06, seat - 0.1),
        (width, seat - 0.1),
        (width + depth + 0.06, seat + 0.12),
        (-width + depth, seat + 0.12),
    )
    slats = int(r(1, 4))
    rails = [
        box(0.12, seat + 0.3 + (back - seat - 0.35) * (k + 0.5) / slats, width, (back - seat - 0.3) / slats * 0.33)
        for k in range(slats)
    ]
    posts = [capsule(0.12 + u, seat, 0.12 + u, back, thick) for u in (-width, width)]
    return [Part(legs), Part(union(*posts)), Part(union(*rails), 0.12), Part(cushion, 0.25)]


def _face(r: Callable[[float, float], float]) -> list[Part]:
    wide, tall, eye_v, eye_u = r(0.58, 0.75), r(0.82, 0.98), r(0.08, 0.25), r(0.22, 0.32)
    eye, mouth_v, mouth, smile = r(0.08, 0.12), r(-0.5, -0.38), r(0.18, 0.32), r(-0.08, 0.12)
    eyes = [ellipse(u, eye_v, eye * 1.35, eye) for u in (-eye_u, eye_u)]
    pupils = [ellipse(u, eye_v, eye * 0.55, eye * 0.6) for u in (-eye_u, eye_u)]
    brows = [
        capsule(-eye_u - 0.12, eye_v + 0.2, -eye_u + 0.12, eye_v + 0.24, 0.03),
        capsule(eye_u - 0.12, eye_v + 0.24, eye_u + 0.12, eye_v + 0.2, 0.03),
    ]
    lips = [capsule(-mouth, mouth_v + smile, 0, mouth_v, 0.045), capsule(0, mouth_v, mouth, mouth_v + smile, 0.045)]
    hairline = r(0.45, 0.62)
    fringe = union(ellipse(0, hairline + 0.25, wide * 0.93, tall * 0.42))
    return [
        Part(union(ellipse(0, 0, wide, tall), ellipse(-wide, 0.05, 0.09, 0.18), ellipse(wide, 0.05, 0.09, 0.18))),
        Part(fringe, r(0.3, 0.55)),
        Part(union(*eyes), -0.3),
        Part(union(*pupils), 0.6),
        Part(union(*brows), 0.55),
        Part(union(capsule(0, eye_v - 0.05, -0.04, -0.18, 0.035), ellipse(0.0, -0.2, 0.1, 0.055)), 0.22),
        Part(union(*lips), 0.5),
    ]


def _fruit(r: Callable[[float, float], float]) -> list[Part]:
    wide, waist, neck = r(0.6, 0.78), r(-0.3, -0.12), r(0.0, 0.55)
    body = union(
        ellipse(-wide * 0.22, waist, wide * 0.8, wide * r(0.85, 1.0)),
        ellipse(wide * 0.22, waist, wide * 0.8, wide * r(0.85, 1.0)),
        ellipse(0, waist + neck, wide * r(0.45, 0.7), wide * 0.75),
    )
    top = waist + max(neck + wide * 0.7, wide * 0.9)
    lean = r(-0.15, 0.2)
    return [
        Part(capsule(0, top - 0.1, lean, min(top + 0.28, 0.98), 0.045), 0.5),
        Part(body),
        Part(ellipse(lean + 0.26, min(top + 0.12, 0.9), r(0.2, 0.3), r(0.08, 0.12), r(5, 40)), 0.3),
        Part(ellipse(-wide * 0.4, waist + wide * 0.35, 0.14, 0.08, 35), -0.25),
    ]


def _plane(r: Callable[[float, float], float]) -> list[Part]:
    body, span, chord, sweep = r(0.09, 0.14), r(0.78, 0.97), r(0.26, 0.42), r(0.2, 0.6)
    root, tail, fin = r(0.05, 0.3), r(0.28, 0.42), r(0.16, 0.24)
    wings, tails = [], []
    for side in (1, -1):
        wing = [
            (root, 0.0),
            (root - sweep, side * span),
            (root - sweep - chord * 0.4, side * span),
            (root - chord, 0.0),
        ]
        plane = [(-0.68, 0.0), (-0.85, side * tail), (-0.98, side * tail), (-0.68 - fin, 0.0)]
        wings.append(polygon(*(wing if side > 0 else wing[::-1])))
        tails.append(polygon(*(plane if side > 0 else plane[::-1])))
    engines = [ellipse(root - sweep * 0.45, side * span * 0.42, 0.13, 0.055) for side in (1, -1)]
    return [
        Part(union(*wings), 0.08),
        Part(union(*tails), 0.08),
        Part(union(*engines), 0.35),
        Part(ellipse(0, 0, 0.97, body)),
        Part(ellipse(0.78, 0, 0.07, body * 0.45), 0.55),
    ]


def _table(r: Callable[[float, float], float]) -> list[Part]:
    half, top, thick, foot = r(0.82, 0.97), r(0.25, 0.45), r(0.06, 0.1), r(-0.85, -0.6)
    depth, leg, splay = r(0.14, 0.3), r(0.045, 0.075), r(0.0, 0.14)
    slab = polygon(
        (-half, top - depth / 2),
        (half - depth, top - depth / 2),
        (half, top + depth / 2),
        (-half + depth, top + depth / 2),
    )
    rim = box(-depth / 2, top - depth / 2 - thick / 2, half - depth / 2, thick, 0.02)
    legs = [
        capsule(-half + 0.1, top - depth / 2, -half + 0.1 - splay, foot, leg),
        capsule(half - depth - 0.1, top - depth / 2, half - depth - 0.1 + splay, foot, leg),
        capsule(-half + depth + 0.1, top, -half + depth + 0.1 - splay / 2, foot + 0.2, leg),
        capsule(half - 0.1, top, half - 0.1 + splay / 2, foot + 0.2, leg),
    ]
    return [Part(union(*legs), 0.1), Part(rim, 0.3), Part(slab)]


_BUILDERS = {
    "animal": _animal,
    "boat": _boat,
    "car": _car,
    "chair": _chair,
    "face": _face,
    "fruit": _fruit,
    "plane": _plane,
    "table": _table,
}
CATEGORIES = tuple(_BUILDERS)


@lru_cache(maxsize=1024)
def parts(category: str, exemplar: int) -> tuple[Part, ...]:
    """The parts of one object, in painting order."""
    rng = generator("object", category, exemplar)
    return tuple(_BUILDERS[category](lambda low, high: float(rng.uniform(low, high))))
