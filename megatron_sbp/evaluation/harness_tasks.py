"""The files of lm-eval's tasks: which tasks a folder defines, and whether those of a recipe can be run.

Reads YAML only; lm-eval itself takes seconds to import.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import yaml

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.harness_checks import SECTION as KEY

_LOCAL = ("json", "csv", "parquet", "text", "arrow")
"""Kinds of data files that `datasets` reads without a network."""


class _Loader(yaml.SafeLoader):
    """Reads lm-eval's `!function module.name` as text, without running it."""


_Loader.add_constructor("!function", lambda loader, node: str(node.value))


def task_folder(recipe: Recipe) -> Path | None:
    """The folder that `evaluation.harness.task_folder` names; None without tasks."""
    harness = recipe.evaluation.harness
    if not harness.tasks:
        return None
    assert harness.task_folder is not None  # harness_checks
    return recipe.folder / files.home_expanded(harness.task_folder)


def harness_python(recipe: Recipe) -> Path | None:
    """The interpreter that `evaluation.harness.python` names."""
    named = recipe.evaluation.harness.python
    # Not resolved: the link that is called `python` tells the interpreter which environment it is in.
    return None if named is None else recipe.folder / named


def task_files(folder: Path) -> list[Path]:
    """All files that the figures of tasks may depend on, in order; hidden ones and compiled Python are left out."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
            found.append(path)
    return found


def defined_tasks(folder: Path) -> dict[str, Path]:
    """Names of the tasks, groups, and tags that a folder defines, each with a file that does.

    Raises:
        InputError: a file is not YAML.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*.yaml")):
        config = _read(file)
        tags = config.get("tag") or []
        for name in (config.get("task"), config.get("group"), *([tags] if isinstance(tags, str) else tags)):
            if isinstance(name, str):
                found.setdefault(name, file)
    return found


def check_harness(recipe: Recipe) -> None:
    """Raises InputError when lm-eval, the folder, a task, or a data file that a task names is not there."""
    folder, harness = task_folder(recipe), recipe.evaluation.harness
    if folder is None:
        return
    if harness.python is None:
        for package, name in (("lm_eval", "lm-eval"), ("vllm", "vllm")):
            if (package == "lm_eval" or harness.backend == "vllm") and importlib.util.find_spec(package) is None:
                message = f"needs the package {name}: pip install {name}, or name an interpreter as "
                raise recipe.error(KEY, f"{message}{KEY}.python")
    else:
        python = harness_python(recipe)
        if python is None or not python.exists():
            raise recipe.error(f"{KEY}.python", f"no such file: {python}")
    if not folder.is_dir():
        place = folder.resolve()
        command = f"`python tools/fetch_tasks.py --to {place}` writes the paper's tasks there"
        message = f"no such folder: {place}; on a machine with a network, {command}; without tasks: {KEY}.tasks=[]"
        raise recipe.error(f"{KEY}.task_folder", message)
    known = defined_tasks(folder)
    for name in harness.tasks:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.5) or sorted(known)[:5]
            there = f"it defines {', '.join(near)}" if near else "it defines no task"
            more = f" and {len(known) - len(near)} more" if len(known) > len(near) > 0 else ""
            raise recipe.error(f"{KEY}.tasks", f"no file in {folder} defines the task '{name}'; {there}{more}")
        _check_data(name, known, folder, set())


def _check_data(name: str, known: dict[str, Path], folder: Path, seen: set[str]) -> None:
    """Raises InputError where a task, or one in a group, names a data file that is not there."""
    if name not in known or name in seen:
        return
    file = known[name]
    config = _read(file)
    inner = config.get("task")
    for child in inner if isinstance(inner, list) else ():
        if isinstance(child, str):
            _check_data(child, known, folder, seen | {name})
    if config.get("dataset_path") not in _LOCAL:
        return
    named = (config.get("dataset_kwargs") or {}).get("data_files")
    for path in _paths(named):
        if not any(sign in path for sign in "*?[:") and not (folder / path).exists():
            message = f"no such file: {path} (paths are relative to {folder})"
            raise InputError(message, file=file, key="dataset_kwargs.data_files")


def _paths(named: object) -> Iterator[str]:
    if isinstance(named, str):
        yield named
    elif isinstance(named, dict | list):
        for inner in named.values() if isinstance(named, dict) else named:
            yield from _paths(inner)


def _read(file: Path) -> JsonObject:
    try:
        config = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"is not YAML ({error})", file=file) from error
    return config if isinstance(config, dict) else {}
