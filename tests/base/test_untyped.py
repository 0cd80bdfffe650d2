"""`Any` is in no signature without a reason: in the names of untyped.py, or in a comment on its line."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatron_sbp.base import untyped

PACKAGE = Path(untyped.__file__).parents[1]
REASON = re.compile(r"# Any: \w")


def without_reason(source: str) -> Iterator[int]:
    """Lines with an `Any` for which they give no reason; imports are none."""
    tree = ast.parse(source)
    reasons = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and REASON.match(token.string)
    }
    for node in ast.walk(tree):
        named = isinstance(node, ast.Name) and node.id == "Any"
        of_module = isinstance(node, ast.Attribute) and node.attr == "Any" and ast.unparse(node.value) == "typing"
        quoted = isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(_QUOTED.search(node.value))
        if (named or of_module or quoted) and node.lineno not in reasons:
            yield node.lineno


_QUOTED = re.compile(r"^[\w.]+\[.*\bAny\b.*\]$|^Any$|^Any \||\| Any$")
"""A type in quotes, as `cast("dict[str, Any]", value)` has it; not prose."""


def test_the_package():
    """There were 773, 140 of them bare, so that a checker of types saw nothing of what they were given."""
    found = [
        f"{file.relative_to(PACKAGE.parent)}:{line}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file != Path(untyped.__file__)
        for line in without_reason(file.read_text())
    ]
    assert not found, f"give a type, a name of base/untyped.py, or `# Any: REASON`: {found}"


@pytest.mark.parametrize(
    "source",
    [
        "def f(x: Any): pass",
        "def f(x: Any | None = None): pass",
        "def f(*x: Any): pass",
        "def f(**x: Any): pass",
        "def f(x, *, y: list[Any]): pass",
        "def f() -> Any: pass",
        "def f(x: typing.Any): pass",
        "def f(x: Callable[..., Any]): pass",
        "async def f(x: dict[str, Any]): pass",
        "class C:\n  x: Any",
        "class C:\n  def __init__(self):\n    self.x: Any = 1",
        "x = cast('dict[str, Any]', 1)",
        "def f(x: 'Any'): pass",
        "type X = Any",
        "def f(x: Any): pass  # Any:",
        "def f(x: Any): pass  # Anything is taken",
        "# Any: a reason elsewhere\ndef f(x: Any): pass",
    ],
)
def test_what_needs_a_reason(source):
    assert list(without_reason(source))


@pytest.mark.parametrize(
    "source",
    [
        "from typing import Any",
        "def f(x: object): pass",
        "def f(x: Any): pass  # Any: a module in which functions are replaced",
        "def f(\n  x: Any,  # Any: a module in which functions are replaced\n  y: int,\n): pass",
        '"""Any of these."""',
        "x = 'Any text serves'",
    ],
)
def test_what_needs_none(source):
    assert not list(without_reason(source))


def test_names_of_untyped_values_say_why():
    """Every name has a docstring under it."""
    body = ast.parse(Path(untyped.__file__).read_text()).body
    aliases = [place for place, node in enumerate(body) if isinstance(node, ast.TypeAlias)]
    assert aliases
    for place in aliases:
        told = body[place + 1] if place + 1 < len(body) else None
        assert isinstance(told, ast.Expr) and isinstance(told.value, ast.Constant), ast.unparse(body[place])
        assert len(str(told.value.value)) > 40
