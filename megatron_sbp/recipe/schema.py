"""The JSON schema of a recipe, for editors and for messages."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from pydantic.json_schema import GenerateJsonSchema

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe.sections import Recipe, Section

if TYPE_CHECKING:
    from pydantic_core import core_schema

_NUMBER = r"^\s*[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?\s*$"
"""Numbers that YAML 1.1 (1e-3) or YAML 1.2 (100_000) parses as strings; recipes may use them."""


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:
        return False  # it would repeat the key

    def int_schema(self, schema: core_schema.IntSchema) -> JsonObject:
        return {**super().int_schema(schema), "type": ["integer", "string"], "pattern": _NUMBER}

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonObject:
        return {**super().float_schema(schema), "type": ["number", "string"], "pattern": _NUMBER}


@functools.cache
def schema_of(section: type[Section] = Recipe) -> JsonObject:
    """The schema of a recipe, or of one section of it, in the dialect of 2020-12."""
    return {
        "$schema": _Generator.schema_dialect,
        **section.model_json_schema(schema_generator=_Generator),
    }
