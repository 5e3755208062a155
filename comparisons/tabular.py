"""A run's results as tables and arrays: pandas, xarray, rsatoolbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from rsatoolbox.rdm import RDMs

    from comparisons.results import RunResults


def numbers(found: RunResults) -> pd.DataFrame:
    """A row a result; intervals and ceilings as columns `lower`, `upper`, `ceiling_lower`, `ceiling_upper`."""
    import pandas as pd

    rows = []
    for one in found.results:
        row = one.model_dump()
        for name, ends in (("", row.pop("interval")), ("ceiling_", row.pop("ceiling"))):
            row[f"{name}lower"], row[f"{name}upper"] = ends or (None, None)
        rows.append(row)
    return pd.DataFrame(rows)


def verdicts(found: RunResults) -> pd.DataFrame:
    """A row a verdict, its reasons as one text."""
    import pandas as pd

    from comparisons.results import Verdict

    rows = [{**one.model_dump(), "reasons": "; ".join(one.reasons)} for one in found.verdicts]
    return pd.DataFrame(rows, columns=[name for name in Verdict.model_fields if name != "numbers"])


def grid(found: RunResults, measure: str) -> xr.DataArray:
    """The estimates of one measure, [model, site, region], NaN where there is none; `region` is RECORDINGS, REGION.

    Sites stand in the order of the stream. Raises InputError for a measure that the run does not have, and one of which
    a site has several numbers.
    """
    import xarray as xr

    known = sorted({one.measure for one in found.results})
    if measure not in known:
        raise InputError(f"The run has no measure {measure!r}; it has {', '.join(known) or 'none'}.")
    own = [one for one in found.results if one.measure == measure and one.site is not None]
    sites = list(dict.fromkeys(one.site if one.dictionary is None else f"{one.site}/{one.dictionary}" for one in own))
    models = list(dict.fromkeys(one.model for one in own))
    regions = list(dict.fromkeys(f"{one.recordings}, {one.region}" for one in own))
    empty = [[[float("nan")] * len(regions) for _ in sites] for _ in models]
    array = xr.DataArray(
        empty,
        dims=("model", "site", "region"),
        coords={"model": models, "site": sites, "region": regions},
        name=measure,
    )
    seen = set()
    for one in own:
        site = one.site if one.dictionary is None else f"{one.site}/{one.dictionary}"
        at = {"model": one.model, "site": site, "region": f"{one.recordings}, {one.region}"}
        if (key := tuple(at.values())) in seen:
            raise InputError(f"{measure} of {one.model} at {site} has several numbers; take them from `table()`.")
        seen.add(key)
        array.loc[at] = one.estimate
    return array


def rdms(found: RunResults, store: Path | None = None) -> RDMs:
    """The RDMs of all sites that `kind: rsa` compared, as rsatoolbox's `RDMs`: descriptors `model` and `site` of each,
    `stimulus_id` of its patterns. Sites with patterns of no RDM are left out.

    Read from the cache (`store`, default: the user's), which must hold the run's artefacts still. Raises InputError
    where it does not, or the run compared no RDMs.
    """
    import numpy as np
    from rsatoolbox.rdm import RDMs
    from rsatoolbox.rdm import concat as joined

    from bridge.store import cache_folder

    made = found.provenance["artefacts"].items()
    folders = {key: stage.partition("rdms ")[2] for stage, key in made if key.startswith("rdms/")}
    if not folders:
        raise InputError("The run compared no RDMs; they come from `kind: rsa`.")
    root, parts = store or cache_folder(), []
    for key, model in folders.items():
        folder = root / key
        if not (folder / "rdms.npz").is_file():
            raise InputError(f"{folder} is gone, and with it the RDMs of {model}; run the config again.")
        ids = json.loads((folder / "rdms.json").read_text())["ids"]
        with np.load(folder / "rdms.npz", allow_pickle=False) as values:
            kept = values.files
            if not kept:
                continue
            parts.append(
                RDMs(
                    np.stack([values[site] for site in kept]),
                    dissimilarity_measure="correlation",
                    rdm_descriptors={"model": [model] * len(kept), "site": kept},
                    pattern_descriptors={"stimulus_id": ids},
                )
            )
    return joined(*parts)


def as_html(found: RunResults) -> str:
    """What a notebook shows of a run: the question, the verdicts, and the best site by measure and region."""
    from html import escape

    from comparisons.report.summary import sentences

    parts = [f"<h3>{escape(found.title)}</h3>", f"<p>{escape(found.question)}</p>" if found.question else ""]
    if found.verdicts:
        shown = verdicts(found)[["prediction", "subject", "answer", "simulated"]]
        shown["simulated"] = shown["simulated"].map({True: "SIMULATED", False: ""})
        parts.append(shown.to_html(index=False, border=0))
    parts += [f"<p>{escape(one)}</p>" for one in sentences(found)]
    return "".join(parts)
