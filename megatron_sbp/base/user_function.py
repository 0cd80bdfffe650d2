"""A user-supplied Python function, named in a recipe as FILE.py:FUNCTION: finding, checking, and loading it."""

from __future__ import annotations

import ast
import importlib.util
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject


@dataclass(frozen=True)
class UserFunction:
    """The location of a function.

    Attributes:
        file: the Python file.
        name: of the function.
        key: of the recipe, named in errors.
    """

    file: Path
    name: str
    key: str

    @staticmethod
    def of(told: str, folder: Path, key: str) -> UserFunction | None:
        """What FILE.py:FUNCTION names, the file relative to `folder`; None for anything else."""
        name, colon, function = told.rpartition(":")
        if not colon or not name.endswith(".py") or not function.isidentifier():
            return None
        return UserFunction(folder / files.home_expanded(name), function, key)

    def check(self) -> None:
        """Raises InputError when the file is not Python or does not define the name; runs nothing.

        The file must be there.
        """
        try:
            body = ast.parse(self.file.read_bytes(), str(self.file)).body
        except (SyntaxError, ValueError) as error:
            raise self.error(f"is not Python ({error})") from error
        if not {self.name, "*"} & _defined(body):  # `from rules import *` may define anything
            raise self.error(f"defines no '{self.name}'")

    def load(self) -> Callable[[list[JsonObject]], object]:
        """Runs the file and returns its function. The file can import modules in its folder.

        Raises:
            InputError: the file fails, or the name is not callable.
        """
        module_name = f"megatron_sbp_user_{files.digest(str(self.file.resolve()))}"
        spec = importlib.util.spec_from_file_location(module_name, self.file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # dataclasses look up their module
        try:
            with _folder_first(self.file.resolve().parent):
                spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            _let_end(error)
            raise self.error(f"cannot be loaded: {type(error).__name__}: {error}") from error
        function = getattr(module, self.name, None)
        if not callable(function):
            raise self.error(f"'{self.name}' is not a function")
        return function

    def error(self, message: str) -> InputError:
        """An error that names file and key."""
        return InputError(message, file=self.file, key=self.key)


def call_batch(
    function: Callable[[list[JsonObject]], object],
    batch: list[JsonObject],
    fail: Callable[[str, list[JsonObject]], InputError],
) -> list[object] | tuple[object, ...]:
    """Calls a function on a batch; it must return one entry for each item.

    Args:
        function: the user's.
        batch: its argument, with the documents' rows in `row`.
        fail: makes the error from a message and the affected part of the batch.

    Raises:
        InputError: the function raised something, or returned another number of entries.
    """
    try:
        said = function([{**case, "row": dict(case["row"])} for case in batch])  # it may modify its argument
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        _let_end(error)
        if len(batch) > 1:
            for case in batch:  # which of them was it?
                call_batch(function, [case], fail)
        raise fail(f"raised {type(error).__name__}: {error}", batch) from error
    if not isinstance(said, list | tuple) or len(said) != len(batch):
        what = f"{len(said)} entries" if isinstance(said, list | tuple) else type(said).__name__
        raise fail(f"returned {what} for {len(batch)} texts", batch)
    return said


def _let_end(error: BaseException) -> None:
    """Raises what ends a program of tools/ on SIGTERM (`command_line`). Any other `sys.exit` is the function's own: its
    status would be taken for ours, and with 3 a Slurm job would go back into the queue again and again."""
    if isinstance(error, SystemExit) and error.code == 128 + signal.SIGTERM:
        raise error


def documents_of(batch: list[JsonObject]) -> str:
    """The documents of a batch in words, by the ids of their rows."""
    names = [str(case["row"].get("id")) for case in batch]
    return f"document {names[0]}" if len(names) == 1 else f"documents {names[0]} to {names[-1]}"


def _defined(body: Iterable[ast.AST]) -> set[str]:
    """Names that the statements of a file may define, including those in branches (`try`, `if`)."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)  # names inside are not at module level
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {part.id for part in targets if isinstance(part, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {part.asname or part.name for part in node.names}
        else:
            names |= _defined(ast.iter_child_nodes(node))
    return names


@contextmanager
def _folder_first(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
