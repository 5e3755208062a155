"""Files of our own in Brain-Score's cache, under its own identifiers, so that its own loaders read them."""

from __future__ import annotations

import hashlib
import http.server
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bridge.stimuli.brainscore import to_brainscore
from bridge.stimuli.stimulus_set import ArraySource, StimulusSet


def assembly_class() -> Any:
    from brainscore_core.supported_data_standards.brainio.assemblies import NeuronRecordingAssembly

    return NeuronRecordingAssembly


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stimulus_set: str, data: str, stimuli: StimulusSet, assembly: Any
) -> None:
    """Put stimuli and an assembly where Brain-Score would have fetched `stimulus_set` and `data` to.

    The files lie in its cache under their sha1, as if they had been fetched, and are registered under the identifiers.
    """
    import brainscore_vision
    import xarray
    from brainscore_core.plugin_management.import_plugin import import_plugin
    from brainscore_core.supported_data_standards.brainio import fetch, s3
    from brainscore_core.supported_data_standards.brainio.packaging import create_stimulus_csv, create_stimulus_zip

    monkeypatch.setenv("BS_INSTALL_DEPENDENCIES", "no")
    monkeypatch.setenv("BRAINIO_HOME", str(folder / "brainio"))
    monkeypatch.setattr(fetch, "_local_data_path", None)
    name = stimulus_set.replace(".", "_")

    def keep(path: Path) -> str:
        sha1 = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
        target = folder / "brainio" / sha1 / path.name
        target.parent.mkdir(parents=True)
        path.rename(target)
        return sha1

    converted = to_brainscore(stimuli, folder / f"images of {name}").drop(columns="filename")
    _, names = create_stimulus_zip(converted, str(folder / f"stimulus_{name}.zip"))
    converted["filename"] = names
    create_stimulus_csv(converted, str(folder / f"stimulus_{name}.csv"))
    shas = {kind: keep(folder / f"stimulus_{name}.{kind}") for kind in ("csv", "zip")}
    file = folder / f"assy_x_{data.replace('.', '_')}.nc"
    xarray.DataArray(assembly).reset_index(list(assembly.dims)).to_netcdf(file)
    sha1 = keep(file)
    import_plugin("brainscore_vision", "data", data)
    monkeypatch.setitem(
        brainscore_vision.stimulus_set_registry,
        stimulus_set,
        lambda: s3.load_stimulus_set_from_s3(stimulus_set, "bucket/folder", shas["csv"], shas["zip"], "null", "null"),
    )
    monkeypatch.setitem(
        brainscore_vision.data_registry,
        data,
        lambda: s3.load_assembly_from_s3(
            f"x.{data}",
            "null",
            sha1,
            "bucket/folder",
            assembly_class(),
            stimulus_set_loader=lambda: brainscore_vision.load_stimulus_set(stimulus_set),
        ),
    )


class Storage:
    """A loopback server that answers as the storage does from which Brain-Score's client fetches: `files` by name."""

    def __init__(self, folder: Path):
        self.files = {path.name: path.read_bytes() for path in folder.glob("*/*") if path.is_file()}
        self.asked: list[str] = []

    def __enter__(self) -> Storage:
        storage = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, body: bool) -> None:
                name = self.path.partition("?")[0].rpartition("/")[2]
                content = storage.files.get(name)
                storage.asked.append(name)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.send_header("ETag", '"none"')
                self.end_headers()
                if body:
                    self.wfile.write(content or b"")

            def log_message(self, *_: Any) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"


def recorded(ids: list[str], regions: dict[str, int], *, reps: int, bins: list[tuple[int, int]], seed: int) -> Any:
    """An assembly of random responses, each neuroid with a signal of its own."""
    rng = np.random.default_rng(seed)
    n = sum(regions.values())
    signal = rng.standard_normal((len(ids), 1, n, 1))
    values = 5 + signal + 0.5 * rng.standard_normal((len(ids), reps, n, len(bins)))
    coords: dict[str, Any] = {
        "stimulus_id": ("presentation", np.repeat(ids, reps)),
        "repetition": ("presentation", np.tile(np.arange(reps), len(ids))),
        "neuroid_id": ("neuroid", [f"n{k}" for k in range(n)]),
        "region": ("neuroid", [region for region, count in regions.items() for _ in range(count)]),
        "animal": ("neuroid", [f"m{k % 2}" for k in range(n)]),
        "time_bin_start": ("time_bin", [start for start, _ in bins]),
        "time_bin_end": ("time_bin", [end for _, end in bins]),
    }
    dims = ["presentation", "neuroid", "time_bin"]
    return assembly_class()(values.reshape(-1, n, len(bins)), coords=coords, dims=dims)


def images(ids: list[str], degrees: float | None, seed: int, size: int = 64) -> StimulusSet:
    """Pictures of random rectangles, of two kinds."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (len(ids), 8, 8, 3), dtype=np.uint8)
    large = np.repeat(np.repeat(pixels, size // 8, axis=1), size // 8, axis=2)
    table = pd.DataFrame(
        {"object_name": [("cat", "dog")[k % 2] for k in range(len(ids))]}, index=pd.Index(ids, name="stimulus_id")
    )
    return StimulusSet("stand-in", table, ArraySource(large), degrees=degrees)


def public_data(folder: Path, monkeypatch: pytest.MonkeyPatch, *, stimuli: int = 40, reps: int = 3) -> None:
    """Both of Brain-Score's public data sets in its cache, smaller, but with the names and shapes of the real ones:
    the coordinates that its loaders and benchmarks ask for, and time bins of 1 ms where there are such."""
    rng = np.random.default_rng(5)
    textures, objects = ([f"{kind}{k:03d}" for k in range(stimuli)] for kind in ("tex-320x320-im", "hvm"))
    for name, ids, bins, regions, columns in (
        (
            ("FreemanZiemba2013.aperture-public", "FreemanZiemba2013.public"),
            textures,
            [(t, t + 1) for t in range(210)],
            {"V1": 7, "V2": 6},
            {
                "texture_type": [("texture", "noise")[k % 2] for k in range(stimuli)],
                "texture_family": [30 + k % 5 for k in range(stimuli)],
                "sample": list(range(stimuli)),
            },
        ),
        (
            ("hvm-public", "MajajHong2015.public"),
            objects,
            [(70, 170)],
            {"V4": 26, "IT": 8},
            {
                "image_id": objects,
                "object_name": [f"object{k % 4}" for k in range(stimuli)],
                "category_name": [("Animals", "Cars")[k % 2] for k in range(stimuli)],
                "s": rng.random(stimuli).tolist(),
            },
        ),
    ):
        shown = images(ids, None, len(regions), size=32)
        table = shown.table.drop(columns="object_name").assign(**columns)
        looks = np.stack([shown.image(row) for row in range(stimuli)])[:, ::8, ::8].reshape(stimuli, -1) / 255.0
        n = sum(regions.values())
        signal = (looks - looks.mean(axis=0)) @ rng.standard_normal((looks.shape[1], n)) / 3
        over_time = np.ones(len(bins)) / len(bins) if len(bins) == 1 else np.linspace(0, 2, len(bins)) / 4
        trials = signal[:, None, :, None] * over_time + rng.standard_normal((stimuli, reps, n, 1))
        values = (trials + np.zeros(len(bins))).reshape(-1, n, len(bins)).astype(np.float32)
        coords: dict[str, Any] = {
            "stimulus_id": ("presentation", np.repeat(ids, reps)),
            "repetition": ("presentation", np.tile(np.arange(reps), stimuli)),
            "neuroid_id": ("neuroid", np.arange(1, n + 1)),
            "region": ("neuroid", [region for region, count in regions.items() for _ in range(count)]),
            "time_bin_start": ("time_bin", [start for start, _ in bins]),
            "time_bin_end": ("time_bin", [end for _, end in bins]),
        }
        if len(bins) == 1:
            coords["neuroid_id"] = ("neuroid", [f"Chabo_L_M_5_{k}" for k in range(n)])
            coords["animal"] = ("neuroid", ["Chabo" if k % 2 else "Tito" for k in range(n)])
        assembly = assembly_class()(values, coords=coords, dims=["presentation", "neuroid", "time_bin"])
        part = folder / name[1]
        part.mkdir(parents=True)
        install(part, monkeypatch, *name, StimulusSet(name[0], table, shown.source), assembly)
        for entry in (part / "brainio").iterdir():
            target = folder / "brainio" / entry.name
            target.parent.mkdir(exist_ok=True)
            entry.rename(target)
    monkeypatch.setenv("BRAINIO_HOME", str(folder / "brainio"))
