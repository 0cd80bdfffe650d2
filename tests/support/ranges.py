"""The ranges of a recipe's numbers, from its JSON schema."""

from __future__ import annotations

from typing import Any, NamedTuple

from megatron_sbp.recipe.schema import schema_of


class Range(NamedTuple):
    """Numbers from `low` to `high`; an open end does not belong to it. None is no bound."""

    low: float | None
    high: float | None
    low_open: bool
    high_open: bool


def ranges() -> dict[str, Range]:
    """The range of every whole and real number, by dotted key."""
    schema = schema_of()
    return dict(_of(schema, schema["$defs"], ""))


def _of(section: dict[str, Any], others: dict[str, Any], prefix: str):
    for name, part in section["properties"].items():
        part = part.get("anyOf", [part])[0]
        if "$ref" in part:
            yield from _of(others[part["$ref"].rpartition("/")[2]], others, f"{prefix}{name}.")
        elif {"integer", "number"} & set(part.get("type", [])) and "pattern" in part:
            low, high = (part.get(f"exclusive{end}", part.get(end.lower())) for end in ("Minimum", "Maximum"))
            yield prefix + name, Range(low, high, "exclusiveMinimum" in part, "exclusiveMaximum" in part)
