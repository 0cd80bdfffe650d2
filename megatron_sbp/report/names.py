"""What the report calls an arm, and in which color it draws it."""

from __future__ import annotations

_NAMES = {"baseline": "the repetition baseline", "sbp": "SBP", "oracle": "the oracle"}
OTHERS = 5
"""Colors for further arms, in style.css."""


def name_of(arm: str, start: bool = False) -> str:
    """The name in a sentence, at its start or inside."""
    name = _NAMES.get(arm, f"the arm {arm}")
    return name[0].upper() + name[1:] if start else name


def label_of(arm: str) -> str:
    """The name in a table or a legend."""
    return {"baseline": "repetition baseline", "sbp": "SBP"}.get(arm, arm)


def color_of(arm: str, arms: list[str]) -> str:
    """CSS class of an arm: its own for the three classic ones, one of OTHERS for the others."""
    if arm in _NAMES:
        return arm
    others = [name for name in arms if name not in _NAMES]
    return f"other{others.index(arm) % OTHERS + 1}"
