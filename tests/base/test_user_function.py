"""A user's function: where it is, what may be wrong with its file, and what it may return."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from megatron_sbp.base.command_line import errors_reported
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.user_function import UserFunction, call_batch, documents_of

BATCH = [{"text": text, "row": {"id": text}} for text in ("a", "b", "c")]


def place(folder: Path, source: str, name: str = "keep") -> UserFunction:
    (folder / "rules.py").write_text(source)
    return UserFunction(folder / "rules.py", name, "filter.predicate")


def fail(message: str, batch: list[dict]) -> InputError:
    return InputError(f"{message} ({documents_of(batch)})")


@pytest.mark.parametrize("told", ["rules.py", "rules:keep", "rules.py:", "rules.py:keep it", ":keep"])
def test_anything_else_is_no_place(told, tmp_path):
    assert UserFunction.of(told, tmp_path, "k") is None


def test_a_place(tmp_path):
    assert UserFunction.of("sub/rules.py:keep", tmp_path, "k") == UserFunction(tmp_path / "sub/rules.py", "keep", "k")
    assert UserFunction.of("/rules.py:keep", tmp_path, "k").file == Path("/rules.py")


@pytest.mark.parametrize(
    "source",
    [
        "def keep(batch): ...",
        "class keep: ...",
        "keep = len",
        "keep: object = len",
        "from math import sin as keep",
        "from rules_of_others import *",
        "try:\n    import fast\nexcept ImportError:\n    def keep(batch): ...",
        "if 1 > 0:\n    pass\nelse:\n    keep = len",
    ],
)
def test_a_file_is_checked_without_running_it(tmp_path, source):
    place(tmp_path, f"raise SystemError\n{source}").check()


@pytest.mark.parametrize(("source", "said"), [("def (", "is not Python"), ("def other(): ...", "defines no 'keep'"),
                                              ("def other():\n    keep = len", "defines no 'keep'")])  # fmt: skip
def test_what_the_check_finds(tmp_path, source, said):
    with pytest.raises(InputError, match=rf"rules.py: 'filter.predicate': {said}"):
        place(tmp_path, source).check()


def test_the_file_may_import_its_neighbors(tmp_path):
    (tmp_path / "neighbor_of_rules.py").write_text("LIMIT = 3\n")
    loaded = place(tmp_path, "from neighbor_of_rules import LIMIT\ndef keep(batch): return [LIMIT] * len(batch)").load()
    assert loaded(BATCH) == [3, 3, 3]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        ("keep = 3", "'keep' is not a function"),
    ],
)
def test_a_file_that_fails(tmp_path, source, said):
    with pytest.raises(InputError, match=said):
        place(tmp_path, source).load()


def test_a_function_that_exits_is_an_error_and_a_signal_is_none():
    """With status 3, which was taken for a saved checkpoint, a Slurm job went back into the queue again and again."""
    with pytest.raises(InputError, match=r"raised SystemExit: 3 \(document a\)"):
        call_batch(lambda batch: sys.exit(3), BATCH, fail)
    with pytest.raises(SystemExit), errors_reported():
        call_batch(lambda batch: os.kill(os.getpid(), signal.SIGTERM) or signal.pause(), BATCH, fail)


def test_it_may_change_what_it_gets():
    def clear(batch: list[dict]) -> list[bool]:
        for case in batch:
            case["row"].clear()
        return [True] * len(batch)

    assert call_batch(clear, BATCH, fail) == [True] * 3 and BATCH[0]["row"] == {"id": "a"}


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda batch: [1], r"returned 1 entries for 3 texts \(documents a to c\)"),
        (lambda batch: None, r"returned NoneType for 3 texts"),
        (lambda batch: [1 / (case["text"] != "b") for case in batch], r"raised ZeroDivisionError: .* \(document b\)"),
    ],
)
def test_what_it_returns_and_raises_is_told_with_the_document(function, said):
    with pytest.raises(InputError, match=said):
        call_batch(function, BATCH, fail)
