"""Processes of a rank: they die with it, signals pass them by, and their end is put into words."""

from __future__ import annotations

import signal
import time

import psutil
from support.rank_with_children import ended, start

from megatron_sbp.training.megatron.rank_processes import ending


def test_children_die_with_a_killed_rank():
    process = start("start()\ntime.sleep(100)")
    child = psutil.Process(int(process.stdout.readline()))
    time.sleep(0.5)
    process.kill()
    process.communicate()
    child.wait(timeout=30)


def test_stop_signals_do_not_reach_children():
    body = "child = start()\ntime.sleep(0.5)\n"
    body += "for number in (15, 2, 1, 10, 12):\n    os.kill(child.pid, number)\ntime.sleep(0.5)\n"
    body += "assert child.is_alive()\nreturn 3"
    assert ended(start(body))[0] == 3


def test_ending():
    assert ending(7) == "ended with status 7"
    assert ending(-signal.SIGSEGV) == "was killed (SIGSEGV)"
    assert ending(-signal.SIGKILL) == "was killed (SIGKILL), probably out of memory"
    assert ending(-signal.SIGBUS) == "was killed (SIGBUS), probably out of shared memory (/dev/shm)"
