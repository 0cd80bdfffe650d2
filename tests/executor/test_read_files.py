"""Files of a finished stage, once something else is in their place."""

from __future__ import annotations

import os

import pytest
from support import stage_toys as toys

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.read_files import check_unchanged
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import by_name

INPUTS = ["words/00000.txt", "words/00001.txt", "external:words.txt:0"]


def runner(run: Run, name: str) -> StageRunner:
    return StageRunner(run, by_name(toys.graph(), name), toys.graph())


@pytest.fixture
def run(tmp_path) -> Run:
    (tmp_path / "words.txt").write_text("one\nthree\n")
    run = toys.make_run(tmp_path)
    assert runner(run, "words").execute()
    return run


@pytest.mark.parametrize("text", ["six", "seven"])
def test_a_file_of_another_run_is_named_before_it_is_read(run, text):
    """Of the same size or not; the stage alone, as a task of an array, which does not look at the stages before it."""
    file = run.root / "words" / "00000.txt"
    file.write_text(text)
    told = r"00000\.txt: has .*when it was written; words wrote it, and `sbp run` makes it again"
    with pytest.raises(InputError, match=told):
        check_unchanged(run, ["words"], INPUTS)
    check_unchanged(run, ["words"], INPUTS[1:])  # unread files may be anything
    with pytest.raises(InputError, match=r"00000\.txt: has "):
        runner(run, "lengths").execute()
    assert runner(run, "words").execute() and runner(run, "lengths").execute()
    assert file.read_text() == "one" and (run.root / "lengths" / "00000.txt").read_text() == "3"


def test_a_copy_is_read_once(run, monkeypatch):
    file, read = run.root / "words" / "00000.txt", []
    os.utime(file, ns=(1, 1))
    digest = files._digest_as
    monkeypatch.setattr(files, "_digest_as", lambda entry, path: [read.append(path), digest(entry, path)][1])
    for _ in range(2):
        check_unchanged(run, ["words"], INPUTS)
    assert read == [file]


def test_a_file_that_is_gone_is_left_to_its_reader(run):
    (run.root / "words" / "00000.txt").unlink()
    check_unchanged(run, ["words"], INPUTS)
