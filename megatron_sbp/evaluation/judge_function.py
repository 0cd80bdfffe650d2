"""A judge that is the user's Python function, asked whether texts are factual and fit their seed.

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

import math
from collections.abc import Callable, Sequence

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.base.user_function import UserFunction, call_batch, documents_of
from megatron_sbp.evaluation.judge_file import check_judge, judge_place
from megatron_sbp.evaluation.opinions import OPINIONS, Case, Judge, Opinion
from megatron_sbp.recipe import Recipe

BATCH = 64
"""Texts that a judge gets at once."""


class FunctionJudge(Judge):
    """A user's function, loaded; see `load_function`."""

    def __init__(self, place: UserFunction, function: Callable[[list[JsonObject]], object]):
        self.place, self._function = place, function

    def about(self) -> dict[str, str]:
        """What quality.json says of the judge: `function`, `file` (its name) and `sha256` (of the file)."""
        return {
            "function": self.place.name,
            "file": self.place.file.name,
            "sha256": files.sha256(self.place.file),
        }

    def opinions(self, cases: Sequence[Case], progress: Progress) -> list[dict[str, Opinion]]:
        found = []
        for begin in range(0, len(cases), BATCH):
            batch = cases[begin : begin + BATCH]
            found += [self._read(case, said) for case, said in zip(batch, self._ask(batch), strict=True)]
            progress.advance(len(batch))
        return found

    def _ask(self, batch: Sequence[Case]) -> Sequence[object]:
        return call_batch(self._function, [_told(case) for case in batch], self._error)

    def _read(self, case: Case, said: object) -> dict[str, Opinion]:
        if not isinstance(said, dict) or not said.keys() <= OPINIONS.keys():
            raise self._error(f"must return 'factual' and 'relevant', not {said!r:.100}", [_told(case)])
        found = {}
        for opinion, value in said.items():
            if value is None:
                continue
            parts = value if isinstance(value, tuple | list) else (value, 1)
            if len(parts) != 2 or not all(isinstance(part, int | float) and math.isfinite(part) for part in parts):
                raise self._error(_EXPECTED.format(opinion, value), [_told(case)])
            right, whole = map(float, parts)
            if not 0 <= right <= whole:
                raise self._error(_EXPECTED.format(opinion, value), [_told(case)])
            if whole:
                found[opinion] = (whole - right, whole)
        return found

    def _error(self, message: str, batch: list[JsonObject]) -> InputError:
        return self.place.error(f"the judge {self.place.name}() {message} ({documents_of(batch)})")


def _told(case: Case) -> JsonObject:
    return {"seed": case.seed, "text": case.text, "row": dict(case.row)}


_EXPECTED = "said {0} = {1!r:.60}; it must be True, False, None, a share between 0 and 1, or (right, all)"


def load_function(recipe: Recipe) -> FunctionJudge | None:
    """Runs the file that `evaluation.judge` names and takes its function; None without one.

    Modules beside the file can be imported by it.

    Raises:
        InputError: see `check_judge` and `UserFunction.load`.
    """
    check_judge(recipe)
    place = judge_place(recipe)
    return None if place is None else FunctionJudge(place, place.load())
