"""Brain-Score keeps results by name in one folder a process: here each test has none of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESULTCACHING_DISABLE", "1")


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """A config with dictionaries of two sites of the embedded ResNet, in folders."""
    from submissions import EARLY, LATE, STIMULI, dictionary

    import saes

    for site, d in ((EARLY, 32), (LATE, 64)):
        saes.save(dictionary(site, d), tmp_path / "saes" / site)
    load = {"kind": "load", "least_explained": -1}
    return {
        "name": "study",
        "stimuli": copy.deepcopy(STIMULI),
        "models": [{"kind": "demo", "name": "net"}],
        "saes": [
            {**load, "name": "early", "path": str(tmp_path / "saes" / EARLY), "site": EARLY},
            {**load, "name": "late", "path": str(tmp_path / "saes" / LATE), "site": LATE},
        ],
        "submission": {
            "identifier": "net-latents",
            "features": ["sae"],
            "regions": {"V1": EARLY, "V2": EARLY, "V4": LATE, "IT": LATE},
        },
    }


@pytest.fixture
def plugin(content: dict[str, Any], tmp_path: Path) -> Path:
    from submissions import exported

    exported(content, tmp_path / "net_latents")
    return tmp_path / "net_latents"
