"""The file and the function that `evaluation.judge` names; nothing of it is run here."""

from __future__ import annotations

import ast
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Recipe

KEY = "evaluation.judge"


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
    """Raises InputError when the file or the function is not there; runs nothing of the file."""
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
