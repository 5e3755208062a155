"""A config's results without the report: what its stages leave, at a fraction of the time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.store import Store
from comparisons.config import parse
from comparisons.plan import make_plan
from comparisons.results import Result, Verdict
from comparisons.running import Silent, execute


@dataclass
class Made:
    """Results, verdicts and what was dropped, with the folder of every stage by id."""

    folders: Mapping[str, Path]
    results: list[Result] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def made(content: Mapping[str, Any]) -> Made:
    """Execute the plan of a config in this test's own cache."""
    store = Store()
    plan = make_plan(parse(content), store)
    paths, _ = execute(plan, store, Silent())
    found = Made(paths)
    for name in plan.results:
        values = json.loads((paths[name] / "results.json").read_text())
        found.results += [Result.model_validate(one) for one in values["results"]]
        found.verdicts += [Verdict.model_validate(one) for one in values.get("verdicts", [])]
        found.dropped += values.get("dropped", [])
    return found
