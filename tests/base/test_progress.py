"""Progress without a terminal: lines now and then, with counts that are right."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from megatron_sbp.base.progress import Progress, duration, say


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (59.94, "59.9s"), (60, "1m 00s"), (185.9, "3m 05s"), (3600, "1h 00m"), (90_061, "25h 01m")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_say_escapes_what_would_move_the_cursor(capsys):
    say("id \x1b[2J of a document")
    said = capsys.readouterr().err
    assert "\x1b" not in said and "[2J of a document\n" in said


def test_a_line_is_one_write_so_that_lines_of_two_processes_stay_whole(monkeypatch):
    written = []
    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=written.append, flush=lambda: None))
    say("train-sbp: starting 1 rank(s)")
    assert written == ["train-sbp: starting 1 rank(s)\n"]


def test_every_advance_counts_and_lines_say_how_much_is_left(capsys):
    with Progress("embed 00003", 400, "documents", every=0.0) as progress:
        progress.advance(100)
        progress.advance()
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith("embed 00003: 100 of 400 documents (25 %), ") and first.endswith(" left")
    assert second.startswith("embed 00003: 101 of 400") and last.startswith("embed 00003: 101 of 400")
    assert progress.done == 101


def test_a_total_that_is_not_known(capsys):
    with Progress("tokenize", None, "documents", every=0.0) as progress:
        progress.advance(1234)
    assert capsys.readouterr().err.splitlines()[0].startswith("tokenize: 1,234 documents, ")


def test_short_work_is_silent_and_failed_work_has_no_last_line(capsys):
    with Progress("short", 10, "documents") as progress:
        progress.advance(10)
    with pytest.raises(RuntimeError), Progress("failed", 10, "documents", every=0.0) as progress:
        progress.advance(1)
        raise RuntimeError
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_more_than_announced_and_no_work_at_all_are_no_errors(capsys):
    with Progress("more", 2, "documents", every=0.0) as progress:
        progress.advance(3)
    with Progress("none", 0, "documents", every=0.0) as progress:
        progress.advance(0)
    assert "left" not in capsys.readouterr().err


LONG_WORK = """
import os, sys, time
from megatron_sbp.base.progress import Progress, say

with Progress("work", 3, "steps") as progress:
    for step in range(3):
        time.sleep(0.15)  # the bar is drawn ten times a second
        progress.advance()
        if step == 0:
            os.close(int(sys.argv[1]))
say("done")
print(progress.done)
"""


@pytest.mark.parametrize("end", ["pipe", "terminal"])
def test_work_goes_on_when_nobody_reads(end):
    reader, writer = os.pipe() if end == "pipe" else os.openpty()
    words = [sys.executable, "-c", LONG_WORK, str(reader)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=writer, pass_fds=[reader], text=True) as process:
        os.close(reader)
        os.close(writer)
        assert process.communicate(timeout=60)[0] == "3\n" and process.returncode == 0
