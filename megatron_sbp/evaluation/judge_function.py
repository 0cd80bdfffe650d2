"""A judge that is a Python function of the user's, asked whether texts are factual and fit their seed.

`evaluation.judge: judge.py:judge` names a file, relative to the recipe's folder, and a function in it, which gets
batches of

    {"seed": "text of the seed document", "text": "what was written", "row": {"id": ..., "seed_id": ...}}

and returns for every entry, in order,

    {"factual": True, "relevant": None}

Each opinion is True, False, None (cannot be told), a share between 0 and 1, or a pair of counts (right, all). `row` is
the synthetic document as it is on disk, with its parents; for real text, the document's own row. `seed` is None for
text that was written without a seed document.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.evaluation.judge_file import KEY, check_judge, judge_place
from megatron_sbp.evaluation.opinions import OPINIONS, Case, Judge, Opinion
from megatron_sbp.recipe import Recipe

BATCH = 64
"""Texts that a judge gets at once."""


class FunctionJudge(Judge):
    """A user's function, loaded; see `load_function`."""

    def __init__(self, file: Path, name: str, function: Callable[[list[dict[str, Any]]], Any]):
        self.file, self.name, self._function = file, name, function

    def about(self) -> dict[str, str]:
        """What quality.json says of the judge: `function`, `file` (its name) and `sha256` (of the file)."""
        return {"function": self.name, "file": self.file.name, "sha256": files.sha256(self.file)}

    def opinions(self, cases: Sequence[Case], progress: Progress) -> list[dict[str, Opinion]]:
        found = []
        for begin in range(0, len(cases), BATCH):
            batch = cases[begin : begin + BATCH]
            found += [self._read(case, said) for case, said in zip(batch, self._ask(batch), strict=True)]
            progress.advance(len(batch))
        return found

    def _ask(self, batch: Sequence[Case]) -> Sequence[Any]:
        said = self._call(batch)
        if not isinstance(said, list | tuple) or len(said) != len(batch):
            what = f"{len(said)} entries" if isinstance(said, list | tuple) else type(said).__name__
            raise self._error(f"returned {what} for {len(batch)} texts", batch)
        return said

    def _call(self, batch: Sequence[Case]) -> Any:
        try:
            return self._function([{"seed": case.seed, "text": case.text, "row": dict(case.row)} for case in batch])
        except Exception as error:  # a user's function may raise anything
            if len(batch) > 1:
                for case in batch:  # which of them was it?
                    self._call([case])
            raise self._error(f"raised {type(error).__name__}: {error}", batch) from error

    def _read(self, case: Case, said: Any) -> dict[str, Opinion]:
        if not isinstance(said, dict) or not said.keys() <= OPINIONS.keys():
            raise self._error(f"must return 'factual' and 'relevant', not {said!r:.100}", [case])
        found = {}
        for opinion, value in said.items():
            if value is None:
                continue
            parts = value if isinstance(value, tuple | list) else (value, 1)
            if len(parts) != 2 or not all(isinstance(part, int | float) and math.isfinite(part) for part in parts):
                raise self._error(_EXPECTED.format(opinion, value), [case])
            right, whole = map(float, parts)
            if not 0 <= right <= whole:
                raise self._error(_EXPECTED.format(opinion, value), [case])
            if whole:
                found[opinion] = (whole - right, whole)
        return found

    def _error(self, message: str, batch: Sequence[Case]) -> InputError:
        names = [str(case.row.get("id")) for case in batch]
        where = f"document {names[0]}" if len(names) == 1 else f"documents {names[0]} to {names[-1]}"
        return InputError(f"the judge {self.name}() {message} ({where})", file=self.file, key=KEY)


_EXPECTED = "said {0} = {1!r:.60}; it must be True, False, None, a share between 0 and 1, or (right, all)"


def load_function(recipe: Recipe) -> FunctionJudge | None:
    """Runs the file that `evaluation.judge` names and takes its function; None without one.

    Modules beside the file can be imported by it.

    Raises:
        InputError: see `check_judge`; the file fails, or the name is nothing that can be called.
    """
    check_judge(recipe)
    place = judge_place(recipe)
    if place is None:
        return None
    file, name = place
    module_name = f"megatron_sbp_judge_{files.digest(str(file.resolve()))}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        with _folder_first(file.resolve().parent):
            spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"cannot be loaded: {type(error).__name__}: {error}", file=file, key=KEY) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"'{name}' is no function", file=file, key=KEY)
    return FunctionJudge(file, name, function)


@contextmanager
def _folder_first(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
