"""Fixtures that every floor's tests share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_stand_in import Hub

# Real data lie beside the checkout where they were laid out for the tests.
_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
if "VENTRAL_DATA" not in os.environ and _BESIDE.is_dir():
    os.environ["VENTRAL_DATA"] = str(_BESIDE)
# Small arrays: more threads than one only wait for each other. Must be set before any library starts its own.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has an empty cache of its own: nothing is read from or written to the user's."""
    monkeypatch.setenv("VENTRAL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data that VENTRAL_DATA names.

    Without VENTRAL_DATA the test is skipped. With it, missing data are a failure: a check that was meant to run did
    not.
    """
    given = os.environ.get("VENTRAL_DATA")
    if not given:
        pytest.skip("real data: set VENTRAL_DATA to the folder that holds them")
    folder = Path(given)
    if not folder.is_dir():
        pytest.fail(f"VENTRAL_DATA names {folder}, which is not a folder")
    return folder


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Where real data are expected (VENTRAL_DATA set), a skipped real-data test is a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("VENTRAL_DATA") and item.get_closest_marker("data"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped although VENTRAL_DATA is set: {report.longrepr}"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in for the hub that `huggingface_hub` talks to, with an empty cache and nobody logged in."""
    from huggingface_hub import constants, file_download, hf_api
    from huggingface_hub.utils import _http

    class Clock:
        """The client waits before it asks again; tests do not."""

        def __getattr__(self, name: str) -> Any:
            return (lambda seconds: None) if name == "sleep" else getattr(time, name)

    for module in (_http, file_download):
        monkeypatch.setattr(module, "time", Clock())
    with Hub() as running:
        template = running.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hf_api.api, "endpoint", running.address)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running
