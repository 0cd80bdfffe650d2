"""Types of recipe values: accepted spellings and common ranges."""

from __future__ import annotations

import functools
import math
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema

from megatron_sbp.base.files import home_expanded
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe.time_limit import FORMATS, is_time_limit

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def _usable(value: object) -> bool:
    """Whether it is a finite number below 2^53 in magnitude, exact as int and float. true is not a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -(2**53) < value < 2**53


def _number(kind: type[int] | type[float], value: JsonValue) -> int | float:
    """A usable number. YAML 1.1 parses 1e-3 and 20e9 as strings; they are accepted here."""
    number = value
    if isinstance(value, str):
        try:
            number = float(value.replace("_", ""))
        except ValueError:
            number = None
    if not _usable(number) or number != kind(number):
        large = isinstance(number, int | float) and 2**53 <= abs(number) < math.inf
        wanted = f"{'a whole number' if kind is int else 'a number'}{' below 2^53' if large else ''}"
        raise ValueError(f"must be {wanted}, not {shown(value)}")
    return kind(number)


def _text(value: object, kept: str = "") -> object:
    """Refuses strings unsuitable for UTF-8 files and terminals: with control characters or lone surrogates.

    Args:
        value: Anything; values that are not strings pass.
        kept: Control characters that are allowed.
    """
    for found in _CONTROL.finditer(value) if isinstance(value, str) else ():
        if found[0] not in kept:
            raise ValueError(f"has a control character, {found[0]!r}, at place {found.start() + 1}")
    return value


SITE = "site"
"""The site's default memory limit: no --mem."""

_MEMORY = re.compile(r"\d+([KMGT]B?)?", re.ASCII | re.IGNORECASE)


def _time_limit(value: object) -> object:
    text = _bare(value)
    if not (isinstance(text, str) and is_time_limit(text)):
        raise ValueError(f"must be a time limit of Slurm ({FORMATS}), not {shown(value)}")
    return text


def _memory(value: object) -> object:
    text = _bare(value)
    if not (isinstance(text, str) and (text == SITE or _MEMORY.fullmatch(text))):
        how = f"a number of megabytes, or one with K, M, G, or T behind it, or {SITE}"
        raise ValueError(f"must be {how}, not {shown(value)}")
    return text


def _bare(value: object) -> object:
    """A string unchanged, or a whole number in Slurm's unit: 90 minutes, 64000 megabytes."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _keys(value: object) -> object:
    for key in value if isinstance(value, dict) else ():
        _text(key)
    return value


def _flag_value(value: object) -> object:
    for item in value if isinstance(value, list) else [value]:
        if not (_text(item) is None or isinstance(item, bool | str) or _usable(item)):
            raise ValueError(f"must be a number, a string, true, false, null or a list, not {shown(value)}")
    return value


def shown(value: object) -> str:
    """A value for a message, truncated if long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


_INT = BeforeValidator(functools.partial(_number, int))
_FLOAT = BeforeValidator(functools.partial(_number, float))

# The range comes before the validator: only then does the JSON schema also have it beside null.
Int = Annotated[int, _INT]
Count = Annotated[int, Field(gt=0), _INT]
Replicates = Annotated[int, Field(ge=1, le=1000), _INT]
"""Every replicate has stages of its own: `sbp plan` of 1,000 takes 2 seconds."""
Whole = Annotated[int, Field(ge=0), _INT]

Float = Annotated[float, _FLOAT]
Positive = Annotated[float, Field(gt=0), _FLOAT]
NotNegative = Annotated[float, Field(ge=0), _FLOAT]
AtLeastOne = Annotated[float, Field(ge=1), _FLOAT]
Fraction = Annotated[float, Field(ge=0, le=1), _FLOAT]
Share = Annotated[float, Field(gt=0, lt=1), _FLOAT]
Temperature = Annotated[float, Field(ge=0, le=2), _FLOAT]
Decay = Annotated[float, Field(ge=0, lt=1), _FLOAT]
Warmup = Annotated[float, Field(ge=0, lt=1), _FLOAT]
"""Megatron accepts no warm-up that lasts for the whole training run."""
Cosine = Annotated[float, Field(ge=-1, le=1), _FLOAT]

Switch = Annotated[bool, Strict()]

Text = Annotated[str, BeforeValidator(_text)]
Place = Annotated[Text, AfterValidator(home_expanded)]
"""A path; `~` is the home folder."""
Prose = Annotated[str, BeforeValidator(functools.partial(_text, kept="\n\t"))]
"""A string that may have several lines."""

_OF_SLURM = WithJsonSchema({"type": ["string", "integer"]})
TimeLimit = Annotated[str, BeforeValidator(_time_limit), _OF_SLURM]
"""A value of sbatch's --time."""
MemoryLimit = Annotated[str, BeforeValidator(_memory), _OF_SLURM]
"""A value of sbatch's --mem, or `site`."""

FlagValue = Annotated[
    JsonValue,
    BeforeValidator(_flag_value),
    WithJsonSchema({"type": ["string", "number", "boolean", "null", "array"]}),
]
"""Value of a Megatron flag: null, true, false, a number, a string, or a list of these."""


def _overrides(value: object) -> object:
    for item in value.values() if isinstance(value, dict) else ():
        _flag_value(list(item.values()) if isinstance(item, dict) else item)
    return _keys(value)


Overrides = Annotated[
    JsonObject,
    BeforeValidator(_overrides),
    WithJsonSchema({"type": "object"}),
]
"""Overrides of some keys of another section, validated as in that section."""
Flags = Annotated[dict[str, FlagValue], BeforeValidator(_keys)]
Marks = Annotated[dict[str, Text], BeforeValidator(_keys)]
