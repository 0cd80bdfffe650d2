"""What all sections have in common: documentation, types, and what is refused."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from megatron_sbp.recipe.checks import all_keys
from megatron_sbp.recipe.sections import Pairs, Recipe, Section, settings


def test_every_field_is_documented():
    """The recipe's documentation is its doc strings: one below each field, and one of each section."""
    sections = [Recipe, *Section.__subclasses__()]
    for section in sections:
        assert section.__doc__
        for name, field in section.model_fields.items():
            assert field.description or field.annotation in sections, f"{section.__name__}.{name}"
    assert len(all_keys()) > 100


def test_defaults_have_the_types_of_their_fields():
    """Settings have digests: 1 and 1.0 are different values in them."""
    for section in [Recipe, *Section.__subclasses__()]:
        for name, field in section.model_fields.items():
            if isinstance(field.default, int | float):
                kinds = [getattr(kind, "__origin__", kind) for kind in get_args(field.annotation)]  # of `Float | None`
                assert type(field.default) in [field.annotation, *kinds], f"{section.__name__}.{name}"


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError, match="alhpa"):
        Pairs.model_validate({"alhpa": 0.5})


def test_settings_of_a_stage_leave_out_what_changes_no_output():
    assert settings(Pairs(alpha=0.5), "alpha") == settings(Pairs(alpha=0.9), "alpha")
    assert settings(Pairs(alpha=0.5)) != settings(Pairs(alpha=0.9))
