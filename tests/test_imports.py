"""Imports run one way: base <- recipe <- planning <- library along the data <- stages <- executor <- doctor <- cli.

All imports are read from the source, those inside functions and of types included.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "megatron_sbp"
ROOT = Path(__file__).parents[1] / PACKAGE

LAYERS = (
    ("base",),
    ("recipe",),
    ("planning",),
    ("documents",),
    ("overlap",),
    ("tokenization",),
    ("pairing",),
    ("checkpoint",),
    ("training",),
    ("synthesis",),
    ("evaluation",),
    ("report",),
    ("publishing",),
    ("rehearsal",),
    ("stages",),
    ("executor",),
    ("doctor",),
    ("cli",),
)
"""Rooms from the bottom up. A room imports from itself, its own row, and the rows above it in this table."""


class Import(NamedTuple):
    """One import of a module of this package."""

    importer: str
    imported: str
    place: str


@functools.cache
def modules() -> dict[str, Path]:
    """All modules of the package by name."""
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = [PACKAGE, *file.relative_to(ROOT).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports_of(name: str, file: Path, known: dict[str, Path], types: bool) -> Iterator[tuple[Import, bool]]:
    """The imports of a module, and whether each runs when the module is loaded. `types`: also those under
    TYPE_CHECKING."""

    def targets(node: ast.AST) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            # `from package import module` imports the module, `from module import name` the module before it.
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            return [target if target in known else str(node.module) for target in whole]
        return []

    def walk(node: ast.AST, top: bool) -> Iterator[tuple[Import, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                if types:
                    yield from walk(child, False)
                continue
            for target in targets(child):
                if target in known:
                    place = f"{file.relative_to(ROOT.parent)}:{child.lineno}"  # type: ignore[attr-defined]
                    yield Import(name, target, place), top
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, top and not inside)

    yield from walk(ast.parse(file.read_text(encoding="utf-8")), True)


def all_imports(types: bool = False) -> list[tuple[Import, bool]]:
    known = modules()
    return [found for name, file in known.items() for found in imports_of(name, file, known, types)]


def row(module: str) -> int | None:
    """Place of a module's room in LAYERS; None for the package itself and __main__."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] == "__main__":
        return None
    return next((place for place, rooms in enumerate(LAYERS) if parts[1] in rooms), -1)


def test_every_module_is_in_a_room_of_the_table():
    assert [name for name in modules() if row(name) == -1] == []


def violations() -> dict[tuple[str, str], str]:
    found = {}
    for item, _ in all_imports(types=True):
        lower, upper = row(item.imported), row(item.importer)
        if lower is not None and upper is not None and lower > upper:
            message = f"{item.place}: {item.importer} must not import {item.imported}, which is in a later room"
            found[item.importer, item.imported] = message
    return found


def test_imports_run_one_way():
    found = violations()
    assert not found, "\n" + "\n".join(found.values())


def test_nothing_imports_the_command_line():
    wrong = [
        f"{item.place}: {item.importer} imports {item.imported}"
        for item, _ in all_imports()
        if item.imported == f"{PACKAGE}.cli" and item.importer != f"{PACKAGE}.__main__"
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """A cycle of a graph, its first node repeated at the end; empty when there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for following in sorted(graph[node]):
            if found := visit(following, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := visit(node, []))), [])


def test_no_cycle_of_modules():
    """Among all imports, those inside functions too: an import that had to be hidden is a cycle all the same."""
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for item, _ in all_imports():
        # A package's own __init__ offers names of its modules; they may refer to each other.
        if item.importer != item.imported:
            graph[item.importer].add(item.imported)
    assert cycle(graph) == []


def test_a_cycle_is_found():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("room", ["recipe", "planning"])
def test_recipe_and_planning_load_no_heavy_library(room):
    names = [name for name in modules() if name.split(".")[1:2] == [room]]
    program = (
        f"import sys, {', '.join(names)}\n"
        "heavy = ['torch', 'numpy', 'transformers', 'pyarrow', 'megatron', 'scann']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("folder", ["benchmarks", "examples", "tools"])
def test_programs_outside_the_package_import_names_that_exist(folder):
    """Most import inside functions, so that --help is quick: a name that moved would show only when they are used."""
    wrong, seen = [], 0
    for file in sorted((ROOT.parent / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
                seen += len(node.names)
                names = [alias.name for alias in node.names]
                wrong += [f"{file.name}:{node.lineno}: {name}" for name in names if not _has(str(node.module), name)]
    assert seen and not wrong, "\n" + "\n".join(wrong)


def _has(module: str, name: str) -> bool:
    """Whether a module defines or imports a name, or a package has a module of that name; nothing is executed."""
    return f"{module}.{name}" in modules() or name in _names_in(module)


@functools.cache
def _names_in(module: str) -> set[str]:
    file, names = modules().get(module), set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if file else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
    return names


def test_the_list_of_files_is_that_of_the_package():
    done = subprocess.run([sys.executable, ROOT.parent / "scripts" / "file_map.py", "--check"])
    assert done.returncode == 0, "docs/files.md is old: python scripts/file_map.py"


def test_helpers_of_tests_are_in_support():
    """Beside the tests of a room are only what pytest itself looks for."""
    tests = Path(__file__).parent
    for file in tests.rglob("*.py"):
        assert file.name.startswith("test_") or file.name == "conftest.py" or file.parent == tests / "support", file
