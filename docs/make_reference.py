"""Write the reference from the config's fields, the commands' options and the docstrings: `make reference`."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MADE = "<!-- Written by `make reference`; change the docstrings, not this page. -->"
PYTHON = {
    "comparisons": ["run", "read"],
    "comparisons.results": ["RunResults"],
    "bridge.models": ["load"],
    "bridge.streams": ["read"],
    "saes": ["load", "SparseAutoencoder"],
    "comparisons.rsa.evaluation": ["evaluate"],
    "comparisons.rsa.inference": ["infer"],
    "comparisons.encoding.evaluation": ["predictivity", "brainscore_splits"],
    "comparisons.encoding.banded": ["banded_ridge"],
    "comparisons.encoding.unique_variance": ["unique_share"],
    "comparisons.persistence.decodability": ["decodability"],
    "comparisons.persistence.unique_simple": ["unique_simple"],
    "comparisons.variability.transport": ["stream_transport", "transported"],
    "comparisons.variability.decoder_error": ["transports"],
    "comparisons.editing.slopes": ["partial_slopes"],
    "comparisons.editing.gating": ["shared_gate"],
    "comparisons.verdicts.evidence": ["bayes_factor", "wilson"],
    "comparisons.brainscore.own": ["benchmark_of"],
}
"""What a user may call, by module, in the order of the page."""


def pages() -> dict[str, str]:
    """The pages, by file name."""
    return {"config.md": config_page(), "commands.md": commands_page(), "python.md": python_page()}


# --------------------------------------------------------------------------------------------------------- the config


def config_page() -> str:
    """Every field of a config, from its JSON schema."""
    from comparisons.config import Config

    schema = Config.model_json_schema()
    parts = schema["$defs"]
    lines = ["# Config reference", "", MADE, "", _text(schema["description"]), ""]
    lines += ["`ventral schema` prints the same as JSON schema, for completion and checks in an editor.", ""]
    lines += [*_fields(schema["properties"], schema.get("required", ()), parts), ""]
    told: set[str] = set()
    for name, field in schema["properties"].items():
        kinds = list(_named(field, parts))
        if kinds:
            lines += [f"## `{name}`", ""]
        for kind in kinds:
            lines += _part(kind, parts, told, level=3)
    return "\n".join(lines).rstrip() + "\n"


def _part(name: str, parts: Mapping[str, Any], told: set[str], level: int) -> list[str]:
    """A kind's description and fields, then those of the parts that it names; each is told once."""
    if name in told:
        return []
    told.add(name)
    part = parts[name]
    if "properties" not in part:
        return []
    kind = part["properties"].get("kind", {}).get("const")
    lines = [
        f"{'#' * level} {_anchor(name, parts)}",
        "",
        *([_text(part["description"]), ""] if "description" in part else []),
    ]
    fields = {key: value for key, value in part["properties"].items() if key != "kind" or kind is None}
    lines += [*_fields(fields, part.get("required", ()), parts), ""] if fields else []
    for field in fields.values():
        for inner in _named(field, parts):
            lines += _part(inner, parts, told, level=4)
    return lines


def _fields(fields: Mapping[str, Any], required: Any, parts: Mapping[str, Any]) -> list[str]:
    lines = ["| field | values | default | |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = "**required**" if name in required else _code(_plain(field.get("default", "")))
        lines.append(f"| `{name}` | {_type(field, parts)} | {default} | {_text(field.get('description', ''))} |")
    return lines


def _anchor(name: str, parts: Mapping[str, Any]) -> str:
    """How a part is headed: by its kind, else by its name."""
    kind = parts[name].get("properties", {}).get("kind", {}).get("const")
    return f"`kind: {kind}` ({name})" if kind else name


def _named(field: Any, parts: Mapping[str, Any]) -> Iterator[str]:
    """The parts that a field's schema refers to."""
    if isinstance(field, dict):
        if "$ref" in field:
            yield field["$ref"].rsplit("/", 1)[1]
        for key, value in field.items():
            if key not in ("discriminator", "default"):
                yield from _named(value, parts)
    elif isinstance(field, list):
        for value in field:
            yield from _named(value, parts)


def _type(field: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """The values that a field takes, in words."""
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[1]
        return _type(parts[name], parts) if "properties" not in parts[name] else _link(name, parts)
    if "const" in field:
        return _code(field["const"])
    if "enum" in field:
        return ", ".join(_code(value) for value in field["enum"])
    for key in ("anyOf", "oneOf"):
        if key in field:
            told = dict.fromkeys(_type(one, parts) for one in field[key])
            return " or ".join(one for one in told if one)
    kind = field.get("type")
    if kind == "array":
        if "prefixItems" in field:
            return f"[{', '.join(_type(one, parts) for one in field['prefixItems'])}]"
        return f"list of {_type(field.get('items', {}), parts) or 'values'}"
    if kind == "object":
        inner = field.get("additionalProperties")
        return f"name: {_type(inner, parts)}" if isinstance(inner, dict) and inner else "names and values"
    if kind == "null":
        return "none"
    limits = [
        f"{sign} {_plain(field[key])}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in field
    ]
    names = {"string": "text", "boolean": "true or false"}
    return " ".join([names.get(str(kind), str(kind or "")), *([", ".join(limits)] if limits else [])]).strip()


def _link(name: str, parts: Mapping[str, Any]) -> str:
    anchor = re.sub(r"[^\w -]", "", _anchor(name, parts).lower()).replace(" ", "-")
    return f"[{name}](#{anchor})"


def _code(value: Any) -> str:
    """A value as code; nothing where there is none."""
    return f"`{value}`" if value not in ("", None) else ""


def _plain(value: Any) -> Any:
    import json

    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else value


def _text(text: str) -> str:
    """A docstring on one line, safe in a table."""
    return re.sub(r"\s+", " ", inspect.cleandoc(text)).replace("|", "\\|").strip()


# ------------------------------------------------------------------------------------------------------- the commands


def commands_page() -> str:
    """Every command with its arguments and options."""
    import click
    from typer.main import get_command

    from comparisons.cli import app

    lines = ["# Commands", "", MADE, ""]

    def tell(command: Any, name: str, parent: Any) -> None:
        context = click.Context(command, info_name=name.rsplit(" ", 1)[-1], parent=parent)
        if hasattr(command, "commands"):
            for inner in command.list_commands(context):
                tell(command.get_command(context, inner), f"{name} {inner}", context)
            return
        lines.extend([f"## `{name}`", "", _text(command.help or ""), ""])
        rows = []
        for parameter in command.params:
            if parameter.name == "help":
                continue
            argument = parameter.param_type_name == "argument"
            shown = (parameter.metavar or str(parameter.name)).upper() if argument else ", ".join(parameter.opts)
            rows.append(f"| `{shown}` | {_text(getattr(parameter, 'help', '') or '')} |")
        if rows:
            lines.extend(["| | |", "|---|---|", *rows, ""])

    tell(get_command(app), "ventral", None)
    return "\n".join(lines).rstrip() + "\n"


# ---------------------------------------------------------------------------------------------------------- from Python


def python_page() -> str:
    """Signatures and docstrings of what a user may call."""
    lines = [
        "# From Python",
        "",
        MADE,
        "",
        "The [notebook](first_comparison.ipynb) shows the first of these at work.",
        "",
    ]
    for module, names in PYTHON.items():
        found = importlib.import_module(module)
        for name in names:
            lines += [f"## `{module}.{name}`", "", *_told(getattr(found, name), name)]
    return "\n".join(lines).rstrip() + "\n"


def _told(thing: Any, name: str) -> list[str]:
    if not inspect.isclass(thing):
        return ["```text", f"{name}{_signature(thing)}", "```", "", *_doc(thing), ""]
    lines = [*_doc(thing), ""]
    for key, method in vars(thing).items():
        if not key.startswith("_") and inspect.isfunction(method) and method.__doc__:
            lines += ["```text", f"{key}{_signature(method)}", "```", "", *_doc(method), ""]
    return lines


def _signature(thing: Any) -> str:
    """A signature, a parameter a line where it is long."""
    signature = inspect.signature(thing)
    text = re.sub(r"'([\w\[\], .|*]+)'", r"\1", str(signature))
    if len(text) < 90:
        return text
    shown, starred = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown, starred = [*shown, "*"], True
        shown.append(re.sub(r"'([\w\[\], .|*]+)'", r"\1", str(parameter)))
    back = signature.return_annotation
    return "(\n    " + ",\n    ".join(shown) + f",\n) -> {back}"


def _doc(thing: Any) -> list[str]:
    """A docstring as paragraphs; what is indented in it as a block."""
    lines: list[str] = []
    for part in inspect.cleandoc(thing.__doc__ or "").split("\n\n"):
        indented = all(line.startswith("    ") for line in part.splitlines())
        lines += ["```text", inspect.cleandoc(part), "```", ""] if indented else [part.replace("|", "\\|"), ""]
    return lines[:-1]


if __name__ == "__main__":
    for file, text in pages().items():
        (HERE / file).write_text(text)
