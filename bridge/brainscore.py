"""What stimuli and recordings share in asking the installed Brain-Score for its data."""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from bridge.errors import ConfigError, UnreachableError, did_you_mean

Registry = Literal["stimulus_set", "data"]
_NAMES: dict[Registry, str] = {"stimulus_set": "stimulus set", "data": "recordings"}
STORAGE = "https://brainscore-storage.s3.amazonaws.com"
"""Where Brain-Score keeps its public data."""


@cache
def registered(registry: Registry) -> dict[str, Path]:
    """The identifiers that the installed Brain-Score registers, sorted, each with the file that registers it.

    Read from its source, as Brain-Score does itself; nothing of it is imported.
    """
    spec = find_spec("brainscore_vision")
    assert spec is not None
    assert spec.origin is not None
    found: dict[str, Path] = {}
    for file in Path(spec.origin).parent.glob("data/*/__init__.py"):
        text = file.read_text(encoding="utf-8")
        # `data_registry` is also the end of other registries' names.
        for name in re.findall(rf"""(?<![a-z_]){registry}_registry\[['"]([^'"]+)['"]\]""", text):
            found[name] = file
    return dict(sorted(found.items()))


def check_registered(registry: Registry, identifier: str) -> None:
    """Raise ConfigError, with the nearest name, unless Brain-Score registers an identifier."""
    if identifier not in (known := registered(registry)):
        raise ConfigError(f"Brain-Score has no {_NAMES[registry]} {identifier!r}; {did_you_mean(identifier, known)}.")


def load_registered(registry: Registry, identifier: str) -> Any:
    """What Brain-Score's own loader gives for an identifier; it is fetched where it is not cached.

    Raises ConfigError for an unknown identifier, UnreachableError when it has to be fetched and cannot be.
    """
    # Unless told otherwise, Brain-Score installs each plugin's requirements into the running environment.
    os.environ["BS_INSTALL_DEPENDENCIES"] = "no"
    import brainscore_vision

    check_registered(registry, identifier)
    load = brainscore_vision.load_dataset if registry == "data" else brainscore_vision.load_stimulus_set
    try:
        return load(identifier)
    except Exception as error:
        why = " ".join(str(error).split())[:150]
        raise UnreachableError(
            f"Brain-Score's {_NAMES[registry]} {identifier!r} cannot be fetched ({type(error).__name__}: {why}); "
            "connect to the network, or name in BRAINIO_HOME a folder where it was fetched before."
        ) from error


def check_reachable(identifiers: list[str]) -> None:
    """Raise UnreachableError unless the files of all identifiers were fetched before, or Brain-Score's storage answers.

    What was fetched is recognised by its file name, which holds the identifier.
    """
    home = Path(os.environ.get("BRAINIO_HOME") or "~/.brainio").expanduser()
    kept = [path.stem for path in home.glob("*/*") if path.suffix in (".nc", ".zip")]
    missing = [name for name in identifiers if not any(stem.endswith(name.replace(".", "_")) for stem in kept)]
    if missing:
        from bridge.data.fetching import check_address

        check_address(
            STORAGE,
            f"Brain-Score's {', '.join(map(repr, missing))}",
            "or name in BRAINIO_HOME a folder where it was fetched before",
        )


def citation(registry: Registry, identifier: str) -> str:
    """Authors, year and title of the paper that Brain-Score names for an identifier, and the identifier."""
    text = registered(registry)[identifier].read_text(encoding="utf-8")
    found = {
        key: " ".join(match.group(1).split())
        for key in ("author", "year", "title")
        if (match := re.search(rf"\b{key}\s*=\s*\{{([^}}]*)\}}", text))
    }
    paper = (
        f"{found.get('author', '').replace(' and ', '; ')} ({found.get('year', 'n.d.')}). {found.get('title', '')}. "
    )
    return (paper if "author" in found else "") + f"Brain-Score's {identifier}."
