"""Messages command nothing: no control character of a document or a file name reaches a terminal."""

from __future__ import annotations

import os
import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_sbp.base.errors import Fault, InputError, printable, told_of
from megatron_sbp.base.progress import say

EVIL = "\x1b]0;title\x07\x1b[2J\u202egnp\x9b31m\r\ud800\x00"


def test_printable():
    assert printable("häß 中 🙂 'x' \\n") == "häß 中 🙂 'x' \\n"
    assert printable("a\nb\tc") == "a\nb\tc" and printable("a\nb\tc", lines=False) == r"a\nb\tc"
    assert printable(EVIL) == r"\x1b]0;title\x07\x1b[2J\u202egnp\x9b31m\r\ud800\x00"


@pytest.mark.parametrize("kind", [InputError, Fault])
def test_messages_are_printable(kind):
    error = kind(f"bad {EVIL}", file=f"dir/{EVIL}\n.jsonl")
    assert str(error).isprintable() and r"\x1b[2J" in str(error)
    assert error.reason == f"bad {EVIL}"
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.reason == error.reason


def test_a_field_name_cannot_fake_a_line():
    error = InputError("is missing\nsecond line", file="a.jsonl", line=3, key="text\nsbp: error: all is lost")
    assert str(error) == "a.jsonl:3: 'text\\nsbp: error: all is lost': is missing\nsecond line"


def test_progress_lines_are_printable(capsys):
    say(f"{EVIL[:-2]}\nnext")
    assert capsys.readouterr().err == r"\x1b]0;title\x07\x1b[2J\u202egnp\x9b31m\r" + "\nnext\n"


def test_a_current_folder_that_was_removed_is_said(tmp_path, monkeypatch):
    """As in a terminal whose folder was made again; it was a traceback of os.getcwd."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for call in (Path.cwd, Path("corpus.jsonl").resolve, Path("corpus.jsonl").read_bytes):
        with pytest.raises(FileNotFoundError) as lost:
            call()
        assert told_of(lost.value, ["corpus.jsonl"]) == "the current folder no longer exists; change to one that does"


NO_SEMAPHORE = """
import multiprocessing
from megatron_sbp.base.errors import told_of

try:
    held = [multiprocessing.Semaphore() for _ in range(10_000)]
except OSError as error:
    print(told_of(error))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_semaphore_without_room_is_no_full_disk():
    """`the disk is full; free some space`, it said."""
    words = (
        f"mount -t tmpfs -o size=4k tmpfs /dev/shm && exec {shlex.quote(sys.executable)} -c {shlex.quote(NO_SEMAPHORE)}"
    )
    done = subprocess.run(["unshare", "--mount", "sh", "-c", words], capture_output=True, text=True, timeout=60)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no mount here")
    assert done.stdout.startswith("shared memory is full; make /dev/shm larger"), done.stderr
