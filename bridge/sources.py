"""Hashes of this project's source, so that a change of code can never bring an old number back from the cache."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from bridge.store import digest, file_sha256

ROOT = Path(__file__).parent.parent
FLOORS = ("bridge", "saes", "probes", "comparisons")


@lru_cache(maxsize=256)
def source_hash(module: str) -> str:
    """A hash of the source of a module and of all that it imports of this project, also inside functions.

    A package counts with all its modules (kinds and families are found by standing there); what is imported for type
    checking alone does not count. Nothing is imported. Raises ModuleNotFoundError for a module that does not exist.
    """
    found: dict[str, str] = {}
    waiting = [module]
    if _files(module) is None:
        raise ModuleNotFoundError(module)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        files = _files(name)
        found[name] = digest([file_sha256(path) for path in files or ()])
        for path in files or ():
            waiting += _imported(path)
    return digest(sorted(found.items()))


@lru_cache(maxsize=1024)
def _files(module: str) -> tuple[Path, ...] | None:
    """The files of a module or of a whole package; None where there is no such module.

    The package of a floor counts with its `__init__` alone: importing one of its modules is not importing all.
    """
    place = ROOT.joinpath(*module.split("."))
    if (place / "__init__.py").is_file():
        return (place / "__init__.py",) if module in FLOORS else tuple(sorted(place.rglob("*.py")))
    file = place.with_suffix(".py")
    return (file,) if file.is_file() else None


@lru_cache(maxsize=1024)
def _imported(path: Path) -> tuple[str, ...]:
    """The modules of this project that a file imports."""
    return tuple(dict.fromkeys(_walk(ast.parse(path.read_bytes()))))


def _walk(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield from _walk(other)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name.split(".")[0] in FLOORS)
        elif isinstance(child, ast.ImportFrom) and child.module and child.module.split(".")[0] in FLOORS:
            yield child.module
            names = (f"{child.module}.{alias.name}" for alias in child.names)
            yield from (name for name in names if _files(name) is not None)
        else:
            yield from _walk(child)
