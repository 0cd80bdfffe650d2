"""Loads a Recipe from a YAML file and overrides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe.checks import check_recipe
from megatron_sbp.recipe.sections import Recipe, Section, error_at
from megatron_sbp.recipe.tree import MAX_DEPTH, Node, parse_tree, read_tree

COMMAND_LINE = "command line"
"""Named in messages as the source of an override, instead of a file."""


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
    lines = dict(_lines(tree, ""))
    try:
        recipe = Recipe.model_validate(tree.plain())
    except ValidationError as error:
        from megatron_sbp.recipe.messages import explain

        raise error_at(*explain(error, Recipe), path, {"": tree.line, **lines}) from None
    recipe.source = path.resolve()
    recipe.lines.update(lines)
    try:
        check_recipe(recipe)
    except InputError as error:
        if error.file == recipe.source:  # the path as written by the user
            raise InputError(error.reason, file=path, line=error.line, key=error.key) from None
        raise
    return recipe


def lines_in(path: Path, recipe: Recipe) -> dict[str, int]:
    """Lines of the keys of a file that have the values of a recipe, read from a copy of it; none if it is gone."""
    try:
        tree = read_tree(path)
    except InputError:
        return {}
    return dict(_lines_of_same(tree, recipe.to_dict(), ""))


def override(key: str, text: str) -> str:
    """The `key=value` word that sets a key to this text, even if YAML would parse it differently (`a #2`, `7: x`)."""
    return f"{key}={yaml.safe_dump(text, default_style='"', width=math.inf).strip()}"


def make_section[S: Section](section: type[S], **values: object) -> S:
    """A section from values outside a recipe, such as a tool's options.

    Args:
        section: Its class.
        values: By key.

    Raises:
        InputError: wrong type or out of range; names the key.
    """
    try:
        return section(**values)
    except ValidationError as error:
        from megatron_sbp.recipe.messages import explain

        key, reason = explain(error, section)
        raise InputError(reason, key=key) from None


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, with all defaults written out."""
    return yaml.dump(recipe.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes no aliases: they are refused in a recipe."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _lines(tree: Node, prefix: str) -> Iterator[tuple[str, int]]:
    if isinstance(tree.value, dict):
        for name, node in tree.value.items():
            yield prefix + name, node.line
            yield from _lines(node, f"{prefix}{name}.")


def _lines_of_same(tree: Node, values: object, prefix: str) -> Iterator[tuple[str, int]]:
    if isinstance(tree.value, dict) and isinstance(values, dict):
        for name, node in tree.value.items():
            if name in values:
                if node.plain() == values[name]:
                    yield prefix + name, node.line
                yield from _lines_of_same(node, values[name], f"{prefix}{name}.")


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
            raise InputError(f"'{section}' is not a section", file=COMMAND_LINE, key=key)
        tree = child
    _set_line(value, 0)
    tree.value[last] = value


def _set_line(node: Node, line: int) -> None:
    node.line = line
    children = node.value.values() if isinstance(node.value, dict) else node.value
    if isinstance(node.value, dict | list):
        for child in children:
            _set_line(child, line)
