"""The stages of `kind: persistence` for networks, and how its numbers become results and verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.store import write_atomically
from bridge.streams import Site
from comparisons.persistence.networks import decode_baselines, decode_network
from comparisons.persistence.survival_results import ablation_results, in_words, survival_results
from comparisons.persistence.variables import ORIENTATION
from comparisons.verdicts.evidence import Estimate
from comparisons.verdicts.persistence import SiteD, network_persistence

if TYPE_CHECKING:
    from bridge.models import ModelSpec
    from comparisons.kinds.persistence import PersistenceComparison
    from comparisons.persistence.matched_latents import Seeded
    from comparisons.plan import Planner, Progress
    from comparisons.results import Verdict

CURVES, SURVIVAL, ABLATION = "curves.json", "survival.json", "ablation.json"
KIND = "persistence"
REGION = "network"


@dataclass(frozen=True)
class Parts:
    """The stages of one model, by id; None where there is none."""

    model: ModelSpec
    curves: str
    survival: tuple[str, ...]
    ablation: str | None


def add_networks(planner: Planner, spec: PersistenceComparison) -> list[str]:
    """The stages of every model and of what stands beside them; the id of the one that holds the results.

    Raises ConfigError for sites that a model does not have.
    """
    beside = _add_baselines(planner, spec) if spec.baselines else None
    parts = []
    for model in planner.config.models:
        sites = planner.chosen(model, spec.sites)
        curves = _add_curves(planner, spec, model, sites)
        survival = _add_survival(planner, spec, model) if spec.survival else ()
        ablation = _add_ablation(planner, spec, model, sites) if spec.skip_ablation else None
        parts.append(Parts(model, curves, survival, ablation))
    return [_add_results(planner, spec, parts, beside)]


def _options(spec: PersistenceComparison, seed: int) -> dict[str, Any]:
    names = ("scenes", "gratings", "permutations", "draws")
    return {**{name: getattr(spec, name) for name in names}, "seed": seed}


SHOWN = ("bridge.stimuli", "bridge.models")
"""The code that presented images depend on."""
MEASURED = ("comparisons.persistence.networks", *SHOWN)
LIBRARIES = ("numpy", "scipy", "torch")


def _add_curves(planner: Planner, spec: PersistenceComparison, model: ModelSpec, sites: Mapping[str, Site]) -> str:
    """D along one model's stream."""
    config = planner.config
    options = _options(spec, config.seed)

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        backbone = model.load()
        found: dict[str, Any] = {"points": [], "transfer": [], "dropped": [], "missing": ""}
        if backbone.preprocessing is None:
            found["missing"] = f"{model.name} reads texts, and gratings are images"
        else:
            curves = decode_network(
                backbone, sites, device=config.capture.resolved_device(), workers=config.capture.workers,
                progress=progress, **options,
            )  # fmt: skip
            points = [one.as_json() for one in curves.points]
            found |= {"points": points, "transfer": curves.transfer, "dropped": curves.dropped}
        write_atomically(folder / CURVES, json.dumps(found))

    inputs = {"model": model.fingerprint(), "sites": list(sites), **options}
    return planner.add(
        f"persistence {model.name}",
        "persistence-curves",
        inputs,
        build,
        libraries=LIBRARIES,
        code=MEASURED,
        on_device=True,
    )


def _add_baselines(planner: Planner, spec: PersistenceComparison) -> str:
    """D of what stands beside the networks."""
    options = _options(spec, planner.config.seed)

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        found = decode_baselines(spec.baselines, **options)
        write_atomically(
            folder / CURVES, json.dumps({name: [one.as_json() for one in points] for name, points in found.items()})
        )

    inputs = {"baselines": list(spec.baselines), **options}
    return planner.add(
        "persistence of pixels and filters", "persistence-baselines", inputs, build, libraries=LIBRARIES, code=MEASURED
    )


def _add_survival(planner: Planner, spec: PersistenceComparison, model: ModelSpec) -> tuple[str, ...]:
    """Survival of the features of every `saes` entry that has three seeds or more at two sites of the model or more."""
    from comparisons.persistence.matched_latents import seeded_dictionaries

    return tuple(_add_entry(planner, spec, model, entry) for entry in seeded_dictionaries(planner, model))


def _add_entry(planner: Planner, spec: PersistenceComparison, model: ModelSpec, entry: Seeded) -> str:
    from comparisons.codes import codes_stage

    config = planner.config
    codes = {name: codes_stage(planner, model, name) for name in entry.stages}
    needs = tuple(dict.fromkeys((*entry.stages.values(), *codes.values())))

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        from comparisons.feature_simplicity import feature_simplicity, pre_activations
        from comparisons.persistence.matched_latents import coded, matched_latents
        from comparisons.persistence.survival_results import summarised

        seeds = [
            [coded(needed[entry.stages[f"{name}/{own}"]] / f"{name}/{own}", needed[codes[f"{name}/{own}"]], site)
             for own in entry.names]
            for name, site in entry.sites.items()
        ]  # fmt: skip
        first = {site: pre_activations(own[0].sae) for site, own in zip(entry.sites, seeds, strict=True)}
        simple = feature_simplicity(
            model.load(), first, images=spec.simplicity_images, image_seed=spec.image_seed, seed=config.seed,
            device=config.capture.resolved_device(), progress=lambda share: progress(0.5 * share),
        )  # fmt: skip
        matched = matched_latents(
            seeds, list(entry.sites.values()), [simple[site] for site in entry.sites], seed=config.seed,
            progress=lambda share: progress(0.5 + 0.5 * share),
        )  # fmt: skip
        about = {"dictionary": entry.names[0], "seeds": len(entry.names), "sites": list(entry.sites)}
        write_atomically(folder / SURVIVAL, json.dumps({**about, **summarised(matched)}))

    inputs = {
        "model": model.name,
        "dictionaries": list(entry.stages),
        "images": spec.simplicity_images,
        "image_seed": spec.image_seed,
        "seed": config.seed,
    }
    return planner.add(
        f"survival {model.name} {entry.names[0]}",
        "persistence-survival",
        inputs,
        build,
        needs=needs,
        libraries=(*LIBRARIES, "lifelines"),
        code=("comparisons.persistence.survival_results", "comparisons.feature_simplicity", *SHOWN),
        on_device=True,
    )


def _add_ablation(
    planner: Planner, spec: PersistenceComparison, model: ModelSpec, sites: Mapping[str, Site]
) -> str | None:
    """Skip ablation of every block; None for networks whose blocks pass nothing on."""
    config = planner.config
    known = planner.sites(model)
    blocks = [site.block for site in sites.values() if site.kind == "resid_post"]
    blocks = [block for block in blocks if f"blocks.{block}.hook_skip" in known]
    if not blocks:
        return None

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        from comparisons.persistence.skip_ablation import skip_ablation

        backbone = model.load()
        rows: list[dict[str, Any]] = []
        missing = ""
        if backbone.preprocessing is None:
            missing = f"{model.name} reads texts, and gratings are images"
        elif all(backbone.blocks[block].plain for block in blocks):
            missing = f"{model.name} passes nothing on: it has no skip to take away"
        else:
            rows = skip_ablation(
                backbone, blocks, sites, draws=spec.draws, seed=config.seed,
                device=config.capture.resolved_device(), progress=progress,
            )  # fmt: skip
        write_atomically(folder / ABLATION, json.dumps({"rows": rows, "missing": missing}))

    inputs = {"model": model.fingerprint(), "blocks": blocks, "sites": list(sites), "draws": spec.draws,
              "seed": config.seed}  # fmt: skip
    return planner.add(
        f"skip ablation {model.name}",
        "persistence-ablation",
        inputs,
        build,
        libraries=LIBRARIES,
        code=("comparisons.persistence.skip_ablation", *SHOWN),
        on_device=True,
    )


# -------------------------------------------------------------------------------------------------------- results


def _add_results(planner: Planner, spec: PersistenceComparison, parts: list[Parts], beside: str | None) -> str:
    """Results of all models and baselines, the curves together, and a verdict a network."""
    needs = [beside] if beside else []
    for part in parts:
        needs += [part.curves, *part.survival, *([part.ablation] if part.ablation else [])]

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        keys = {stage: "/".join(needed[stage].parts[-2:]) for stage in needs}
        baselines = json.loads((needed[beside] / CURVES).read_text()) if beside else {}
        curves = {part.model.name: json.loads((needed[part.curves] / CURVES).read_text()) for part in parts}
        results: list[dict[str, Any]] = []
        dropped: list[str] = []
        seed = planner.config.seed
        for name, points in baselines.items():
            about = {"model": name, "role": "reference", "artefacts": [keys[str(beside)]], "seed": seed}
            found, without = point_results(points, about, spec.draws)
            results, dropped = results + found, dropped + without
        together: dict[str, Any] = {"baselines": baselines, "models": []}
        for part in parts:
            model, own = part.model, curves[part.model.name]
            about = {"model": model.name, "role": model.shown_as, "seed": seed}
            found, without = point_results(own["points"], {**about, "artefacts": [keys[part.curves]]}, spec.draws)
            results, dropped = results + found, dropped + without + own["dropped"]
            results += transfer_results(own, {**about, "artefacts": [keys[part.curves]]})
            entry: dict[str, Any] = {
                "name": model.name,
                "role": model.shown_as,
                **own,
                "survival": [],
                "ablation": None,
            }
            for stage in part.survival:
                lasting = json.loads((needed[stage] / SURVIVAL).read_text())
                found, without = survival_results(lasting, {**about, "artefacts": [keys[stage]]})
                results, dropped = results + found, dropped + without
                entry["survival"].append(lasting)
            if part.ablation:
                lost = json.loads((needed[part.ablation] / ABLATION).read_text())
                found, without = ablation_results(lost, {**about, "artefacts": [keys[part.ablation]]}, spec.draws)
                results, dropped = results + found, dropped + without
                entry["ablation"] = lost
            together["models"].append(entry)
        told = verdicts(together)
        write_atomically(folder / CURVES, json.dumps(together))
        content = {"results": results, "verdicts": [one.model_dump() for one in told], "dropped": dropped}
        write_atomically(folder / "results.json", json.dumps(content))

    inputs = {"models": [[part.model.name, part.model.shown_as] for part in parts], "draws": spec.draws}
    return planner.add(
        "persistence",
        KIND,
        inputs,
        build,
        needs=tuple(needs),
        code=(__name__, "comparisons.persistence.survival_results", "comparisons.verdicts.persistence"),
    )


def point_results(
    points: list[dict[str, Any]], about: Mapping[str, Any], draws: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """Results of a curve's points, and what has no number. Of what is read after pooling only the primary variable is a
    result; the rest stands in `curves.json`."""
    results, dropped = [], []
    for one in points:
        if one["view"] == "pooled" and one["variable"] != ORIENTATION.name:
            continue
        pooled = ", pooled" if one["view"] == "pooled" else ""
        measure = f"D of {one['variable']}{pooled}"
        if one["d"] is None:
            dropped.append(f"{about['model']} {one['site'] or ''}: no {measure}: no unit is finite")
            continue
        floor = f"95% of label permutations below {one['floor']:.3f}" if one["floor"] is not None else "no permutations"
        results.append(
            {
                "comparison": KIND,
                "measure": measure,
                **about,
                "site": one["site"],
                "depth": one["depth"],
                "recordings": one["family"],
                "region": REGION,
                "estimate": one["d"],
                "interval": one["interval"],
                "p": one["p"],
                "n_stimuli": one["n_stimuli"],
                "n_subjects": 1,
                "n_draws": draws,
                "notes": [
                    f"R2 of a ridge probe on {one['components']} components, tested on {one['held_as']} left out",
                    floor,
                    "interval: 1.96 standard errors, from resampled cells of the design",
                ],
            }
        )  # fmt: skip
    return results, dropped


def transfer_results(curves: Mapping[str, Any], about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the orientation probe of each basis's first site reads at its later sites, without a new fit."""
    depth = {one["site"]: one["depth"] for one in curves["points"]}
    n = next((one["n_stimuli"] for one in _primary(curves["points"])), 0)
    results = []
    for one in curves["transfer"]:
        for place, (site, value) in enumerate(zip(one["sites"], one["matrix"][0], strict=True)):
            if place == 0 or value is None:
                continue
            results.append(
                {
                    **about,
                    "comparison": KIND,
                    "measure": "orientation transferred (R2)",
                    "site": site,
                    "depth": depth[site],
                    "recordings": ORIENTATION.family,
                    "region": REGION,
                    "estimate": value,
                    "n_stimuli": n,
                    "n_subjects": 1,
                    "notes": [
                        f"a probe fitted at {one['sites'][0]}, read without a new fit; where it was fitted, R2 over "
                        f"frequencies left out is {one['matrix'][0][0]:.3f}; the whole matrix stands in curves.json"
                    ],
                }
            )
    return results


def verdicts(together: Mapping[str, Any]) -> list[Verdict]:
    """A verdict a network, with what stands beside it in words: the other networks at their end, and the baselines."""
    ends = {one["name"]: _end(one["points"]) for one in together["models"]}
    baselines = [
        f"{name} {_shown(point)}"
        for name, points in together["baselines"].items()
        for point in points
        if point["variable"] == ORIENTATION.name and point["d"] is not None
    ]
    found = []
    for one in together["models"]:
        others = [
            f"{other['name']} ({other['role']}) {_shown(point)}"
            for other in together["models"]
            if other["name"] != one["name"] and (point := ends[other["name"]]) is not None
        ]
        beside = []
        if one["role"] == "untrained":
            beside.append("its weights are drawn at random: this is what the architecture carries by itself")
        if others:
            beside.append("beside it, D at their last site, never subtracted: " + "; ".join(others))
        if baselines:
            beside.append("without a network: " + "; ".join(baselines))
        beside += filter(None, map(in_words, one["survival"]))
        curve = [
            SiteD(point["site"], point["depth"], Estimate(point["d"], point["se"]))
            for point in _primary(one["points"])
            if point["d"] is not None and point["se"] is not None
        ]
        found.append(network_persistence(one["name"], curve, beside=beside, missing=one["missing"]))
    return found


def _primary(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points that the verdict is made of: orientation, read from tokens."""
    return [one for one in points if one["variable"] == ORIENTATION.name and one["view"] == "tokens"]


def _end(points: list[dict[str, Any]]) -> dict[str, Any] | None:
    own = [one for one in _primary(points) if one["d"] is not None]
    return max(own, key=lambda one: one["depth"], default=None)


def _shown(point: Mapping[str, Any]) -> str:
    return str(Estimate(point["d"], point["se"]))
