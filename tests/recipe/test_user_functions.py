"""Functions that a recipe names; what a file must be is in tests/evaluation/test_judge_function.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import load_recipe
from megatron_sbp.recipe.user_functions import check_function, predicate_place

PEOPLE = Path(__file__).parents[2] / "examples" / "people" / "recipe.yaml"


def test_a_function_is_found_relative_to_the_recipe():
    place = predicate_place(load_recipe(PEOPLE, ["filter.predicate=keep.py:keep"]))
    assert place is not None and (place.file, place.name) == (PEOPLE.parent / "keep.py", "keep")
    assert predicate_place(load_recipe(PEOPLE)) is None
    check_function(load_recipe(PEOPLE), None)


@pytest.mark.parametrize("told", ["keep.py", "keep:keep", "keep.py:keep it"])
def test_what_names_no_function_is_refused_with_an_example(told):
    with pytest.raises(InputError, match=r"'filter.predicate': must be FILE.py:FUNCTION, such as keep.py:keep, not"):
        predicate_place(load_recipe(PEOPLE, [f"filter.predicate={told}"]))
