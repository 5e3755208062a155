"""What the probes of one model leave: results, a table of features, curves, pictures, and what was left out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comparisons.features import labelled
from comparisons.probing.chosen import Chosen

if TYPE_CHECKING:
    import pandas as pd

    from comparisons.results import Exhibit

DRAWN, GRATINGS = "drawn images", "gratings"


@dataclass
class Found:
    """Results as plain values, one table row a feature, all arrays by SITE|field, and what was left out.

    `curves` are JSON values by name, for what is more than one number a site. `pictures` are PNGs and SVGs by file
    name.
    """

    about: dict[str, Any]
    results: list[dict[str, Any]] = field(default_factory=list)
    tables: list[pd.DataFrame] = field(default_factory=list)
    arrays: dict[str, NDArray] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)
    exhibits: list[Exhibit] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.about["model"])

    @property
    def slug(self) -> str:
        """The model's name as part of a file's name."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.model).strip("-.")

    @property
    def table(self) -> pd.DataFrame:
        """All rows, site by site."""
        import pandas as pd

        return pd.concat(self.tables, ignore_index=True) if self.tables else pd.DataFrame()

    def say(
        self,
        one: Chosen,
        measure: str,
        value: float,
        n: int,
        shown: str,
        *notes: str,
        what: str = "features",
        p: float | None = None,
    ) -> None:
        """Add a result: `shown` says what was presented or how it was read, `what` is the variable it is about. Unless
        there is no number: then why not is said."""
        if not math.isfinite(value):
            named = measure if what == "features" else f"{measure}, {what}"
            self.dropped.append(f"{self.model} {one.name}: no number for {named} ({'; '.join(notes)})")
            return
        self.results.append(
            {
                **self.about,
                **labelled(self.model, one.name),
                "measure": measure,
                "depth": one.site.depth,
                "recordings": shown,
                "region": what,
                "estimate": float(value),
                "p": p,
                "n_stimuli": n,
                "notes": list(notes),
            }
        )

    def keep(self, one: Chosen, values: Mapping[str, NDArray]) -> None:
        """Numbers of each feature, for the table and the arrays."""
        import pandas as pd

        for name, array in values.items():
            self.arrays[f"{one.name}|{name}"] = np.asarray(array)
        known = next((t for t in self.tables if t["site"].iloc[0] == one.name), None)
        frame = pd.DataFrame(dict(values))
        if known is not None:
            for column in frame:
                known[column] = frame[column].to_numpy()
            return
        frame.insert(0, "feature", np.arange(len(frame)))
        frame.insert(0, "site", one.name)
        frame.insert(0, "model", self.model)
        self.tables.append(frame)

    def picture(self, exhibit: Exhibit, png: bytes, svg: bytes = b"") -> None:
        """Add a picture, under the exhibit's file name, and the same as SVG where there is such a drawing."""
        self.exhibits.append(exhibit)
        self.pictures[exhibit.file] = png
        if exhibit.drawing:
            self.pictures[exhibit.drawing] = svg
