"""Seeded mutations of what files hold: JSON values, bytes, and the headers of safetensors files."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from bridge.errors import UserError

STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 2**64, -(2**63), 0.5, -0.0, 1e308, float("nan"), float("inf"),
    "", " ", "x", "0", "-1", "../../../etc/passwd", "/etc/passwd", "..", "a\0b", "\ud800", "é" * 300, "F32", "{}",
    [], {}, [[]], [None], {"": ""}, {"kind": "x"}, {"__metadata__": {}}, ["x"] * 50, [0, 0], [-1, 5], [2**62, 2**62],
]  # fmt: skip
"""Values that no reader expects everywhere."""
MODEST = [value for value in STRANGE if not isinstance(value, int | float) or abs(value) < 100]
"""Those that do not ask for work without end where a number of something is wanted."""


def mutated(content: Any, draws: random.Random, values: list[Any] = STRANGE) -> Any:
    """A copy of JSON-like content with one to three things changed: replaced, dropped, doubled, renamed or swapped."""
    made = copy.deepcopy(content)
    for _ in range(draws.randint(1, 3)):
        places = list(_places(made))
        if not places:
            return draws.choice(values)
        holder, key = draws.choice(places)
        how = draws.random()
        if how < 0.6:
            holder[key] = copy.deepcopy(draws.choice(values))
        elif how < 0.75:
            del holder[key]
        elif how < 0.85 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif how < 0.9 and isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
        else:
            other, at = draws.choice(places)
            if _has(other, at) and _has(holder, key):
                holder[key] = copy.deepcopy(other[at])
    return made


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of nested containers."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items):
        yield content, key
        yield from _places(value)


def damaged(data: bytes, draws: random.Random) -> bytes:
    """Bytes with some flipped, cut out, put in, or the end missing."""
    made = bytearray(data)
    for _ in range(draws.randint(1, 4)):
        at = draws.randrange(len(made) + 1)
        how = draws.random()
        if how < 0.5 and at < len(made):
            made[at] = draws.randrange(256)
        elif how < 0.65:
            del made[at : at + draws.randint(1, 40)]
        elif how < 0.8:
            made[at:at] = draws.randbytes(draws.randint(1, 40))
        elif how < 0.9:
            del made[at:]
        else:
            made[at:at] = draws.choice([b"[" * 20000, b'{"a":' * 20000, b"\0" * 64, b"9" * 5000])
    return bytes(made)


def header_mutated(data: bytes, draws: random.Random) -> bytes:
    """A safetensors file whose JSON header is changed as content; its stated length fits, or is anything."""
    length = int.from_bytes(data[:8], "little")
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    text = json.dumps(mutated(header, draws)).encode()
    stated = len(text) if draws.random() < 0.8 else draws.choice([0, 1, 7, len(text) + 9, 2**31, 2**63, 2**64 - 1])
    return stated.to_bytes(8, "little") + text + rest


def tried(act: Callable[[], Any], code: int | None = None) -> str | None:
    """The sentence of a UserError (with this exit code), or None where nothing was wrong.

    Any other exception is a fault of the program and is raised.
    """
    try:
        act()
    except UserError as error:
        met = error
    else:
        return None
    assert str(met)
    assert code in (None, met.exit_code)
    return str(met)
