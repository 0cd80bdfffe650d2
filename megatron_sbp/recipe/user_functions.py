"""User-supplied Python functions named in a recipe."""

from __future__ import annotations

from megatron_sbp.base.user_function import UserFunction
from megatron_sbp.recipe.sections import Recipe

PREDICATE = "filter.predicate"


def function_place(recipe: Recipe, key: str, told: str | None) -> UserFunction | None:
    """File and function named by a key; None if it is null.

    Raises:
        InputError: it is not FILE.py:FUNCTION.
    """
    if told is None:
        return None
    found = UserFunction.of(told, recipe.folder, key)
    if found is None:
        example = "judge.py:judge" if key.endswith("judge") else "keep.py:keep"
        raise recipe.error(key, f"must be FILE.py:FUNCTION, such as {example}, not {told!r}")
    return found


def check_function(recipe: Recipe, place: UserFunction | None) -> None:
    """Raises InputError if the file or the function is missing; runs nothing."""
    if place is None:
        return
    if not place.file.is_file():
        raise recipe.error(place.key, f"no such file: {place.file}")
    place.check()


def predicate_place(recipe: Recipe) -> UserFunction | None:
    """The function that `filter.predicate` names.

    Raises:
        InputError: see `function_place`.
    """
    return function_place(recipe, PREDICATE, recipe.filter.predicate)
