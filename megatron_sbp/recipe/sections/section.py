"""What every section of a recipe is: fields with a type, a range, and their documentation below them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from megatron_sbp.base.untyped import JsonObject

DEFAULTS: Any = Field(default_factory=dict, validate_default=True)  # Any: what Field() returns, for any section
"""A section that can be left out."""


class Section(BaseModel):
    """Fields are checked when a section is created, but not by `model_copy(update=...)`."""

    # A run only ever validates Recipe: building a separate validator for each section would double the time.
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, defer_build=True)


def settings(section: Section, *leave_out: str) -> JsonObject:
    """A recipe section as a dict, for a stage's settings, without fields that do not change outputs."""
    return section.model_dump(exclude=set(leave_out))
