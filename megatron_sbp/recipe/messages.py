"""Turns pydantic's errors into messages for the recipe's author."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from pydantic import ValidationError

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe.schema import schema_of
from megatron_sbp.recipe.sections import Section
from megatron_sbp.recipe.values import shown

_KINDS = {
    "string": "a string",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}

_RENAMED = {"draws_per_shard": "generations_per_shard", "tokens_per_draw": "tokens_per_generation"}
"""Keys of earlier versions."""


def explain(error: ValidationError, section: type[Section]) -> tuple[str, str]:
    """The dotted key of the first error, and its message.

    Args:
        error: Raised when the section was created.
        section: Its class; keys are relative to it.
    """
    found = error.errors(include_url=False)
    # A misspelled key may be why another one is missing.
    unknown = [each for each in found if each["type"] == "extra_forbidden"]
    first = min(unknown, key=lambda each: len(each["loc"])) if unknown else found[0]
    kind, place, value = first["type"], first["loc"], first["input"]
    if kind == "string_unicode":  # a key with a lone surrogate; in values, values.py refuses it
        kind, place = "extra_forbidden", (*place, value)
    key = ".".join(step for step in place if isinstance(step, str))
    if kind == "missing":
        return key, "is missing and has no default"
    if kind == "value_error":  # raised in values.py
        return key, str(first["ctx"]["error"])
    if kind == "model_type":
        return key, f"is a section with keys of its own, not {shown(value)}"
    schema = schema_of(section)
    if kind == "extra_forbidden":
        return key, _unknown(key, _part(schema, place[:-1])["properties"])
    part = _part(schema, place)
    if kind.startswith(("greater_than", "less_than")):
        return key, f"must be {_range(part)}, not {value}"
    wanted = f"one of {', '.join(part['enum'])}" if "enum" in part else _KINDS[part["type"]]
    return key, f"must be {wanted}, not {_given(value, wanted)}"


def _given(value: object, wanted: str) -> str:
    """A value of the wrong type. A bare 12, or yes, is not a string in YAML."""
    if wanted != _KINDS["string"] or not isinstance(value, bool | int | float):
        return shown(value)
    if isinstance(value, bool):
        return f"{str(value).lower()} (write it in quotes)"
    return f'the number {value} (write "{value}")'


def _unknown(key: str, known: Collection[str]) -> str:
    section, dot, name = key.rpartition(".")
    if _RENAMED.get(name) in known:
        return f"is now called '{section}{dot}{_RENAMED[name]}'"
    near = difflib.get_close_matches(name[:100], known, n=1)
    if near:
        return f"unknown key; did you mean '{section}{dot}{near[0]}'?"
    return f"unknown key; known here: {', '.join(known)}"


def _part(schema: JsonObject, place: Iterable[str | int]) -> JsonObject:
    """The part of a schema for the value at a path of mapping keys and list positions."""
    part = schema
    for step in place:
        if isinstance(step, int):
            part = part["items"]
        else:
            part = part["properties"][step] if "properties" in part else part["additionalProperties"]
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        part = part.get("anyOf", [part])[0]  # the other one is null
    return part


def _range(part: JsonObject) -> str:
    """The range of a number: `above 0`, `0 or more`, `between 0 and 1`, `0 or more and below 1`."""
    if "minimum" in part and "maximum" in part:
        return f"between {part['minimum']:,} and {part['maximum']:,}"
    words = {"exclusiveMinimum": "above {:,}", "minimum": "{:,} or more"}
    words |= {"exclusiveMaximum": "below {:,}", "maximum": "at most {:,}"}
    return " and ".join(phrase.format(part[word]) for word, phrase in words.items() if word in part)
