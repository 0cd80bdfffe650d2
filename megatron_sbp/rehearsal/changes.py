"""A recipe that is being changed, with a record of every change: whatever it lists was not rehearsed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe import Recipe

Kind = Literal["replaced", "size", "own"]
"""replaced: something else takes its place. size: the same, smaller. own: the rehearsal's own name or place."""

Key = tuple[str, ...]
"""The parts of a recipe's key: names of stages contain dots."""

REMOVED = object()
"""Value of an entry that is taken out of a mapping."""


@dataclass(frozen=True)
class Change:
    """A key whose value differs from the real recipe's."""

    key: str
    real: JsonValue
    here: JsonValue
    """None for an entry that was taken out, too."""
    kind: Kind
    reason: str
    """Empty for a size."""


class Draft:
    """The values of a recipe, some of them changed.

    Args:
        recipe: the real one, which stays as it is.
    """

    def __init__(self, recipe: Recipe):
        self.values: JsonObject = copy.deepcopy(recipe.to_dict())
        self._changes: dict[Key, Change] = {}

    @property
    def changes(self) -> list[Change]:
        """All changes, in the order of the recipe's keys."""
        order = {path: place for place, path in enumerate(flat(self.values))}
        last = len(order)
        return [self._changes[path] for path in sorted(self._changes, key=lambda path: order.get(path, last))]

    def get(self, *path: str) -> JsonValue:
        """The present value of a key."""
        value: JsonValue = self.values
        for part in path:
            value = value[part]
        return value

    def set(self, path: Key, value: object, kind: Kind, reason: str = "") -> None:
        """Changes a value; ignores one that stays the same. Whatever the number of changes, the real value is kept."""
        section, present = self.get(*path[:-1]), self.get(*path)
        if present == value and type(present) is type(value):
            return
        if value is REMOVED:
            del section[path[-1]]
        else:
            section[path[-1]] = value
        former = self._changes.get(path)
        real = former.real if former else present
        self._changes[path] = Change(".".join(path), real, None if value is REMOVED else value, kind, reason)

    def replace_text(self, old: str, new: str) -> None:
        """Replaces the beginning of changed texts, also those in lists."""
        for path, change in self._changes.items():
            value = _renamed(change.here, old, new)
            if value != change.here:
                self.get(*path[:-1])[path[-1]] = value
                self._changes[path] = replace(change, here=value)


def _renamed(value: object, old: str, new: str) -> JsonValue:
    if isinstance(value, list):
        return [_renamed(item, old, new) for item in value]
    return new + value.removeprefix(old) if isinstance(value, str) and value.startswith(old) else value


def flat(values: Mapping[str, JsonValue], prefix: Key = ()) -> dict[Key, JsonValue]:
    """Every value of nested mappings by its path; an empty mapping counts as a value."""
    found: dict[Key, JsonValue] = {}
    for name, value in values.items():
        path = (*prefix, name)
        if isinstance(value, dict) and value:
            found.update(flat(value, path))
        else:
            found[path] = value
    return found
