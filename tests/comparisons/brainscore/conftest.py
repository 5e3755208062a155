"""Brain-Score keeps results by name in one folder a process: here each test has none of them."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESULTCACHING_DISABLE", "1")
