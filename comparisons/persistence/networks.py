"""D along the stream of a network, variable by variable, with the probe-transfer matrix; and of what stands beside it.

Curves are plain JSON values, `Curve.as_json`, so that an artefact holds them and a report reads them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.streams import Site
from comparisons.baselines import BASELINE_SIZE, baseline, small_greys
from comparisons.persistence.decodability import COMPONENTS, Decodability, Standardised, decodability, standardised
from comparisons.persistence.presenting import Presented, half_a_patch, prepared_batches, present
from comparisons.persistence.variables import EDGES, OBJECTS, ORIENTATION, Variable, cells_of, edge_battery

if TYPE_CHECKING:
    import pandas as pd

    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet

VIEWS = ("tokens", "pooled")
"""Probes read the tokens of a grid of places (the stream itself), or their mean over places."""


@dataclass(frozen=True)
class Point:
    """D of one variable at one site (None for a baseline), from one view of it."""

    site: str | None
    depth: float | None
    variable: str
    view: str
    simple: bool
    family: str
    held_as: str
    d: float
    se: float
    interval: tuple[float, float]
    floor: float
    """95% of label permutations lie below it; NaN without permutations."""
    p: float
    n_stimuli: int
    components: int
    per_condition: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """As JSON values; what is not a number is None."""
        values = {**asdict(self), "interval": list(self.interval)}
        for name in ("d", "se", "floor", "p"):
            values[name] = finite(values[name])
        values["interval"] = values["interval"] if np.isfinite(self.interval).all() else None
        return values


def finite(value: float) -> float | None:
    """A number, or None for what is none (JSON has no NaN)."""
    return float(value) if np.isfinite(value) else None


def point(variable: Variable, view: str, found: Decodability, site: Site | None = None) -> Point:
    """What `decodability` found, with what it is of."""
    estimate = found.estimate
    return Point(
        site=site.name if site else None,
        depth=site.depth if site else None,
        variable=variable.name,
        view=view,
        simple=variable.simple,
        family=variable.family,
        held_as=variable.held_as,
        d=found.r2,
        se=found.se,
        interval=(estimate.lower, estimate.upper),
        floor=float(np.quantile(found.floor, 0.95)) if len(found.floor) else float("nan"),
        p=found.p,
        n_stimuli=found.n_stimuli,
        components=found.components,
        per_condition=found.per_condition,
    )


def decode(variable: Variable, table: pd.DataFrame, values: NDArray | Standardised, **options: Any) -> Decodability:
    """D of a variable from values [n, d] of the stimuli of its family, in the order of `table`."""
    return decodability(
        values,
        variable.target(table),
        held=variable.held(table),
        apart=table[variable.apart].to_numpy() if variable.apart else None,
        cells=cells_of(variable, table),
        **options,
    )


@dataclass(frozen=True)
class NetworkCurves:
    """D along a network's stream, the transfer of orientation probes within each basis, and what was left out."""

    points: list[Point]
    transfer: list[dict[str, Any]]
    """{basis, sites, matrix}: R2 of a probe fitted at sites[j] and read at sites[k], over frequencies left out."""
    dropped: list[str]


def decode_network(
    backbone: Backbone,
    sites: Mapping[str, Site],
    *,
    scenes: int,
    gratings: int | None = None,
    variables: Sequence[Variable] = (*EDGES, *OBJECTS),
    permutations: int = 20,
    draws: int = 1000,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 0,
    progress: Callable[[float], None] | None = None,
) -> NetworkCurves:
    """D of every variable at every site, from tokens and pooled; stimuli are drawn at the network's own input size.

    Raises ConfigError where that cannot carry the gratings.
    """
    from bridge.passes import placed
    from comparisons.characterise import aliasing

    preprocessing = backbone.preprocessing
    assert preprocessing is not None
    size = preprocessing.resize or preprocessing.size
    stimuli = edge_battery(size, half_a_patch(backbone, sites), seed, scenes, gratings).load()
    warned = aliasing(stimuli.table["cycles"].dropna().to_numpy(float), preprocessing, size)
    dropped = [f"{backbone.name}: {warned}"] if warned else []
    options = {"permutations": permutations, "draws": draws, "seed": seed}
    points: list[Point] = []
    transfer: list[dict[str, Any]] = []
    families = dict.fromkeys(one.family for one in variables if one.family != "scenes" or scenes)
    with placed(backbone, device, False):
        for number, family in enumerate(families):
            shown = of_family(stimuli, family)
            values = present(backbone, prepared_batches(backbone, shown, device=device, workers=workers), sites)
            own = [one for one in variables if one.family == family]
            for done, (name, found) in enumerate(values.items()):
                points += [
                    point(one, view, decode(one, shown.table, array, **options), sites[name])
                    for view, array in ((view, standardised(array)) for view, array in views(found))
                    for one in own
                ]
                if progress is not None:
                    progress((number + (done + 1) / len(values)) / len(families))
            if family == ORIENTATION.family:
                transfer = transferred(values, sites, shown.table)
    return NetworkCurves(points, transfer, dropped)


def views(found: Presented) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(view, values) of a site; one view where a site has a single token."""
    yield "tokens", found.tokens
    if found.pooled.shape != found.tokens.shape:
        yield "pooled", found.pooled


def of_family(stimuli: StimulusSet, family: str) -> StimulusSet:
    """The stimuli of one family of a battery."""
    return stimuli.select(np.flatnonzero((stimuli.table["family"] == family).to_numpy()))


def transferred(
    values: Mapping[str, Presented], sites: Mapping[str, Site], table: pd.DataFrame
) -> list[dict[str, Any]]:
    """The probe-transfer matrix of orientation for the sites of each basis (two or more of one basis, one width)."""
    from probes.decoding import transfer_matrix

    groups: dict[str, list[str]] = {}
    for name in values:
        groups.setdefault(sites[name].basis, []).append(name)
    found = []
    for basis, names in groups.items():
        if len(names) < 2:
            continue
        arrays = [values[name].tokens for name in names]
        matrix = transfer_matrix(arrays, ORIENTATION.target(table), ORIENTATION.held(table), COMPONENTS)
        found.append({"basis": basis, "sites": names, "matrix": [[finite(v) for v in row] for row in matrix]})
    return found


# ------------------------------------------------------------------------------------------------------ baselines


def decode_baselines(
    names: Sequence[str],
    *,
    scenes: int,
    gratings: int | None = None,
    variables: Sequence[Variable] = (*EDGES, *OBJECTS),
    permutations: int = 20,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, list[Point]]:
    """D of every variable from pixels, a Gabor bank, random projections and random convolutions, by name."""
    stimuli = edge_battery(BASELINE_SIZE, 0, seed, scenes, gratings).load()
    found: dict[str, list[Point]] = {name: [] for name in names}
    options = {"permutations": permutations, "draws": draws, "seed": seed}
    for family in dict.fromkeys(one.family for one in variables if one.family != "scenes" or scenes):
        shown = of_family(stimuli, family)
        greys = small_greys(shown)
        for name in names:
            values = standardised(baseline(name, greys, seed))
            found[name] += [
                point(one, "tokens", decode(one, shown.table, values, **options))
                for one in variables
                if one.family == family
            ]
    return found
