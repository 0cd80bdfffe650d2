"""What a judge needs: the file and the function that `evaluation.judge` names, or an endpoint's client and key.

Nothing is run here, and nobody is asked.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Recipe

KEY = "evaluation.judge"
ENDPOINT = "evaluation.judge_endpoint"


def judge_place(recipe: Recipe) -> tuple[Path, str] | None:
    """File and function that `evaluation.judge` names; None without a judge.

    Raises:
        InputError: it is not FILE.py:FUNCTION.
    """
    told = recipe.evaluation.judge
    if told is None:
        return None
    name, colon, function = told.rpartition(":")
    if not colon or not name.endswith(".py") or not function.isidentifier():
        raise recipe.error(KEY, f"must be FILE.py:FUNCTION, such as judge.py:judge, not {told!r}")
    return recipe.folder / Path(name).expanduser(), function


def check_judge(recipe: Recipe) -> None:
    """Raises InputError when the file, the function, or an endpoint's client or key is not there."""
    if recipe.evaluation.judge_endpoint.base_url is not None:
        if importlib.util.find_spec("openai") is None:
            message = "needs the package openai: pip install 'megatron-sbp[judge]'"
            raise recipe.error(ENDPOINT, message)
        api_key(recipe)
        return
    place = judge_place(recipe)
    if place is None:
        return
    file, function = place
    if not file.is_file():
        raise recipe.error(KEY, f"no such file: {file}")
    try:
        body = ast.parse(file.read_bytes(), str(file)).body
    except (SyntaxError, ValueError) as error:
        raise InputError(f"is no Python ({error})", file=file, key=KEY) from error
    names = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in body:
        if isinstance(node, ast.Assign | ast.Import | ast.ImportFrom):
            targets = node.targets if isinstance(node, ast.Assign) else node.names
            names |= {part.id for part in targets if isinstance(part, ast.Name)}
            names |= {part.asname or part.name for part in targets if isinstance(part, ast.alias)}
    if function not in names:
        raise InputError(f"defines no '{function}'", file=file, key=KEY)


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
        raise recipe.error(where, f"{variable} is not set: export the key, or give null for a server that wants none")
    if not re.fullmatch(r"[!-~]+", key):
        raise recipe.error(where, f"what {variable} holds is no key: it has spaces or characters outside of ASCII")
    return key
