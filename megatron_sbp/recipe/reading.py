"""From a YAML file and overrides to a Recipe."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe.checks import check_recipe, check_text
from megatron_sbp.recipe.sections import Recipe
from megatron_sbp.recipe.tree import MAX_DEPTH, Node, parse_tree, read_tree

COMMAND_LINE = "command line"
"""What messages name instead of a file for an override."""


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        path: YAML file.
        overrides: `key=value` words as on the command line; the key is dotted, the value is YAML.

    Raises:
        InputError: unreadable file, unknown key (with the nearest known one), wrong type, or values that are out of
            bounds or contradict each other; names file, line and key.
    """
    path = Path(path)
    tree = read_tree(path)
    for word in overrides:
        _override(tree, word)
    recipe = _build(Recipe, tree, "", path)
    recipe.source = path.resolve()
    recipe.lines = dict(_lines(tree, ""))
    try:
        check_recipe(recipe)
    except InputError as error:
        if error.file == recipe.source:  # the path as the user wrote it
            raise InputError(error.reason, file=path, line=error.line, key=error.key) from None
        raise
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out."""
    return yaml.dump(recipe.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes no aliases: they are refused in a recipe."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _lines(tree: Node, prefix: str) -> typing.Iterator[tuple[str, int]]:
    if isinstance(tree.value, dict):
        for name, node in tree.value.items():
            yield prefix + name, node.line
            yield from _lines(node, f"{prefix}{name}.")


def _override(tree: Node, word: str) -> None:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise InputError(f"'{word}' is not of the form key=value", file=COMMAND_LINE)
    value = parse_tree(text, COMMAND_LINE, key) or Node(None, 0)
    *sections, last = key.split(".")
    if len(sections) >= MAX_DEPTH:
        raise InputError(f"nested deeper than {MAX_DEPTH} levels", file=COMMAND_LINE, key=f"{key[:80]}...")
    for section in sections:
        child = tree.value.setdefault(section, Node({}, 0))
        if not isinstance(child.value, dict):
            raise InputError(f"'{section}' is no section", file=COMMAND_LINE, key=key)
        tree = child
    _set_line(value, 0)
    tree.value[last] = value


def _set_line(node: Node, line: int) -> None:
    node.line = line
    children = node.value.values() if isinstance(node.value, dict) else node.value
    if isinstance(node.value, dict | list):
        for child in children:
            _set_line(child, line)


def _where(path: Path, line: int) -> dict[str, Any]:
    return {"file": path, "line": line} if line else {"file": COMMAND_LINE}


def _build(cls: type, tree: Node, prefix: str, path: Path) -> Any:
    if not isinstance(tree.value, dict):
        raise InputError(
            f"is a section with keys of its own, not {_shown(tree.plain())}", key=prefix[:-1], **_where(path, tree.line)
        )
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if not f.metadata.get("internal")}
    for key, node in tree.value.items():
        if key not in fields:
            near = difflib.get_close_matches(key[:100], fields, n=1)
            hint = f"; did you mean '{prefix}{near[0]}'?" if near else f"; known here: {', '.join(fields)}"
            raise InputError(f"unknown key{hint}", key=prefix + key, **_where(path, node.line))
    values = {}
    for name, spec in fields.items():
        if name in tree.value:
            node = tree.value[name]
            if dataclasses.is_dataclass(hints[name]):
                values[name] = _build(hints[name], node, f"{prefix}{name}.", path)  # type: ignore[arg-type]
            else:
                values[name] = _convert(node.plain(), hints[name], prefix + name, _where(path, node.line))
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise InputError("is missing and has no default", key=prefix + name, **_where(path, tree.line))
    return cls(**values)


def _convert(value: Any, hint: Any, key: str, where: dict[str, Any]) -> Any:
    """`value` as the type `hint`; YAML's 1e-3 (a string to YAML 1.1) and 20e9 for integers are understood."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    wrong: str
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _convert(value, next(option for option in options if option is not type(None)), key, where)
    if origin is Literal:
        if isinstance(value, str) and value in options:
            return value
        wrong = f"one of {', '.join(map(str, options))}"
    elif origin is list:
        if isinstance(value, list):
            return [_convert(item, options[0], key, where) for item in value]
        wrong = "a list"
    elif origin is dict:
        if isinstance(value, dict):
            for name in value:
                check_text(name, key, where)
            return {name: _convert(item, options[1], f"{key}.{name}", where) for name, item in value.items()}
        wrong = "a mapping"
    elif hint is Any:
        return _flag_value(value, key, where)
    elif hint is bool:
        if isinstance(value, bool):
            return value
        wrong = "true or false"
    elif hint in (int, float):
        number = _number(value)
        if number is not None and (hint is float or number == int(number)):
            return hint(number)
        wrong = "a whole number" if hint is int else "a number"
    else:
        if isinstance(value, str):
            return check_text(value, key, where)
        wrong = "a text"
    raise InputError(f"must be {wrong}, not {_shown(value)}", key=key, **where)


def _number(value: Any) -> int | float | None:
    """A finite number below 2^53 in size, which both int and float hold exactly; else None."""
    if isinstance(value, str):
        try:
            value = float(value.replace("_", ""))
        except ValueError:
            return None
    usable = isinstance(value, int | float) and not isinstance(value, bool) and -(2**53) < value < 2**53
    return value if usable and math.isfinite(value) else None


def _flag_value(value: Any, key: str, where: dict[str, Any]) -> Any:
    """A value of a Megatron flag: null, bool, finite number, text, or a list of these."""
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        return [_flag_value(item, key, where) for item in value]
    if isinstance(value, str):
        return check_text(value, key, where)
    if value is None or isinstance(value, bool) or _number(value) is not None:
        return value
    raise InputError(f"must be a number, a text, true, false, null or a list, not {_shown(value)}", key=key, **where)


def _shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
