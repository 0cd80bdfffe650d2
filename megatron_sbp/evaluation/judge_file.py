"""What a judge needs: the file and the function that `evaluation.judge` names, or an endpoint's client and key.

Nothing is run here, and no request is sent.
"""

from __future__ import annotations

import importlib.util
import os
import re

from megatron_sbp.base.user_function import UserFunction
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.user_functions import check_function, function_place

KEY = "evaluation.judge"
ENDPOINT = "evaluation.judge_endpoint"


def judge_place(recipe: Recipe) -> UserFunction | None:
    """File and function that `evaluation.judge` names; None without a judge.

    Raises:
        InputError: it is not FILE.py:FUNCTION.
    """
    return function_place(recipe, KEY, recipe.evaluation.judge)


def check_judge(recipe: Recipe) -> None:
    """Raises InputError when the file, the function, or an endpoint's client or key is not there."""
    if recipe.evaluation.judge_endpoint.base_url is not None:
        if importlib.util.find_spec("openai") is None:
            message = "needs the package openai: pip install openai"
            raise recipe.error(ENDPOINT, message)
        api_key(recipe)
        return
    check_function(recipe, judge_place(recipe))


def api_key(recipe: Recipe) -> str:
    """The key of an endpoint, from the environment; empty where `api_key_variable` is null.

    Raises:
        InputError: the variable is not set, or holds what cannot be sent. The message does not repeat it.
    """
    variable = recipe.evaluation.judge_endpoint.api_key_variable
    if variable is None:
        return ""
    key, where = os.environ.get(variable, "").strip(), f"{ENDPOINT}.api_key_variable"
    if not key:
        raise recipe.error(where, f"{variable} is not set: export the key, or give null for a server that needs none")
    if not re.fullmatch(r"[!-~]+", key):
        raise recipe.error(where, f"what {variable} holds is not a key: it has spaces or non-ASCII characters")
    return key
