"""The doctor names what is wrong, and finds nothing wrong where nothing is."""

from __future__ import annotations

from pathlib import Path

import pytest

from comparisons import doctor


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_connects", lambda host: False)


def test_all_six_packages_import_together(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert doctor.examine(tmp_path) == 0
    said = capsys.readouterr().out
    for name in ("torch", "transformer-lens", "sae-lens", "rsatoolbox", "brainscore-vision", "datasets"):
        assert f"  {name} " in said
    assert "Nothing is wrong." in said


def test_a_package_that_fails_is_named_with_the_remedy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_vision.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "PACKAGES", {"broken_vision": "torchvision"})
    empty = tmp_path / "empty"
    empty.mkdir()
    assert doctor.examine(empty) == 1
    assert "install both from the same index" in capsys.readouterr().out


def test_a_folder_that_shadows_ours_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", {})
    (tmp_path / "saes").mkdir()
    (tmp_path / "saes" / "mine.py").write_text("")
    (tmp_path / "tests").mkdir()  # no modules inside: harmless
    assert doctor.examine(tmp_path) == 1
    said = capsys.readouterr().out
    assert f"{tmp_path / 'saes'} has the name of a package of this project" in said
    assert said.count("WRONG") == 1


def test_folders_that_do_not_work_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", {})
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VENTRAL_DATA", str(tmp_path / "file"))
    assert doctor.examine(tmp_path) == 1
    assert "VENTRAL_DATA names" in capsys.readouterr().out
