"""What stimuli and recordings share in asking the installed Brain-Score for its data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from bridge.errors import ConfigError, InputError, UnreachableError, did_you_mean

Registry = Literal["stimulus_set", "data", "benchmark"]
_NAMES: dict[Registry, str] = {"stimulus_set": "stimulus set", "data": "recordings", "benchmark": "benchmark"}
STORAGE = "https://brainscore-storage.s3.amazonaws.com"
"""Where Brain-Score keeps its public data."""


def imported() -> Any:
    """The module `brainscore_vision`, set so that it changes nothing outside this project's cache.

    Unless told otherwise, it installs each plugin's requirements into the running environment, and keeps results under
    names that say nothing of weights or versions. What a user sets (RESULTCACHING_HOME, BRAINSCORE_HOME) stays; both
    are read when it is first imported.
    """
    from importlib.metadata import version

    from bridge.store import cache_folder

    os.environ["BS_INSTALL_DEPENDENCIES"] = "no"
    apart = cache_folder() / "brain-score" / version("brainscore-vision")
    os.environ.setdefault("RESULTCACHING_HOME", str(apart / "results"))
    os.environ.setdefault("BRAINSCORE_HOME", str(apart / "home"))
    import brainscore_vision

    return brainscore_vision


@cache
def registered(registry: Registry) -> dict[str, Path]:
    """The identifiers that the installed Brain-Score registers, sorted, each with the file that registers it.

    Read from its source, as Brain-Score does itself; nothing of it is imported.
    """
    spec = find_spec("brainscore_vision")
    assert spec is not None
    assert spec.origin is not None
    found: dict[str, Path] = {}
    folder = "benchmarks" if registry == "benchmark" else "data"
    for file in Path(spec.origin).parent.glob(f"{folder}/*/__init__.py"):
        text = re.sub(r"(?m)^\s*#.*", "", file.read_text(encoding="utf-8"))
        # `data_registry` is also the end of other registries' names.
        for name in re.findall(rf"""(?<![a-z_]){registry}_registry\[['"]([^'"<>]+)['"]\]""", text):
            found[name] = file
    return dict(sorted(found.items()))


def check_registered(registry: Registry, identifier: str) -> None:
    """Raise ConfigError, with the nearest name, unless Brain-Score registers an identifier."""
    if identifier not in (known := registered(registry)):
        raise ConfigError(f"Brain-Score has no {_NAMES[registry]} {identifier!r}; {did_you_mean(identifier, known)}.")


def load_registered(registry: Registry, identifier: str) -> Any:
    """What Brain-Score's own loader gives for an identifier; it is fetched where it is not cached.

    Raises ConfigError for an unknown identifier, InputError where a package is missing that it needs, UnreachableError
    when it has to be fetched and cannot be.
    """
    check_registered(registry, identifier)
    brainscore = imported()
    load = {
        "data": brainscore.load_dataset,
        "stimulus_set": brainscore.load_stimulus_set,
        "benchmark": brainscore.load_benchmark,
    }[registry]
    try:
        return load(identifier)
    except ImportError as error:
        raise InputError(
            f"Brain-Score's {_NAMES[registry]} {identifier!r} needs a package that is not here ({error}); install it "
            "yourself: nothing is installed behind your back."
        ) from error
    except Exception as error:
        why = " ".join(str(error).split())[:150]
        if "SHA1 mismatch" in why:
            raise InputError(
                f"What was fetched of Brain-Score's {_NAMES[registry]} {identifier!r} is not what its hash says "
                f"({why}); delete it from BRAINIO_HOME (default ~/.brainio) and fetch it again."
            ) from error
        raise UnreachableError(
            f"Brain-Score's {_NAMES[registry]} {identifier!r} cannot be fetched ({type(error).__name__}: {why}); "
            "connect to the network, or name in BRAINIO_HOME a folder where it was fetched before."
        ) from error


def check_reachable(identifiers: list[str]) -> None:
    """Raise UnreachableError unless the files of all identifiers were fetched before, or Brain-Score's storage answers.

    What was fetched is recognised by its file name, which holds the identifier.
    """
    _ask_storage(not_kept(identifiers))


def not_kept(identifiers: Iterable[str]) -> list[str]:
    """Those of the identifiers whose files the client has not fetched; nothing is asked of the network."""
    kept = _kept()
    return [name for name in identifiers if not any(stem.endswith(name.replace(".", "_")) for stem in kept)]


def check_benchmarks_reachable(identifiers: list[str]) -> None:
    """The same for benchmarks, whose data go by other names: recognised by the name of their study."""
    _ask_storage(benchmarks_not_kept(identifiers))


def benchmarks_not_kept(identifiers: Iterable[str]) -> list[str]:
    """Those of the benchmarks of whose study no file was fetched; nothing is asked of the network."""
    kept = _kept()
    study = {name: re.split(r"public|[._-]", name)[0] for name in identifiers}
    return [name for name in study if not any(study[name] in stem for stem in kept)]


def _kept() -> list[str]:
    """The names of the files that Brain-Score's client has fetched, without their endings."""
    home = Path(os.environ.get("BRAINIO_HOME") or "~/.brainio").expanduser()
    return [path.stem for path in home.glob("*/*") if path.suffix in (".nc", ".zip")]


def _ask_storage(missing: list[str]) -> None:
    if missing:
        from bridge.data.fetching import check_address

        check_address(
            STORAGE,
            f"Brain-Score's {', '.join(map(repr, missing))}",
            "or name in BRAINIO_HOME a folder where it was fetched before",
        )


def citation(registry: Registry, identifier: str) -> str:
    """Authors, year and title of the paper that Brain-Score names for an identifier, and the identifier."""
    written = paper(registered(registry)[identifier].read_text(encoding="utf-8"))
    return (f"{written} " if written else "") + f"Brain-Score's {identifier}."


def paper(text: str) -> str:
    """Authors, year and title of the first paper in a text that holds BibTeX; empty where there is none."""
    found = {
        key: " ".join(match.group(1).split())
        for key in ("author", "year", "title")
        if (match := re.search(rf"\b{key}\s*=\s*\{{([^}}]*)\}}", text))
    }
    if "author" not in found:
        return ""
    return f"{found['author'].replace(' and ', '; ')} ({found.get('year', 'n.d.')}). {found.get('title', '')}."
