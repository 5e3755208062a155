"""What is to be said of a plugin's features: what they are, what would become of them, what scoring them will take."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from comparisons.brainscore.choosing import COMPONENTS
from comparisons.brainscore.rules import Finding

ALIKE = 1e-3
"""A feature may differ with its batch by this share of the layer's largest: rounding of another order of sums."""
CONTAINER = 29 * 2**30
"""Memory of the machine that scores, bytes."""
PLS_FACTOR = 7
"""Brain-Score's own estimate of PLS: so many times the features in float32 (`benchmark_helpers.memory`)."""
PUBLIC: tuple[tuple[str, str, int, int], ...] = (
    ("FreemanZiemba2013public.V1-pls", "V1", 135, PLS_FACTOR),
    ("FreemanZiemba2013public.V2-pls", "V2", 135, PLS_FACTOR),
    ("MajajHong2015public.V4-pls", "V4", 3200, PLS_FACTOR),
    ("MajajHong2015public.IT-pls", "IT", 3200, PLS_FACTOR),
    ("Marques2020 (V1 properties)", "V1", 9096, 1),
)
"""Public benchmarks: name, region, images, and how many times the features are held."""


def features_found(identifier: str, one: Mapping[str, Any]) -> list[Finding]:
    """What is to be said of a model's features."""
    if "error" in one:
        return [Finding(f"{identifier}: features", one["error"], "scoring stops with this error, told by an e-mail")]
    shapes, zero, rank, batch, finite = [], [], [], [], []
    worst, lowest = 0.0, None
    for layer, about in one["layers"].items():
        if len(about["shape"]) != 2:
            per_image = "x".join(map(str, about["shape"][1:]))
            shapes.append(f"{layer} gives {per_image} values an image, not one vector; pool it")
        if not about["finite"]:
            finite.append(f"{layer} gives NaN or infinite values")
        if about["zero"]:
            zero.append(f"{layer} is all zero for {len(about['zero'])} of {about['shape'][0]} images")
        if about["rank"] < COMPONENTS:
            rank.append(
                f"{layer} has rank {about['rank']} over {about['shape'][0]} images ({about['shape'][1]} features)"
            )
        for how, difference in about["differences"].items():
            worst = max(worst, difference)
            if not difference <= ALIKE:
                batch.append(f"{layer} differs by {difference:.2g} of its largest feature when images are {how}")
        lowest = about["rank"] if lowest is None else min(lowest, about["rank"])
    made = [
        ("one vector an image", shapes, "the merge with the classifier fails, or memory runs out without a word"),
        ("finite features", finite, "scores are NaN, shown as missing"),
        ("no vector of zeros", zero, "the metric rdm is NaN, and the benchmark stays empty with no error"),
        (f"rank of {COMPONENTS} or more", rank, "PLS stops or predicts from fewer components, unseen"),
        (
            "independent of the batch",
            batch,
            "scores depend on the order of images and on the padding of the last batch",
        ),
    ]
    said = {f"rank of {COMPONENTS} or more": f"{lowest}", "independent of the batch": f"largest difference {worst:.1g}"}
    findings = [
        Finding(f"{identifier}: {name}", "; ".join(problems) or None, otherwise, said.get(name, ""))
        for name, problems, otherwise in made
    ]
    worst_case = [row for row in predictions(identifier, one) if float(row[3]) * 2**30 > CONTAINER]
    problem = "; ".join(f"{row[1]} takes {row[3]} GiB" for row in worst_case) or None
    otherwise = "the scoring process is killed, and the benchmark stays empty"
    said_of = f"{one['memory'] / 2**30:.1f} GiB for the model"
    findings.append(Finding(f"{identifier}: memory below {CONTAINER >> 30} GiB", problem, otherwise, said_of))
    return findings


def predictions(identifier: str, one: Mapping[str, Any]) -> list[list[str]]:
    """Memory and time of the public benchmarks: features x images x 4 B x the metric's factor, beside the model; the
    time of reading features, measured here for one image."""
    rows = []
    for benchmark, region, images, factor in PUBLIC:
        layer = one["regions"].get(region)
        if layer not in one["layers"]:
            continue
        features = prod(one["layers"][layer]["shape"][1:])
        memory = one["memory"] + images * features * 4 * factor
        minutes = images * one["seconds_an_image"] / 60
        rows.append([identifier, benchmark, str(features), f"{memory / 2**30:.2f}", f"{minutes:.1f}"])
    return rows
