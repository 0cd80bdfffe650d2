"""What a rehearsal replaced and which sizes it cut, to judge whether that is enough."""

from __future__ import annotations

import textwrap

from megatron_sbp.base.errors import printable
from megatron_sbp.rehearsal.changes import Change
from megatron_sbp.rehearsal.derive import Rehearsal

_TITLES = {
    "replaced": "Replaced: none of this was rehearsed",
    "size": "Sizes cut: the same, smaller",
    "own": "Its own",
}
_VALUE = 36
"""Characters of a value."""


def format_changes(rehearsal: Rehearsal, stages: int) -> str:
    """The table, with both values of every key that differs.

    Args:
        rehearsal: of a recipe.
        stages: how many there are, in both.
    """
    real = rehearsal.real
    parts = [f"Rehearsal of {real.name} ({real.source}): its {stages} stages; only this differs.\n"]
    changes = rehearsal.changes
    widths = [max(len(change.key) for change in changes), *(_width(changes, side) for side in ("real", "here"))]
    for kind, title in _TITLES.items():
        rows = [change for change in changes if change.kind == kind]
        if rows:
            parts.append(f"{title}\n" + "".join(f"  {_line(row, widths)}\n" for row in rows))
    return printable("\n".join(parts))


def _width(changes: list[Change], side: str) -> int:
    return max(len(_shown(getattr(change, side))) for change in changes)


def _line(change: Change, widths: list[int]) -> str:
    key, real, here = widths
    line = f"{change.key:<{key}}  {_shown(change.real):>{real}}  ->  {_shown(change.here):<{here}}"
    return f"{line}  {change.reason}".rstrip()


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, list) and value:
        text = ", ".join(map(str, value))
    if isinstance(value, dict):
        text = f"{len(value)} keys" if value else "none"
    return textwrap.shorten(text, _VALUE, placeholder="...") if len(text) > _VALUE and " " in text else _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= _VALUE else f"...{text[3 - _VALUE :]}"
