"""phi and D by region: what the verdict on recordings stands on, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PANELS = (("D", "D of orientation", 0.3), ("phi", "phi, unique simple share", 0.04))
"""(key, label, bound of the rule)."""


def draw_by_region(curves: Mapping[str, Any], path: Path) -> bool:
    """Draw `phi` and `D` of `regions` with 95% intervals and the rule's bound to a PNG; False where there is neither.

    `curves` is what `comparisons.persistence.recorded_stages.as_curves` gives.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [panel for panel in PANELS if curves[panel[0]]]
    if not shown:
        return False
    regions: Sequence[str] = curves["regions"]
    figure = Figure(figsize=(3.3 * len(shown), 2.6), dpi=180, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (key, label, bound) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        found = curves[key]
        at = [place for place, region in enumerate(regions) if region in found]
        values = [found[regions[place]] for place in at]
        low, high = ([abs(v[0] - v[end]) for v in values] for end in (1, 2))
        axes.axhline(0, color="0.75", lw=0.8)
        axes.axhline(bound, color="#b3470e", lw=0.9, ls=(0, (4, 3)))
        axes.errorbar(at, [v[0] for v in values], [low, high], fmt="o-", color="#0b5a8a", ms=4, lw=1.3, capsize=2.5)
        if key == "phi" and any(v[3] > 0 for v in values):
            axes.plot(at, [v[3] for v in values], "_", color="#b3470e", ms=12, mew=1.6)
        axes.set_xticks(range(len(regions)), regions)
        axes.set_xlim(-0.4, len(regions) - 0.6)
        axes.set_ylabel(label, fontsize=8.5)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if curves["simulated"]:
            axes.set_title("SIMULATED", loc="right", fontsize=7, color="#b3470e", fontweight="bold")
    figure.savefig(path, metadata={"Software": None})
    return True
