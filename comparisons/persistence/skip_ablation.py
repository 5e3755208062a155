"""What a block's skip carries: the network without it, block by block, and what a linear reader then still finds.

    full         x + f(x)
    skip off     f(x)              what the block passes on is put to 0
    block off    x                 what it adds is put to 0 (Veit et al. 2016, section 4)
    skip mean    mean(x) + f(x)    mean-ablation: the skip's variation goes, its mean stays
    write mean   x + mean(f)

BatchNorm is measured anew under each of them, also under `full`, over the same images (`recalibrated_batchnorm`): an
ablation must not be judged by statistics that no longer fit. The skip-carried share of a variable is
(D_full - D_skip-off) / D_full; the statistic is the share for simple minus that for complex targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError
from bridge.streams import Site
from comparisons.persistence.decodability import Decodability, ratio_of_losses
from comparisons.persistence.networks import decode, finite, of_family
from comparisons.persistence.presenting import half_a_patch, prepared_batches, present
from comparisons.persistence.variables import CATEGORY, ORIENTATION, Variable, edge_battery

if TYPE_CHECKING:
    import torch

    from bridge.models.base import Backbone
    from bridge.stimuli.stimulus_set import StimulusSet

CONDITIONS = ("full", "skip off", "block off", "skip mean", "write mean")
TARGETS: dict[str, Variable] = {"simple": ORIENTATION, "complex": CATEGORY}
CALIBRATION = 512
"""Images over which BatchNorm and the means are measured."""


@dataclass(frozen=True)
class Shares:
    """The skip-carried share of a simple and a complex target, and their difference, each (value, 95% interval).

    None where the full network reads too little of the target for a share of it.
    """

    simple: tuple[float, tuple[float, float]] | None
    complex: tuple[float, tuple[float, float]] | None
    difference: tuple[float, tuple[float, float]] | None

    def as_json(self) -> dict[str, Any]:
        """{name: [value, [lower, upper]] or None}."""
        return {name: [one[0], list(one[1])] if one else None for name, one in vars(self).items()}


def skip_carried(full: Mapping[str, Decodability], ablated: Mapping[str, Decodability]) -> Shares:
    """Shares from D of `simple` and `complex` in the full network and in the ablated one, with bootstrap intervals.

    Cells are drawn alike for both networks, so their errors are paired; the two targets are of different stimuli and
    drawn independently. A share needs a D_full whose 95% interval lies above 0. Shares above 1 are possible (D under
    ablation below 0).
    """
    parts = {name: ratio_of_losses(full[name], ablated[name]) for name in TARGETS}
    usable = {name: full[name].estimate.known and full[name].estimate.lower > 0 for name in TARGETS}
    shares = {name: (value, _interval(draws)) if usable[name] else None for name, (value, draws) in parts.items()}
    both = None
    if all(usable.values()):
        (simple, simple_draws), (complex_, complex_draws) = parts["simple"], parts["complex"]
        both = simple - complex_, _interval(simple_draws - complex_draws)
    return Shares(shares["simple"], shares["complex"], both)


def _interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)


def condition(backbone: Backbone, block: int, name: str, means: Mapping[str, NDArray]) -> AbstractContextManager[Any]:
    """One of `CONDITIONS` at a block as a context. Raises ConfigError for an unknown one."""
    from bridge.interventions import ablated, block_off, skip_off

    if name == "full":
        return nullcontext()
    if name == "skip off":
        return skip_off(backbone, [block])
    if name == "block off":
        return block_off(backbone, [block])
    if name in ("skip mean", "write mean"):
        site = f"blocks.{block}.hook_{name.split()[0]}"
        return ablated(backbone, site, mean=means)
    raise ConfigError(f"There is no ablation {name!r}; allowed: {', '.join(CONDITIONS)}.")


def skip_ablation(
    backbone: Backbone,
    blocks: Sequence[int],
    sites: Mapping[str, Site],
    *,
    scenes: int = 160,
    calibration: int = CALIBRATION,
    draws: int = 1000,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> list[dict[str, Any]]:
    """D of a simple and a complex target at the end of the stream under each condition, block by block.

    `sites` are the stream's resid_post sites in order; D is read at the last one, and at the ablated block's own output
    beside it. `agreement` is the share of drawn objects for which the output's largest value stays where it is in the
    full network (None for networks without one output a class): what the ablation costs the network's own task.

    Returned is one row a block: {block, depth, site, conditions: {name: {end: .., block: .., agreement}}, shares}.
    Raises ConfigError for a block that is not there.
    """
    from bridge.interventions import site_means
    from bridge.models.controls import recalibrated_batchnorm
    from bridge.passes import placed

    preprocessing = backbone.preprocessing
    assert preprocessing is not None
    size = preprocessing.resize or preprocessing.size
    stimuli = edge_battery(size, half_a_patch(backbone, sites), seed, scenes).load()
    shown = {name: of_family(stimuli, one.family) for name, one in TARGETS.items()}
    quarter = np.isin(shown["simple"].table["phase"].to_numpy(float), (0, 90, 180, 270))
    shown["simple"] = shown["simple"].select(np.flatnonzero(quarter))
    end = list(sites)[-1]
    rows: list[dict[str, Any]] = []
    with placed(backbone, device, False):
        inputs = {name: list(prepared_batches(backbone, one, device=device)) for name, one in shown.items()}
        calibrating = _calibration(backbone, size, calibration, seed, device)
        written = [f"blocks.{block}.hook_{kind}" for block in blocks for kind in ("skip", "write")]
        known = [name for name in written if name in backbone.sites]
        means = site_means(backbone, calibrating, known) if known else {}

        def measured(
            block: int, name: str, at: Iterable[str]
        ) -> tuple[dict[str, dict[str, Decodability]], NDArray | None]:
            wanted = {site: backbone.sites[site] for site in dict.fromkeys((*at, end))}
            with ExitStack() as changed:
                changed.enter_context(condition(backbone, block, name, means))
                changed.enter_context(recalibrated_batchnorm(backbone, calibrating))
                values = {target: present(backbone, inputs[target], wanted) for target in TARGETS}
                answers = top_answers(backbone, inputs["complex"])
            found = {
                site: {
                    target: decode(one, shown[target].table, values[target][site].tokens, draws=draws, seed=seed)
                    for target, one in TARGETS.items()
                }
                for site in wanted
            }
            return found, answers

        outputs = {block: f"blocks.{block}.hook_resid_post" for block in blocks}
        full, whole = measured(0, "full", outputs.values())
        for done, (block, own) in enumerate(outputs.items()):
            row: dict[str, Any] = {
                "block": block,
                "depth": backbone.sites[own].depth,
                "site": f"blocks.{block}.hook_skip",
                "conditions": {},
                "shares": {},
            }
            for number, name in enumerate(CONDITIONS):
                found, answers = (full, whole) if name == "full" else measured(block, name, [own])
                agreement = None if whole is None or answers is None else float((whole == answers).mean())
                places = {"end": found[end], "block": found[own]}
                row["conditions"][name] = {
                    **{place: {target: _plain(one) for target, one in of.items()} for place, of in places.items()},
                    "agreement": agreement,
                }
                if name in ("skip off", "skip mean"):
                    row["shares"][name] = skip_carried(full[end], found[end]).as_json()
                if progress is not None:
                    progress((done + (number + 1) / len(CONDITIONS)) / len(blocks))
            rows.append(row)
    return rows


def _plain(found: Decodability) -> dict[str, float | None]:
    return {"d": finite(found.r2), "se": finite(found.se)}


def _calibration(backbone: Backbone, size: int, count: int, seed: int, device: str) -> list[torch.Tensor]:
    """Prepared batches of drawn textures and scenes on which nothing is measured but statistics."""
    from bridge.stimuli.battery import Battery

    # A seed of its own: no stimulus of the measurement among them.
    drawn: StimulusSet = Battery(
        name="calibration",
        families=("textures", "scenes"),
        size=size,
        limit={"textures": count // 4, "scenes": count - count // 4},
        seed=seed + 7919,
    ).load()
    return list(prepared_batches(backbone, drawn, device=device))


def top_answers(backbone: Backbone, batches: Iterable[torch.Tensor]) -> NDArray | None:
    """The place of the largest output for each image, [n]; None for a network whose output is no [batch, class]."""
    import torch

    found = []
    with torch.inference_mode():
        for batch in batches:
            output = backbone.forward(batch)
            output = getattr(output, "logits", output)
            if not isinstance(output, torch.Tensor) or output.ndim != 2:
                return None
            found.append(output.argmax(dim=1).cpu().numpy())
    return np.concatenate(found)
