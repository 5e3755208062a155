"""What is wrong with a part of a config, in sentences a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from bridge.errors import ConfigError, did_you_mean


def validated(annotation: Any, content: Any) -> Any:
    """Plain values as the model, or the kind of a tagged union, that `annotation` stands for.

    Raises ConfigError that names the field, the value given, what is allowed, and the nearest valid name.
    """
    try:
        return TypeAdapter(annotation).validate_python(content)
    except ValidationError as error:
        raise ConfigError(_explain(annotation, error.errors())) from None


def _explain(annotation: Any, problems: Sequence[Mapping[str, Any]]) -> str:
    """One sentence for each of the first few problems."""
    sentences = [_sentence(annotation, problem) for problem in problems[:4]]
    if len(problems) > 4:
        sentences.append(f"({len(problems) - 4} more problems.)")
    return "\n".join(dict.fromkeys(sentences))


def _sentence(annotation: Any, problem: Mapping[str, Any]) -> str:
    kind, location = problem["type"], list(problem["loc"])
    model, path, tags = _walk(annotation, location)
    if kind == "extra_forbidden" and path[-1:] != [str(location[-1])]:
        path.append(repr(location[-1]))  # a key that is no name, such as '' or 'per cell'
    where = ".".join(path) or "the settings"
    given = problem["input"]
    if kind == "extra_forbidden":
        fields = model.model_fields if model else {}
        return f"{where}: there is no such key; {did_you_mean(path[-1], fields)}."
    if kind in {"union_tag_invalid", "literal_error", "enum"}:
        allowed = re.findall(r"'([^']*)'|(\d+)", problem["ctx"].get("expected_tags") or problem["ctx"]["expected"])
        value = given.get("kind") if kind == "union_tag_invalid" and isinstance(given, dict) else given
        if kind == "union_tag_invalid":
            where = ".".join([*path, "kind"])
        return f"{where}: was given {value!r}; {did_you_mean(str(value), [a or b for a, b in allowed])}."
    if kind == "union_tag_not_found":
        return f"{where}: has no `kind`; {did_you_mean('', tags)}."
    if kind == "missing":
        return f"{where}: is missing; add it."
    if kind == "string_pattern_mismatch":
        return f"{where}: was given {_short(given)}; expected the form {problem['ctx']['pattern']}."
    message = _EXPECTED.get(kind) or problem["msg"].removeprefix("Value error, ")
    return f"{where}: was given {_short(given)}; {message[0].lower()}{message[1:]}."


_EXPECTED = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "expected a table of settings"),
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "expected a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "expected a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "expected true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "expected a list"),
    "string_type": "expected text",
    "too_short": "expected at least one item",
}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _walk(annotation: Any, location: Sequence[str | int]) -> tuple[type[BaseModel] | None, list[str], list[str]]:
    """The model that owns the last key of a pydantic location, the location as a user would write it, and the kinds
    that stand there.

    Pydantic puts the tag of a union into the location; the user's file has no such level.
    """
    choices = {_tag(found): found for found in _models(annotation)}
    model = next(iter(choices.values())) if len(choices) == 1 else None
    path: list[str] = []
    owner = model
    for step in location:
        if isinstance(step, str) and step in choices and len(choices) > 1:
            owner = model = choices[step]
            choices = {}
            continue
        if isinstance(step, str) and not step.isidentifier():
            continue  # pydantic's name for a branch of a plain union, such as constrained-int
        path.append(str(step))
        if isinstance(step, int):
            continue
        owner = model or owner
        field = model.model_fields.get(step) if model else None
        choices = {_tag(found): found for found in _models(field.rebuild_annotation())} if field else {}
        model = next(iter(choices.values())) if len(choices) == 1 else None
    return owner, path, list(choices)


def _tag(model: type[BaseModel]) -> str:
    field = model.model_fields.get("kind")
    return str(field.default) if field else model.__name__


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    """The models inside a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and get_origin(annotation) is None:
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
