"""`ventral doctor`: what is installed, where things lie, what is wrong, and how to mend it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bridge.data import all_datasets
from bridge.store import cache_folder
from comparisons.command_parts import print_json

PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "transformer_lens": "transformer-lens",
    "sae_lens": "sae-lens",
    "rsatoolbox": "rsatoolbox",
    "brainscore_vision": "brainscore-vision",
    "datasets": "datasets",
    "timm": "timm",
    "transformers": "transformers",
}
OURS = ("bridge", "saes", "probes", "comparisons")
SHADOWED = (*OURS, "configs", "tests")


@dataclass
class Told:
    """What was found, by section and name; printed as it is found, unless it is to become JSON."""

    quiet: bool
    sections: dict[str, dict[str, str]] = field(default_factory=dict)

    def row(self, section: str, name: str, state: str) -> None:
        """One thing and how it is."""
        if section not in self.sections and not self.quiet:
            print(f"\n{section}")
        self.sections.setdefault(section, {})[name] = state
        if not self.quiet:
            print(f"  {name:22} {state}")


def examine(folder: Path | None = None, *, as_json: bool = False) -> int:
    """Print the state of this installation as seen from `folder` (the working one); 0, or 1 if something is wrong."""
    folder, told = folder or Path.cwd(), Told(as_json)
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {sys.prefix}"
    if not as_json:
        print(python)
    problems = [
        *_packages(told),
        *_names(folder),
        *_device(told),
        *_cache(told),
        *_data(told),
    ]
    if as_json:
        print_json({"python": python, **told.sections, "problems": problems})
        return int(bool(problems))
    print()
    for problem in problems:
        print(f"WRONG: {problem}")
    print("Nothing is wrong." if not problems else f"{len(problems)} to mend.")
    return int(bool(problems))


def _packages(told: Told) -> Iterator[str]:
    """Import every package; a package that fails is named with its reason."""
    for module, distribution in PACKAGES.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(module)
            told.row("Packages", distribution, importlib.metadata.version(distribution))
        except Exception as error:
            told.row("Packages", distribution, "does not import")
            first = (str(error).splitlines() or [""])[0][:120]
            yield f"{distribution} does not import ({type(error).__name__}: {first}); {_remedy(str(error))}"


def _remedy(message: str) -> str:
    """How to mend an import that failed."""
    if "torchvision::nms" in message:
        return "torch and torchvision come from different builds: install both from the same index (`make env`)."
    return "install the versions of requirements.lock again (`make env`)."


def _names(folder: Path) -> Iterator[str]:
    """Other packages of our names, in the working folder or installed, that Python would import in our stead."""
    home = Path(__file__).parent.parent
    for name in SHADOWED:
        for place in (folder / name, folder / f"{name}.py"):
            inside = place.is_file() or (place.is_dir() and any(place.glob("*.py")))
            if inside and place.resolve().parent != home.resolve():
                yield (
                    f"{place} has the name of a package of this project and is imported in its stead from this folder; "
                    "rename it or work in another folder."
                )
    for name in OURS:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).parent.parent if spec and spec.origin else None
        if found is None or found.resolve() != home.resolve():
            yield (
                f"`import {name}` finds {found or 'nothing'} and not {home / name}; uninstall the other distribution "
                "or put this one first on the path."
            )


def _device(told: Told) -> Iterator[str]:
    """The device that `auto` means."""
    try:
        import torch
    except Exception:
        return  # said under packages
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            told.row("Device", f"cuda:{index}", f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
    else:
        threads = torch.get_num_threads()
        told.row("Device", "cpu", f"processors: {os.cpu_count()}, threads: {threads} (no CUDA device)")
    yield from ()


def _cache(told: Told) -> Iterator[str]:
    """Where artefacts and data go, and whether they can."""
    folder = cache_folder()
    told.row("Folders", "cache", f"{folder}{'' if folder.exists() else ' (not there yet)'}")
    parent = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        yield f"the cache {folder} cannot be written ({error.strerror}); set VENTRAL_CACHE to a folder that can."
    given = os.environ.get("VENTRAL_DATA")
    told.row("Folders", "VENTRAL_DATA", given or "not set (data sets are fetched into the cache)")
    if folder.exists() and not folder.is_dir():
        yield f"the cache {folder} is a file; set VENTRAL_CACHE to a folder."
    if given and not Path(given).is_dir():
        yield f"VENTRAL_DATA names {given}, which is not a folder; name an existing one or unset it."


def _data(told: Told) -> Iterator[str]:
    """Which data sets are here, and whether the others could be fetched. A missing network is no fault by itself."""
    reachable: dict[str, bool] = {}
    for name, data in all_datasets().items():
        if data.available():
            state = "here"
        elif data.local_only:
            state = "local only: cannot be fetched"
        else:
            hosts = {urlsplit(entry.address).hostname or "" for entry in data.files if entry.address}
            for host in hosts - set(reachable):
                reachable[host] = _connects(host)
            away = sorted(host for host in hosts if not reachable[host])
            state = f"not here, and {away[0]} cannot be reached" if away else "can be fetched"
        told.row("Data sets", name, state)
    yield from ()


def _connects(host: str) -> bool:
    try:
        with socket.create_connection((host, 443), timeout=3):
            return True
    except OSError:
        return False
