"""Where a plugin is checked: an environment with Brain-Score and the plugin's requirements alone, or the present one.

A clean environment is kept in the cache folder under the hash of what it holds, so that the second check takes seconds.
It is built by uv from its own cache, offline and with the versions that are installed here where it can be (files are
linked, not copied), else from the network.

The plugin is never put into anybody's Brain-Score: `overlay` makes a package of links to it, in which the plugin stands
beside the other models, as it will in the pull request.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from filelock import FileLock

from bridge.errors import ConfigError, InputError, UnreachableError
from bridge.store import cache_folder, cannot_write, digest, write_atomically

BASE = ("brainscore-vision", "brainscore-core", "boto3>=1.34", "pytest")
"""Brain-Score and what its tests take; without a floor a resolver takes boto3 0.0.3."""
READY = "environment.json"
ENVIRONMENTS = 3
"""So many are kept."""
NETWORK = re.compile(
    r"offline|network was disabled|error sending request|dns error|connect|timed out|Failed to fetch", re.IGNORECASE
)


def clean_environment(requirements: Path | None) -> Path:
    """The interpreter of an environment with Brain-Score and what a requirements file lists, made if needed.

    Raises ConfigError without uv, InputError where the requirements cannot be had together with Brain-Score's own,
    UnreachableError where they have to be fetched and cannot be.
    """
    uv = found_uv()
    stated = requirements.read_text(encoding="utf-8").splitlines() if requirements is not None else []
    lines = [line.split("#")[0].strip() for line in stated if line.split("#")[0].strip()]
    key = digest({"requirements": sorted(lines), "base": BASE, "here": pinned(), "python": platform.python_version()})
    folder = cache_folder() / "brainscore-environments" / key
    python = folder / "bin" / "python" if os.name != "nt" else folder / "Scripts" / "python.exe"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / READY).is_file():
                shutil.rmtree(folder, ignore_errors=True)
                _made(uv, folder, python, lines)
                write_atomically(folder / READY, json.dumps({"requirements": lines}))
            os.utime(folder / READY)
        _tidied(folder.parent)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return python


def _tidied(kept: Path) -> None:
    """Remove all but the environments that were used last: where files cannot be linked each takes gigabytes."""
    used = sorted(kept.glob(f"*/{READY}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in used[ENVIRONMENTS:]:
        path.unlink(missing_ok=True)
        shutil.rmtree(path.parent, ignore_errors=True)


def found_uv() -> str:
    """The program uv. Raises ConfigError where it is not installed."""
    beside = Path(sys.executable).with_name("uv")
    if (found := shutil.which("uv") or (str(beside) if beside.is_file() else None)) is None:
        raise ConfigError(
            "A clean environment is made by uv, which is not installed; install it (`pip install uv`), or check in the "
            "present environment with --here."
        )
    return found


@cache
def pinned() -> list[str]:
    """What is installed here, as constraints: NAME==VERSION, sorted; without what was installed from a folder."""
    found = {}
    for one in importlib.metadata.distributions():
        if one.read_text("direct_url.json") is None and one.metadata["Name"]:
            found[one.metadata["Name"].lower().replace("_", "-")] = one.version
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _made(uv: str, folder: Path, python: Path, lines: Sequence[str]) -> None:
    present = getattr(sys, "_base_executable", sys.executable)
    # Brain-Score scores with Python 3.11; where this machine has none, the present one has to do.
    for interpreter in [present] if sys.version_info[:2] == (3, 11) else ["3.11", present]:
        done = _run([uv, "venv", "--quiet", "--no-python-downloads", "--python", interpreter, str(folder)])
        if not done.returncode:
            break
    if done.returncode:
        raise InputError(f"uv cannot make an environment ({_last(done)}); check in the present one with --here.")
    constraints, wanted = folder / "constraints.txt", folder / "requirements.txt"
    constraints.write_text("\n".join(pinned()) + "\n", encoding="utf-8")
    wanted.write_text("\n".join([*BASE, *lines]) + "\n", encoding="utf-8")
    install = [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(wanted)]
    same = ["-c", str(constraints)]
    for options in (["--offline", *same], same, []):
        done = _run([*install, *options])
        if not done.returncode:
            return
    said = _last(done)
    shutil.rmtree(folder, ignore_errors=True)
    if NETWORK.search(done.stderr):
        raise UnreachableError(
            f"Brain-Score and the plugin's requirements are not in uv's cache and cannot be fetched ({said}); connect "
            "to the network, or check in the present environment with --here."
        )
    raise InputError(
        f"The plugin's requirements cannot be installed beside Brain-Score's own ({said}); mend requirements.txt: "
        "Brain-Score's environment would fail as this one does."
    )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(command, capture_output=True, text=True, env=clean, check=False)


def _last(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stderr.split())[-300:] or f"exit code {done.returncode}"


# --------------------------------------------------------------------------------------------------------- overlay


def installed_package(python: Path) -> Path:
    """The folder of brainscore_vision in an environment. Raises InputError where it is not installed."""
    code = "import importlib.util as u; s = u.find_spec('brainscore_vision'); print(s.origin if s else '')"
    done = _run([str(python), "-P", "-c", code])
    if done.returncode or not done.stdout.strip():
        raise InputError(f"Brain-Score cannot be found in {python}; install brainscore-vision there.")
    return Path(done.stdout.strip()).parent


def overlay(python: Path, plugin: Path, target: Path) -> Path:
    """Brain-Score's package as `target`/brainscore_vision, of links to its files, with the plugin among its models and
    the three images that its generic tests show, which its wheel lacks; the plugin's folder in it.

    Links are hard ones: Brain-Score looks for region maps from the place of its own files, symbolic links resolved.
    Raises InputError where the environment of `python` has no Brain-Score.
    """
    package, top = installed_package(python), target / "brainscore_vision"
    for folder, _, files in os.walk(package):
        if Path(folder).name == "__pycache__":
            continue
        place = top / Path(folder).relative_to(package)
        place.mkdir(parents=True)
        for name in files:
            source = Path(folder) / name
            try:
                os.link(source, place / name)
            except OSError:  # another file system
                shutil.copyfile(source, place / name)
    _stand_in_for_pytest_check(python, target)
    own = top / "models" / plugin.resolve().name
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(plugin, own, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    generic_images(top / "model_helpers" / "generic_plugin_tests_resources")
    return own


def _stand_in_for_pytest_check(python: Path, target: Path) -> None:
    """Brain-Score's search for identifiers stands in a file that imports pytest_check for what it does with conda
    alone; where that is not installed, an empty module of its name lets the search be imported."""
    code = "import importlib.util as u, sys; sys.exit(u.find_spec('pytest_check') is None)"
    if _run([str(python), "-P", "-c", code]).returncode:
        (target / "pytest_check.py").write_text('"""Nothing: it is imported, and not used by what is run here."""\n')


def generic_images(folder: Path) -> None:
    """rgb1.jpg, rgb2.jpg and rgb3.png: small colour images, drawn from a seed."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in ("rgb1.jpg", "rgb2.jpg", "rgb3.png"):
        coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC).save(folder / name)
