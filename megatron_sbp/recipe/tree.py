"""Parses YAML to a tree of plain values with line numbers; refuses constructs that no recipe needs.

Refused: aliases and anchors (a few of them can expand to gigabytes), tags such as !!python/object, merge keys, keys
that are not strings, keys given twice, octal numbers, values nested deeper than MAX_DEPTH, and files above MAX_BYTES.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import yaml

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonValue

MAX_BYTES = 128 << 10
"""Size of a recipe file; the longest of examples/ has 7 kB. PyYAML reads 60 to 500 kB a second."""
MAX_DEPTH = 16
"""Nesting of a recipe; sections, lists and mappings together need four levels."""


_OCTAL = re.compile(r"[-+]?0[0-7_]*[0-7][0-7_]*")
"""Octal numbers of YAML 1.1: nearly always meant as decimal numbers."""


class Node:
    """A YAML value together with its line (from 1; 0 for the command line).

    `value` is a dict of text to Node, a list of Nodes, or a scalar: text, int, float, bool or None.
    """

    def __init__(self, value: JsonValue, line: int):
        self.value, self.line = value, line

    def plain(self) -> JsonValue:
        """The value without lines."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value


class _Refused(yaml.MarkedYAMLError):
    """A construct that is not allowed in recipes."""

    def __init__(self, problem: str, mark: yaml.Mark):
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's recursive composer with a limit on depth and without the refused constructs."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _Refused("aliases and anchors (*name, &name) are not understood here", event.start_mark)
        if event.tag is not None:
            raise _Refused("tags (!name) are not understood here", event.start_mark)
        if self.depth == MAX_DEPTH:
            raise _Refused(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        assert node is not None
        return node


# Dates are strings: `name: 2026-01-31` is a name, and 2026-13-31 is not an error.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_tree(path: Path) -> Node:
    """The tree of a recipe file.

    Raises:
        InputError: the file is missing, unreadable, not a regular file or too large, is not YAML, or has a refused
            construct; names the line.
    """
    try:
        # O_NONBLOCK: opening a named pipe would wait for its writer.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_BYTES + 1) if regular else b""
    except FileNotFoundError as error:
        raise InputError("no such recipe or run folder", file=path) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", file=path) from error
    except ValueError as error:  # a NUL character in the path
        raise InputError(f"cannot be read ({error})", file=path) from error
    if not regular:
        raise InputError("cannot be read (not a regular file)", file=path)
    if len(data) > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES:,} bytes, too large for a recipe", file=path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"cannot be read (invalid UTF-8 at byte {error.start + 1})", file=path, line=line) from error
    root = parse_tree(text, path)
    if root is None or not isinstance(root.value, dict):
        raise InputError("a recipe is a mapping of keys to values", file=path)
    return root


def parse_tree(text: str, file: Path | str, key: str | None = None) -> Node | None:
    """The tree of a YAML text; None for an empty one.

    Args:
        text: YAML.
        file: Where it comes from, for messages.
        key: The recipe key whose value it is, for messages.

    Raises:
        InputError: as `read_tree`.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        return None if root is None else _tree(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        if isinstance(error, yaml.reader.ReaderError):  # it has only a position
            line = text.count("\n", 0, error.position) + 1
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        what = problem if isinstance(error, _Refused) else f"not valid YAML: {problem}"
        raise InputError(what, file=file, line=line if key is None else None, key=key) from error


def _tree(node: yaml.Node, prefix: str = "") -> Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return Node([_tree(item, prefix) for item in node.value], line)
    if isinstance(node, yaml.ScalarNode):
        return Node(_scalar(node), line)
    mapping: dict[str, Node] = {}
    for key_node, value_node in node.value:
        mark = key_node.start_mark
        if not isinstance(key_node, yaml.ScalarNode):
            raise _Refused("a key must be a string", mark)
        if key_node.tag == "tag:yaml.org,2002:merge":
            raise _Refused("merge keys (<<) are not understood here", mark)
        if key_node.value in mapping:
            first = mapping[key_node.value].line
            raise _Refused(f"'{prefix}{key_node.value}' is given twice, in line {first} first", mark)
        mapping[key_node.value] = _tree(value_node, f"{prefix}{key_node.value}.")
        mapping[key_node.value].line = mark.line + 1
    return Node(mapping, line)


def _scalar(node: yaml.ScalarNode) -> JsonValue:
    if ":" in node.value and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        return node.value  # YAML 1.1 reads 24:00:00 as a number in base 60
    if node.tag == "tag:yaml.org,2002:int" and _OCTAL.fullmatch(node.value):
        number = f"{node.value[:40]!r} is an octal number in YAML"
        raise _Refused(f"{number}: leave out the zeros in front, or write a string in quotes", node.start_mark)
    loader = _Loader("")
    try:
        value = loader.construct_object(node)
        if isinstance(value, int) and abs(value) >= 1 << 64:
            raise OverflowError
        return value
    except yaml.YAMLError:  # as values, `=` and `<<` have special types in YAML 1.1
        return node.value
    except (ValueError, ArithmeticError) as error:  # `0x_`, or thousands of digits
        raise _Refused(f"'{node.value[:40]}' is not a usable number", node.start_mark) from error
    finally:
        loader.dispose()
