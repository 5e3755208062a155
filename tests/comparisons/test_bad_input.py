"""Bad input: one clear sentence, the stated exit code, and nothing half-written. Ten kinds, and some more."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bridge.data
from bridge.data.dataset import DataFile
from bridge.store import cache_folder

Ventral = Callable[..., tuple[int, str, str]]
Written = Callable[[dict[str, Any]], Path]


def only_sentence(error: str) -> str:
    """The message, which must be one line and no traceback."""
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, error
    return lines[0]


def finished_artefacts() -> list[Path]:
    """Artefacts of the long work: neither maps of sites nor recordings, which are looked at while planning."""
    return [
        path for path in cache_folder().glob("*/*/artefact.json") if path.parent.parent.name not in {"sites", "regions"}
    ]


@pytest.fixture
def refused(ventral: Ventral, written: Written, tmp_path: Path) -> Callable[..., str]:
    """Run a config that must be refused before anything is written; the sentence."""

    def run(content: dict[str, Any], code: int, *more: object) -> str:
        out = tmp_path / "out"
        status, _, error = ventral("run", written(content), "--out", out, *more)
        assert status == code, error
        assert not out.exists()
        assert finished_artefacts() == []
        return only_sentence(error)

    return run


def test_unknown_key(refused: Any, tiny: dict[str, Any]) -> None:
    sentence = refused({**tiny, "modles": []}, 2)
    assert "modles" in sentence
    assert "did you mean 'models'?" in sentence


def test_unknown_key_deep_inside(refused: Any, tiny: dict[str, Any]) -> None:
    tiny["comparisons"][0]["references"][0]["sizee"] = 8
    assert "comparisons.0.references.0.sizee: there is no such key; did you mean 'size'?" in refused(tiny, 2)


def test_wrong_type(refused: Any, tiny: dict[str, Any]) -> None:
    sentence = refused(tiny, 2, "--set", "comparisons.0.draws=many")
    assert "comparisons.0.draws: was given 'many'; expected a whole number" in sentence


def test_wrong_kind(refused: Any, tiny: dict[str, Any]) -> None:
    sentence = refused(tiny, 2, "--set", "models.0.kind=cifar-resnett")
    assert "models.0.kind: was given 'cifar-resnett'; did you mean 'cifar-resnet'?" in sentence


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seed=-1", "seed: was given -1"),
        ("models.0.seed=99999999999999999999", "models.0.seed: was given"),
        ("models.0.degrees=.inf", "models.0.degrees: was given inf"),
        ("stimuli.limit.gratings=0", "stimuli.limit.gratings: was given 0"),
        ("stimuli.families=[]", "stimuli.families: was given []; expected at least one item"),
        ("capture.device=gpu", "capture.device: was given 'gpu'"),
        (".seed=1", "empty step"),
        ("models.0.name=", "models.0.name: was given None; expected text"),
        ("comparisons.0.measures=[corr, corr]", "comparisons.0.measures: was given ['corr', 'corr']; the same stands"),
        ("recordings=[{kind: dataset, name: made}, {kind: dataset, name: made}]", "two of them are named 'made'"),
    ],
)
def test_values_out_of_bounds(refused: Any, tiny: dict[str, Any], change: str, said: str) -> None:
    assert said in refused(tiny, 2, "--set", change)


def test_a_path_that_does_not_exist_never_runs_something_else(ventral: Ventral) -> None:
    code, _, error = ventral("run", "somewhere/demo.yaml")
    assert code == 3
    assert "There is no config 'somewhere/demo.yaml'" in only_sentence(error)


def test_a_folder_and_an_empty_file_are_no_configs(ventral: Ventral, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("")
    code, _, error = ventral("run", tmp_path)
    assert code == 3
    assert f"is a folder, not a config; give a file in it: {tmp_path / 'study.yaml'}" in only_sentence(error)
    code, _, error = ventral("run", tmp_path / "study.yaml")
    assert code == 2
    assert "study.yaml is empty; see `ventral configs`" in only_sentence(error)


def test_a_key_that_stands_twice(ventral: Ventral, tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    code, _, error = ventral("run", tmp_path / "twice.yaml")
    assert code == 2
    assert "the key 'seed' stands twice" in only_sentence(error)


def test_results_inside_a_file(ventral: Ventral, written: Written, tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, error = ventral("run", written(tiny), "--out", tmp_path / "file" / "x")
    assert code == 2
    assert "is a file" in only_sentence(error)


def test_missing_config(ventral: Ventral) -> None:
    code, _, error = ventral("run", "resnet20_human_ventrall")
    assert code == 3
    assert "did you mean 'resnet20_human_ventral'?" in only_sentence(error)


def test_config_that_is_not_yaml(ventral: Ventral, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("models: [a, b\nseed: 1")
    code, _, error = ventral("run", tmp_path / "bad.yaml")
    assert code == 2
    assert "not readable YAML at line 2" in only_sentence(error)


def test_missing_file(refused: Any, tiny: dict[str, Any]) -> None:
    tiny["models"][0] = {"kind": "cifar-resnet", "name": "net", "weights": "nowhere.safetensors"}
    assert "nowhere.safetensors" in refused(tiny, 3)


def test_checkpoint_of_another_architecture(refused: Any, tiny: dict[str, Any], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from bridge.models.networks.cifar_resnet import ResNet

    path = tmp_path / "resnet32.safetensors"
    save_file(ResNet(5).state_dict(), path)
    tiny["models"][0] = {"kind": "cifar-resnet", "name": "net", "depth": 20, "weights": str(path)}
    sentence = refused(tiny, 3)
    assert "another architecture" in sentence
    assert "resnet32.safetensors" in sentence


def test_unknown_site(refused: Any, tiny: dict[str, Any]) -> None:
    tiny["comparisons"][0]["sites"] = ["blocks.8.hook_resid_pots"]
    sentence = refused(tiny, 2)
    assert "model 'net'" in sentence
    assert "did you mean 'blocks.8.hook_resid_post" in sentence


def test_image_ids_that_do_not_match(ventral: Ventral, written: Written, tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["stimuli"] = {**tiny["stimuli"], "limit": {"gratings": 14}}
    code, _, error = ventral("run", written(tiny), "--out", tmp_path / "out")
    assert code == 3
    assert "stimuli are aligned by id only" in only_sentence(error)
    assert not (tmp_path / "out").exists()


def test_empty_stimulus_folder(refused: Any, tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    tiny["stimuli"] = {"kind": "folder", "name": "none", "path": str(tmp_path / "images")}
    assert str(tmp_path / "images") in refused(tiny, 3)


def test_folder_that_is_read_only(ventral: Ventral, written: Written, tiny: dict[str, Any], tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    if os.access(locked, os.W_OK):  # the superuser writes everywhere but here
        locked = Path("/proc")
        if not locked.is_dir():
            pytest.skip("no folder on this machine refuses the superuser")
    code, _, error = ventral("run", written(tiny), "--out", locked / "out")
    assert code == 5
    assert "Cannot write to" in only_sentence(error)
    assert finished_artefacts() == []


def test_cache_that_is_a_file(
    ventral: Ventral, written: Written, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VENTRAL_CACHE", str(tmp_path / "file"))
    code, _, error = ventral("run", written(tiny), "--out", tmp_path / "out")
    assert code == 5
    assert "VENTRAL_CACHE" in only_sentence(error)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on loopback that gives wrong bytes for every address."""

    class Wrong(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"not what was promised")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Wrong) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http_server.server_port}"
        http_server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["corrupted", "no network"])
def test_downloads(refused: Any, tiny: dict[str, Any], server: str, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.delenv("VENTRAL_DATA", raising=False)
    known = bridge.data.all_datasets()
    address = server if kind == "corrupted" else "http://127.0.0.1:9"
    files = (DataFile("resnet20", "resnet_cifar10/resnet20.th", "0" * 64, f"{address}/resnet20.th"),)
    moved = {**known, "resnet_cifar10": replace(known["resnet_cifar10"], files=files)}
    monkeypatch.setattr(bridge.data, "all_datasets", lambda: moved)
    tiny["models"][0] = {"kind": "cifar-resnet", "name": "net", "weights": "pretrained"}
    sentence = refused(tiny, 3 if kind == "corrupted" else 4)
    assert f"{address}/resnet20.th" in sentence
    kept = [path for path in cache_folder().rglob("*resnet20*") if path.is_file() and ".locks" not in path.parts]
    assert kept == []


KILLED = """
name: killed
stimuli: {kind: folder, name: noise, path: IMAGES}
models:
  - {kind: cifar-resnet, name: net, untrained: true, depth: 110}
recordings:
  - kind: simulated
    neuroids: {V1: 6, IT: 6}
    lambdas: [0.5, 0.3]
    reps: 4
    simple_dimensions: 4
    complex_dimensions: 2
capture: {batch_size: 4, workers: 0}
comparisons:
  - {kind: rsa, sites: ["blocks.*.hook_resid_post"], measures: [corr], draws: 50}
"""


def test_a_kill_in_the_middle(tmp_path: Path, ventral: Ventral, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed without warning leaves nothing that looks complete; the next run ends with the same numbers."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(32):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(tmp_path / "images" / f"{number:02}.png")
    config, out = tmp_path / "config.yaml", tmp_path / "out"
    config.write_text(KILLED.replace("IMAGES", str(tmp_path / "images")))
    command = [sys.executable, "-m", "comparisons.cli", "run", str(config), "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "capture net" in line:
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert finished_artefacts() == []
    assert list((cache_folder() / ".partial").iterdir())  # it was killed at work, not before
    code, _, error = ventral("run", config, "--out", out)
    assert code == 0, error
    monkeypatch.setenv("VENTRAL_CACHE", str(tmp_path / "empty"))
    code, _, error = ventral("run", config, "--out", tmp_path / "fresh")
    assert code == 0, error
    ours, theirs = (json.loads((f / "results.json").read_text())["results"] for f in (out, tmp_path / "fresh"))
    assert ours == theirs


@pytest.mark.parametrize(
    ("written_there", "said"),
    [
        ("def network(:", "fails (wrong_network.py, line 1: SyntaxError"),
        ("import sys; sys.exit(7)", "fails (wrong_network.py, line 1: SystemExit: 7)"),
        ("def network():\n    raise RuntimeError('boom')", "fails (wrong_network.py, line 2: RuntimeError: boom)"),
        ("def network():\n    return 3 + 'a'", "fails (wrong_network.py, line 2: TypeError"),
        (
            "def network(width):\n    return width",
            "does not take the options [] (missing a required argument: 'width')",
        ),
    ],
)
def test_what_is_wrong_in_ones_own_network_is_said_with_its_line(
    refused: Callable[..., str],
    tiny: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written_there: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong_network.py").write_text(written_there)
    sys.modules.pop("wrong_network", None)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    own = {"kind": "custom", "name": "mine", "module": "wrong_network.network", "blocks": "layers.*"}
    tiny["models"] = [{**own, "preprocessing": {"size": 32}}]
    assert said in refused(tiny, 2)
    sys.modules.pop("wrong_network", None)


@pytest.mark.parametrize("value", ["2026-13-45", "!!int foo", "[" * 3000])
def test_values_that_yaml_cannot_make(ventral: Ventral, value: str) -> None:
    code, _, error = ventral("run", "demo", "--set", f"seed={value}")
    assert code == 2
    assert "is not a YAML value" in only_sentence(error)


def test_a_folder_in_place_of_a_file(refused: Callable[..., str], tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    tiny["recordings"] = [{"kind": "rdms", "name": "mine", "path": str(tmp_path / "images"), "region": "IT"}]
    assert "cannot be read (Is a directory)" in refused(tiny, 3)


def test_a_device_that_is_not_there(refused: Callable[..., str], tiny: dict[str, Any]) -> None:
    tiny["capture"] = {**tiny.get("capture", {}), "device": "cuda:63"}
    assert "The device 'cuda:63' is not there" in refused(tiny, 2)


def test_a_card_of_what_is_not_there_is_refused_before_anything_is_computed(
    ventral: Ventral, written: Written, tiny: dict[str, Any], tmp_path: Path
) -> None:
    for card, said in (("foo", "expected MODEL:SITE:FEATURE"), ("net:blocks.99:3", "has no site 'blocks.99'")):
        code, _, error = ventral("probe", written(tiny), "--card", card, "--out", tmp_path / "out")
        assert code == 2
        assert said in only_sentence(error)
    assert not (tmp_path / "out").exists()


def test_a_table_that_is_a_folder(ventral: Ventral, tmp_path: Path) -> None:
    code, _, error = ventral("validate", "--table", tmp_path)
    assert code == 2
    assert "a folder; give the name of a Markdown file" in only_sentence(error)


def test_a_name_that_no_file_can_have(ventral: Ventral) -> None:
    code, _, error = ventral("run", "x" * 400)
    assert code == 3
    assert "There is no config" in only_sentence(error)
    code, _, error = ventral("init", "y" * 400)
    assert code == 5
    assert "cannot be made" in only_sentence(error)
