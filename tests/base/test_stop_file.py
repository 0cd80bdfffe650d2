from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from megatron_sbp.base.stop_file import STATUS, StopFile, Stopped


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "stop"


def test_it_is_looked_for_now_and_then(file):
    seldom, often = StopFile(file, every=1000), StopFile(file, every=0)
    assert not seldom.there() and not often.there()
    file.touch()
    assert not seldom.there() and often.there()
    with pytest.raises(Stopped, match="stop exists: stopped; finished work is kept"):
        seldom.refuse()
    file.unlink()
    often.refuse()
    assert not often.there()


def test_what_works_is_interrupted_and_cleans_up(file):
    cleaned = []
    threading.Timer(0.3, file.touch).start()
    with pytest.raises(Stopped), StopFile(file, every=0.05).interrupts():
        try:
            time.sleep(60)
        finally:
            cleaned.append(True)
    assert cleaned and file.exists()
    with pytest.raises(Stopped), StopFile(file).interrupts():
        pytest.fail("nothing may start")


def test_other_interruptions_and_ends_are_as_ever(file):
    with pytest.raises(KeyboardInterrupt), StopFile(file, every=0.05).interrupts():
        raise KeyboardInterrupt
    with StopFile(file, every=0.05).interrupts():
        pass
    file.touch()
    time.sleep(0.3)  # nobody looks any more


def test_who_does_not_react_ends_all_the_same(file):
    program = (
        "import signal, sys, time; from pathlib import Path; from megatron_sbp.base.stop_file import StopFile\n"
        "signal.signal(signal.SIGINT, lambda number, frame: None)\n"
        "with StopFile(Path(sys.argv[1]), every=0.05).interrupts(grace=0.2):\n"
        "    Path(sys.argv[1]).touch(); time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, timeout=50)
    assert done.returncode == STATUS and "stop exists: stopped" in done.stderr


def test_where_interrupts_are_ignored_the_file_counts_all_the_same(file, monkeypatch):
    """A shell lets what it starts in the background ignore SIGINT, and with it every Slurm job."""
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        threading.Timer(0.2, file.touch).start()
        with pytest.raises(Stopped), StopFile(file, every=0.05).interrupts(grace=20):
            signal.raise_signal(signal.SIGINT)  # still ignored
            assert not file.exists()
            time.sleep(10)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, former)
