"""Describes the differences between two JSON trees."""

from __future__ import annotations

from collections.abc import Iterator


def differences(old: object, new: object, key: str = "", only_common: bool = False) -> Iterator[str]:
    """`a.b was 1, is 2` for every value that differs; lists of equal length are compared item by item, and every value
    of a subtree that one side lacks is listed.

    Args:
        old: tree of dictionaries, lists, and plain values.
        new: the same.
        key: prefix of every name.
        only_common: ignore keys that only one side has; otherwise the missing value is None.
    """
    if (isinstance(old, dict) and new is None) or (old is None and isinstance(new, dict)):
        old, new = old or {}, new or {}
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() & new.keys() if only_common else old.keys() | new.keys()):
            inner = f"{key}.{name}" if key else name
            yield from differences(old.get(name), new.get(name), inner, only_common)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(*pair, f"{key}[{place}]", only_common)
    elif old != new:
        yield f"{key} was {old!r}, is {new!r}"
