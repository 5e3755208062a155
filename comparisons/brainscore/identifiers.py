"""A plugin's identifiers: as Brain-Score's text search finds them, as running the plugin would register them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from bridge.errors import InputError
from comparisons.brainscore.submission import IDENTIFIER


@cache
def registered_models() -> dict[str, str]:
    """The models of the installed Brain-Score by identifier, each with its directory, as its own search finds them."""
    spec = find_spec("brainscore_vision")
    assert spec is not None
    assert spec.origin is not None
    found: dict[str, str] = {}
    for file in sorted(Path(spec.origin).parent.glob("models/*/__init__.py")):
        for name in re.findall(r"""model_registry\[['"]([^'"]+)['"]\]""", file.read_text("utf-8", errors="replace")):
            found[name] = file.parent.name
    return found


def searched(text: str) -> list[str]:
    """Identifiers in an __init__.py as `get_plugin_ids` finds them, right or wrong.

    >>> searched("model_registry['a'] = lambda: ModelCommitment('a', layers=['x'])")
    ["a'] = lambda: ModelCommitment('a', layers=['x"]
    """
    found = []
    for line in text.splitlines():
        if "model_registry[" in line and (match := re.search(r"model_registry\[.*\]", line)):
            found.append(match.group(0)[len("model_registry") + 2 : -2])
    return found


def registered(text: str) -> list[str | None]:
    """Identifiers that running an __init__.py would register; None for one that is computed."""
    found: list[str | None] = []
    for node in ast.walk(ast.parse(text)):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Subscript) and getattr(target.value, "id", "") == "model_registry":
                key = target.slice
                found.append(key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None)
    return found


def identifiers_of(folder: Path) -> list[str]:
    """The models of a plugin. Raises InputError for a folder that is none."""
    init = folder / "__init__.py"
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; give the one that `ventral brain-score export` wrote.")
    if not init.is_file():
        raise InputError(
            f"{folder} is no plugin: it has no __init__.py; give the folder that `ventral brain-score export` wrote."
        )
    try:
        return [name for name in registered(init.read_text(encoding="utf-8")) if name is not None]
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InputError(f"{init} is no Python ({error}); export the plugin again.") from error


def identifier_problems(folder: Path) -> Iterator[str]:
    """What is wrong with the identifiers of a plugin, in words."""
    text = (folder / "__init__.py").read_text(encoding="utf-8")
    by_text, by_running = searched(text), registered(text)
    if not by_running:
        yield "__init__.py registers no model; write model_registry['ID'] = lambda: ... on a line of its own"
    if None in by_running:
        yield "an identifier is computed, which the text search does not see; write each out in quotes"
    for name in by_running:
        if name is not None and name not in by_text:
            yield f"the text search does not find {name!r} (it reads {', '.join(map(repr, by_text)) or 'nothing'})"
        if name is not None and not re.fullmatch(IDENTIFIER, name):
            yield f"{name!r} is no identifier: letters, digits and . _ + -, no slash"
        if name in (known := registered_models()) and known[str(name)] != folder.resolve().name:
            yield f"{name!r} is taken already by Brain-Score's models/{known[str(name)]}; give another"
    for name in by_text:
        if name not in by_running:
            yield f"the text search finds {name!r}, which nothing registers (a comment or a text holds model_registry[)"
    for name in {name for name in by_running if by_running.count(name) > 1}:
        yield f"{name!r} is registered twice"
