"""What the report calls an arm, and how it draws it."""

from __future__ import annotations

from collections.abc import Sequence

_NAMES = {"baseline": "the repetition baseline", "sbp": "SBP", "oracle": "the oracle"}
OTHERS = 5
"""Colors for further arms, in style.css."""
_DASHES = ("4px,2px", "8px,2px,2px,2px", "1px,4px", "10px,4px", "3px,1px", "12px,3px,1px,3px,1px,3px")


def name_of(arm: str, start: bool = False) -> str:
    """The name in a sentence, at its start or inside."""
    name = _NAMES.get(arm, f"the arm {arm}")
    return name[0].upper() + name[1:] if start else name


def names_of(arms: Sequence[str]) -> str:
    """Several names in a sentence: `the repetition baseline and the arms noise and self`."""
    others = [arm for arm in arms if arm not in _NAMES]
    names = [_NAMES[arm] for arm in arms if arm in _NAMES]
    if others:
        names.append(f"the arm{'s' if len(others) > 1 else ''} {enumeration(others)}")
    return enumeration(names)


def enumeration(words: Sequence[str]) -> str:
    """`a`, `a and b`, or `a, b, and c`."""
    if len(words) > 2:
        return f"{', '.join(words[:-1])}, and {words[-1]}"
    return " and ".join(words)


def label_of(arm: str) -> str:
    """The name in a table or a legend."""
    return {"baseline": "repetition baseline", "sbp": "SBP", "SBP": "arm SBP"}.get(arm, arm)  # no two alike


def color_of(arm: str, arms: list[str]) -> str:
    """Name in style.css of the color of an arm: its own for the three classic ones, one of OTHERS for the others."""
    return arm if arm in _NAMES else f"other{_place(arm, arms) % OTHERS + 1}"


def dash_of(arm: str, arms: list[str]) -> str:
    """How the line of an arm is dashed: with its color no two of 30 further arms look alike."""
    if arm in _NAMES:
        return {"sbp": "7px,3px", "oracle": "2px,3px"}.get(arm, "solid")
    return _DASHES[_place(arm, arms) % len(_DASHES)]


def _place(arm: str, arms: list[str]) -> int:
    return [name for name in arms if name not in _NAMES].index(arm)
