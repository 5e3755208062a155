"""The configs of data that are fetched at run time, end to end on stand-ins of them, and without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from brainscore_stand_in import images, install, recorded
from tvsd_stand_in import make

import bridge.brainscore
from comparisons.config import load, shipped

Ventral = Callable[..., tuple[int, str, str]]
NETWORKS = {
    "resnet50": "{kind: torchvision, name: net, architecture: resnet50, untrained: true, image_size: 64}",
    "vit_b16": "{kind: torchvision, name: net, architecture: vit_b_16, untrained: true, options: {image_size: 64}}",
}


def small(name: str) -> list[str]:
    """Overrides that make a run small: one untrained network on small images, few draws."""
    config = load(name)
    said = [f"models=[{NETWORKS[name.rpartition('_macaque')[0] or name.rpartition('_tvsd')[0]]}]", "capture.workers=0"]
    for number, comparison in enumerate(config.comparisons):
        few = 100 if getattr(comparison, "kind", "") in ("persistence", "variability") else 10
        said.append(f"comparisons.{number}.draws={few}")
        if hasattr(comparison, "permutations"):
            said.append(f"comparisons.{number}.permutations={max(few, 20)}")
        if hasattr(comparison, "complex"):
            said.append(f'comparisons.{number}.complex={{model: net, sites: ["blocks.3.hook_resid_post"]}}')
            said.append(f"comparisons.{number}.simplicity_images=50")
        if hasattr(comparison, "sites"):
            said.append(f'comparisons.{number}.sites=[stem, "blocks.3.hook_resid_post"]')
    return [argument for one in said for argument in ("--set", one)]


def found(out: Path) -> dict[tuple[str, str, str], int]:
    """How many results there are by (comparison, recordings, region)."""
    counts: dict[tuple[str, str, str], int] = {}
    for one in json.loads((out / "results.json").read_text())["results"]:
        key = one["comparison"], one["recordings"], one["region"]
        counts[key] = counts.get(key, 0) + 1
    return counts


@pytest.mark.parametrize(
    "name", [pytest.param("resnet50_macaque_ventral", marks=pytest.mark.slow), "vit_b16_macaque_ventral"]
)
def test_brainscores_public_recordings(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ventral: Ventral
) -> None:
    textures, objects = ([f"{kind}{k:02d}" for k in range(n)] for kind, n in (("t", 40), ("o", 44)))
    install(
        tmp_path / "v1v2",
        monkeypatch,
        "FreemanZiemba2013.aperture-public",
        "FreemanZiemba2013.public",
        images(textures, 4.0, 0),
        recorded(textures, {"V1": 6, "V2": 5}, reps=3, bins=[(t, t + 25) for t in range(0, 300, 25)], seed=0),
    )
    install(
        tmp_path / "v4it",
        monkeypatch,
        "hvm-public",
        "MajajHong2015.public",
        images(objects, 8.0, 1),
        recorded(objects, {"V4": 4, "IT": 7}, reps=4, bins=[(70, 170)], seed=1),
    )
    (tmp_path / "brainio").mkdir()
    for one in ("v1v2", "v4it"):
        for entry in (tmp_path / one / "brainio").iterdir():
            entry.rename(tmp_path / "brainio" / entry.name)
    monkeypatch.setenv("BRAINIO_HOME", str(tmp_path / "brainio"))
    code, _, wrong = ventral("run", name, *small(name), "--out", tmp_path / "out")
    assert code == 0, wrong
    counts = found(tmp_path / "out")
    both = [("FreemanZiemba2013", ("V1", "V2")), ("MajajHong2015", ("V4", "IT"))]
    for kind in ("encoding", "rsa", "banded encoding"):
        assert {key[1:] for key in counts if key[0] == kind} == {(who, area) for who, areas in both for area in areas}
    results = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    shown = {one["region"]: one["n_stimuli"] for one in results if one["comparison"] == "rsa"}
    assert shown == {"V1": 40, "V2": 40, "V4": 44, "IT": 44}  # each region against its own images
    assert any(
        "44 of 84 stimuli, which were not shown to FreemanZiemba2013" in why
        for one in results
        for why in one["dropped"]
    )


@pytest.mark.parametrize("name", ["resnet50_tvsd", pytest.param("vit_b16_tvsd", marks=pytest.mark.slow)])
def test_tvsd(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ventral: Ventral) -> None:
    for monkey in ("F", "N"):
        one = make(tmp_path / "data" / "tvsd", monkey, test=12, train=4, reps=3)  # type: ignore[arg-type]
    monkeypatch.setenv("VENTRAL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("VENTRAL_THINGS", str(one.things))
    listed = one.folder / "monkeyF" / "_logs" / "things_imgs.mat"
    where = [f"stimuli.images={listed}", f"recordings.0.images_list={listed}"]
    given = [argument for path in where for argument in ("--set", path)]
    code, _, wrong = ventral("run", name, *small(name), *given, "--out", tmp_path / "out")
    assert code == 0, wrong
    counts = found(tmp_path / "out")
    areas = {(f"TVSD {monkey}", area) for monkey in "FN" for area in ("V1", "V4", "IT")}
    for kind in ("encoding", "rsa", "banded encoding"):
        assert {key[1:] for key in counts if key[0] == kind} == areas
    answers = {verdict["answer"] for verdict in json.loads((tmp_path / "out" / "results.json").read_text())["verdicts"]}
    assert answers == {"NOT TESTABLE"}  # twelve images
    made = json.loads((tmp_path / "out" / "results.json").read_text())
    assert any("V2: not in these recordings" in why for why in made["results"][0]["dropped"])
    assert [data["name"] for data in made["provenance"]["datasets"]] == ["tvsd"]


def test_what_cannot_be_reached_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ventral: Ventral
) -> None:
    monkeypatch.delenv("VENTRAL_DATA", raising=False)
    monkeypatch.delenv("VENTRAL_THINGS", raising=False)
    monkeypatch.setenv("BRAINIO_HOME", str(tmp_path / "nothing"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(bridge.brainscore, "STORAGE", "http://127.0.0.1:9")
    name = "resnet50_macaque_ventral"
    code, said, wrong = ventral("run", name, *small(name), "--dry-run")
    assert code == 4
    assert "to do" in said  # the stages are shown first
    assert wrong.count("\n") == 1
    assert "'FreemanZiemba2013.aperture-public', 'hvm-public' would have to be fetched" in wrong
    code, _, wrong = ventral("run", "resnet50_tvsd", *small("resnet50_tvsd"), "--dry-run")
    assert code == 2
    assert wrong.count("\n") == 1
    assert "VENTRAL_THINGS" in wrong


def test_they_are_listed_with_what_they_need(ventral: Ventral) -> None:
    code, said, _ = ventral("configs")
    assert code == 0
    for name in ("resnet50_macaque_ventral", "vit_b16_macaque_ventral", "resnet50_tvsd", "vit_b16_tvsd"):
        assert name in shipped()
        line = next(line for line in said.splitlines() if line.startswith(name))
        assert "fetched from Brain-Score" in line or "with your copy of THINGS" in line
