"""Progress without a terminal: lines now and then, with counts that are right."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import termios
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


def test_what_was_there_before_says_nothing_about_the_rate(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Progress("synthesize 00003", 400, "documents", every=0.0) as progress:
        progress.found(300)
        assert capsys.readouterr().err == ""
        now[0] += 10
        progress.advance(20)
        progress.found(10)
        progress.advance(0)
    first, second, last = capsys.readouterr().err.splitlines()
    assert first == "synthesize 00003: 320 of 400 documents (80 %), 2.0/s, 40.0s left"
    assert second == "synthesize 00003: 330 of 400 documents (82 %), 2.0/s, 35.0s left" and last == second


def test_without_work_of_its_own_it_does_not_know_what_is_left(capsys):
    with Progress("synthesize 00003", 400, "documents", every=0.0) as progress:
        progress.found(300)
        progress.advance(0)
    said = capsys.readouterr().err.splitlines()[0]
    assert said == "synthesize 00003: 300 of 400 documents (75 %), 0.0/s"


def test_a_line_says_what_else_there_is_to_say(capsys):
    told = iter(["all workers: 5", "", "all workers: 7"])
    with Progress("synthesize", 4, "documents", every=0.0, further=lambda: next(told)) as progress:
        progress.advance(3)
        progress.advance(1)
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.endswith(" left; all workers: 5") and ";" not in second and last.endswith("/s; all workers: 7")


ON_A_TERMINAL = """
import time
from megatron_sbp.base.progress import Progress

with Progress("work", 1000, "steps", every=0.0, further=lambda: "all workers: 7") as progress:
    progress.found(900)
    for step in range(5):
        time.sleep(0.1)
        progress.advance()
"""


def test_a_bar_says_the_same():
    reader, writer = os.openpty()
    termios.tcsetwinsize(writer, (24, 160))
    with subprocess.Popen([sys.executable, "-c", ON_A_TERMINAL], stderr=writer) as process:
        os.close(writer)
        said = b""
        while process.poll() is None or select.select([reader], [], [], 0)[0]:
            try:
                said += os.read(reader, 65536)
            except OSError:  # the other end is closed
                break
    os.close(reader)
    last = said.decode().replace("\n", "\r").strip("\r").rpartition("\r")[2]
    assert "905/1000" in last, said
    assert "all workers: 7" in last
    rate = float(last.partition("steps/s")[0].rpartition(" ")[0].rpartition(", ")[2])
    assert 2 < rate < 11, last


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
