"""What a plan is predicted to take: from what was kept of stages, else from the benchmarks, else nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from bridge.store import Store
from comparisons.plan import Plan, Progress, Stage
from comparisons.predicting.history import FOLDER, KEPT, Watched, note, records, shape, watched
from comparisons.predicting.predict import Prediction, predict, total
from comparisons.predicting.sizes import Size
from comparisons.predicting.table import as_text
from comparisons.running import Silent, execute, needed

Ventral = Callable[..., tuple[int, str, str]]
MB = 2**20


def stage(
    id: str,
    *,
    kind: str = "work",
    needs: tuple[str, ...] = (),
    seconds: float | None = None,
    leaves: int = 0,
    **inputs: Any,
) -> Stage:
    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        (folder / "made.bin").write_bytes(bytes(leaves))

    size = None if seconds is None else lambda: Size(seconds)
    return Stage(id, kind, {"id": id, **inputs}, needs, build, size=size)


def planned(*stages: Stage) -> Plan:
    return Plan({one.id: one for one in stages}, [one.id for one in stages])


def told(plan: Plan, store: Store) -> dict[str, Prediction]:
    return {one.id: one for one in predict(plan, store, needed(plan, store))}


def made(store: Store, one: Stage, seconds: float, needs: Mapping[str, Path] | None = None) -> Path:
    """Make a stage, and keep that it took so long and 7 MB."""
    folder = store.obtain(one.kind, one.inputs, lambda folder: one.build(folder, {}, lambda *_: None))
    note(store, one, Watched(seconds, 7 * MB), needs or {})
    return folder


# ------------------------------------------------------------------------------------------------------- history


def test_a_run_keeps_what_its_stages_took(tmp_path: Path) -> None:
    held: list[np.ndarray] = []

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        held.append(np.ones(40 * MB, np.uint8))
        time.sleep(0.3)
        (folder / "made.bin").write_bytes(bytes(1000))

    one = Stage("one", "work", {"draws": 3}, (), build)
    store = Store(tmp_path)
    execute(planned(one), store, Silent())
    ((name, took),) = records(store, "work").items()
    assert name == one.key.split("/")[1]
    assert 0.3 <= took.seconds < 3
    assert took.memory is not None
    assert 35 * MB < took.memory < 200 * MB
    assert 1000 <= took.disk < 1100
    assert took.standard is None
    # A stage that is found made leaves no record of its own; another machine's are not asked.
    execute(planned(one), store, Silent())
    assert len(records(store, "work")) == 1
    path = next((tmp_path / FOLDER / "work").glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another"}))
    assert records(store, "work") == {}


def test_a_training_that_went_on_tells_nothing_of_how_long_it_takes(tmp_path: Path) -> None:
    calls = []

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        calls.append(folder)
        if len(calls) == 1:
            raise KeyboardInterrupt

    one = Stage("one", "work", {}, (), build, resumable=True)
    with pytest.raises(KeyboardInterrupt):
        execute(planned(one), Store(tmp_path), Silent())
    execute(planned(one), Store(tmp_path), Silent())
    assert len(calls) == 2
    assert records(Store(tmp_path), "work") == {}


def test_damaged_records_and_folders_that_cannot_be_written_disturb_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bridge.errors import StorageError

    store = Store(tmp_path)
    made(store, stage("one"), 1.0)
    (tmp_path / FOLDER / "work" / "damaged.json").write_text("{")
    (tmp_path / FOLDER / "work" / "other.json").write_text('{"unknown": 1}')
    assert len(records(store, "work")) == 1

    def refused(*_: Any) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr("comparisons.predicting.history.write_atomically", refused)
    execute(planned(stage("two")), store, Silent())


def test_many_at_once_keep_their_records_and_the_oldest_make_room(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stages = [stage(str(number)) for number in range(KEPT + 20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: note(store, one, Watched(1.0, 0), {}), stages))
    note(store, stage("last"), Watched(1.0, 0), {})
    found = records(store, "work")
    assert len(found) == KEPT
    assert stage("last").key.split("/")[1] in found
    assert not list((tmp_path / FOLDER).rglob("*.tmp"))


def test_the_watch_ends_with_what_it_watches() -> None:
    with pytest.raises(ZeroDivisionError), watched() as seen:
        1 / 0  # noqa: B018
    assert seen.memory is not None


def test_shapes() -> None:
    one = {"draws": 10, "sites": ["a", "b"], "seed": 1, "needs": ["x/1"], "about": {"k": 3, "name": "n"}}
    assert shape(one) == shape(
        {**one, "sites": ["c", "d"], "seed": 2, "needs": ["x/2"], "about": {"k": 3, "name": "m"}}
    )
    for other in ({"draws": 11}, {"sites": ["a"]}, {"about": {"k": 4}}, {"measure": "corr"}):
        assert shape(one) != shape({**one, **other})


# --------------------------------------------------------------------------------------------------- predictions


def test_nothing_is_made_up(tmp_path: Path) -> None:
    found = told(planned(stage("a"), stage("b", seconds=0.2), stage("c", seconds=30.0)), Store(tmp_path))
    assert [(one.how, one.seconds) for one in found.values()] == [
        ("not known", None),
        ("not known", None),  # too small for the benchmarks to tell
        ("benchmarks", 30.0),
    ]
    whole = total(list(found.values()))
    assert (whole.missing, whole.seconds, whole.unknown, whole.memory, whole.disk_unknown) == (3, 30.0, 2, None, 3)
    text = as_text(list(found.values()))
    assert "time    30 s, and 2 stages not known" in text
    assert "memory  not known" in text


def test_the_benchmarks_say_nothing_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comparisons.predicting.predict.records", lambda *_: {})
    one = stage("a", seconds=30.0)
    on_device = Stage(one.id, one.kind, one.inputs, (), one.build, on_device=True, size=one.size)
    (found,) = predict(planned(on_device), Store(tmp_path), ["a"], "cuda")
    assert (found.how, found.seconds) == ("not known", None)


def test_the_same_stage_takes_what_it_took(tmp_path: Path) -> None:
    store, one = Store(tmp_path), stage("a", seconds=30.0, leaves=5000)
    folder = made(store, one, 12.5)
    (cached,) = told(planned(one), store).values()
    assert (cached.how, cached.seconds, cached.cached) == ("cached", 0.0, True)
    assert cached.disk is not None
    assert 5000 <= cached.disk < 5100
    (folder / "made.bin").unlink()  # lost: it is made again
    (found,) = told(planned(one), store).values()
    assert (found.how, found.seconds, found.memory, found.disk) == ("the same stage", 12.5, 7 * MB, cached.disk)


def test_stages_of_known_size_are_scaled_by_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number, ratio in enumerate((2.0, 3.0, 100.0)):  # once the machine was busy
        made(store, stage(str(number), seconds=10.0), 10.0 * ratio)
    (found,) = told(planned(stage("new", seconds=20.0)), store).values()
    assert (found.how, found.seconds) == ("stages like it", 60.0)
    # Ten times larger or more: what small ones took tells nothing.
    (found,) = told(planned(stage("new", seconds=101.0)), store).values()
    assert (found.how, found.seconds) == ("benchmarks", 101.0)


def test_stages_of_the_same_settings_are_scaled_by_what_they_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = stage("first", kind="source", leaves=100_000), stage("second", kind="source", leaves=200_000)
    folder = made(store, first, 1.0)
    made(store, second, 1.0)
    done = stage("done", needs=("first",), leaves=50_000, draws=10)
    made(store, Stage("done", "work", {"draws": 10}, ("first",), done.build), 4.0, {"first": folder})
    same = Stage("new", "work", {"draws": 10, "needs": ["x"]}, ("second",), done.build)
    other = Stage("other", "work", {"draws": 20}, ("second",), done.build)
    found = told(planned(first, second, same, other), store)
    assert found["new"].how == "stages like it"
    assert found["new"].seconds == pytest.approx(8.0, rel=0.01)
    assert found["new"].disk == pytest.approx(100_000, rel=0.01)
    assert found["new"].memory == 7 * MB
    assert (found["other"].how, found["other"].seconds) == ("not known", None), "other settings"


# ------------------------------------------------------------------------------------------------ the command line


def test_a_dry_run_before_and_after(ventral: Ventral, tmp_path: Path, tiny: dict[str, Any], written: Any) -> None:
    tiny["comparisons"][0]["measures"] = ["corr"]
    config = written(tiny)
    out = ("--out", tmp_path / "out")
    code, said, _ = ventral("run", config, "--dry-run")
    assert code == 0
    assert "4 of 4 stages to do, one after the other" in said
    assert "not known: nothing to predict it by yet" in said
    first = json.loads(ventral("run", config, "--dry-run", "--json")[1])
    assert [one["how"] for one in first["stages"]] == ["not known"] * len(first["stages"])
    assert first["total"]["unknown"] == first["total"]["missing"] == len(first["stages"])
    disk = {one["kind"]: one["disk"] for one in first["stages"]}
    assert disk["rsa"] is None
    assert disk["rdms"] is not None

    code, said, _ = ventral("run", config, *out, "--json")
    assert code == 0
    run = json.loads(said)
    assert run["report"] == str(tmp_path / "out" / "report.html")
    assert set(run["seconds"]) == {one["id"] for one in first["stages"]}

    cached = json.loads(ventral("run", config, "--dry-run", "--json")[1])
    assert {one["how"] for one in cached["stages"]} == {"cached"}
    assert "are cached: only the report is written" in ventral("run", config, "--dry-run")[1]

    # Another seed: the RDMs are there, the comparison is asked anew and predicted from the one before.
    (before,) = [seconds for name, seconds in run["seconds"].items() if name.startswith("rsa ")]
    again = json.loads(ventral("run", config, "--dry-run", "--json", "--set", "seed=1")[1])
    how = {one["id"]: (one["how"], one["seconds"]) for one in again["stages"] if not one["cached"]}
    assert list(how) == ["rsa corr"]
    assert how["rsa corr"][0] == "stages like it"
    assert how["rsa corr"][1] == pytest.approx(before, abs=0.02)
    text = ventral("run", config, "--dry-run", "--set", "seed=1")[1]
    assert "stages like it: what stages of its kind took before in this store" in text


def test_the_demo_is_predicted_without_running_anything(ventral: Ventral, tmp_path: Path) -> None:
    code, said, _ = ventral("run", "demo", "--dry-run", "--json")
    assert code == 0
    told = json.loads(said)
    assert told["total"]["missing"] == len(told["stages"])
    disk = {one["id"]: one["disk"] for one in told["stages"]}
    assert disk["sae topk residual"] is not None
    assert disk["capture residual"] is not None
    assert disk["4: rsa corr"] is None
    assert told["fetched"] == []
    assert list(told["total"]) == ["missing", "seconds", "unknown", "memory", "memory_unknown", "disk", "disk_unknown"]


def test_weights_are_not_fetched_to_show_a_plan(
    ventral: Ventral, tiny: dict[str, Any], written: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    architecture = {"kind": "torchvision", "architecture": "resnet18", "weights": "pretrained", "image_size": 64}
    tiny["models"] = [{"name": "net", **architecture}]
    tiny["comparisons"][0]["sites"] = ["blocks.7.*"]
    answer = requests.Response()
    answer.status_code = 200
    monkeypatch.setattr("requests.head", lambda *_, **__: answer)
    code, said, error = ventral("run", written(tiny), "--dry-run", "--json")
    assert code == 0, error
    (fetched,) = json.loads(said)["fetched"]
    assert fetched["what"].startswith("weights of net: resnet18-")
    assert fetched["bytes"] == pytest.approx(46.8e6, rel=0.01)
    answer.status_code = 503
    for command in ("run", "capture"):
        code, said, error = ventral(command, written(tiny), "--dry-run")
        assert code == 4
        assert "to be fetched: weights of net: resnet18-" in said
        assert "The weights of 'net' would have to be fetched, and" in error


def test_a_plan_needs_no_pretrained_cifar_network(
    ventral: Ventral, tiny: dict[str, Any], written: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("VENTRAL_DATA", raising=False)
    monkeypatch.setattr("requests.head", lambda *_, **__: (_ for _ in ()).throw(requests.ConnectionError("off")))
    tiny["models"] = [{"kind": "cifar-resnet", "name": "net", "depth": 20, "weights": "pretrained"}]
    tiny["comparisons"][0]["sites"] = ["blocks.7.*"]
    code, said, error = ventral("run", written(tiny), "--dry-run")
    assert code == 4
    assert "to be fetched: data set resnet_cifar10" in said
    assert "would have to be fetched" in error
