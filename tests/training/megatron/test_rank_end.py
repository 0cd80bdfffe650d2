"""How a rank ends: processes with loader workers, without Megatron."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from megatron_sbp.training.megatron.rank_end import ending, summary

ROOT = Path(__file__).resolve().parents[3]

HEAD = """
import os, signal, sys, time, multiprocessing
from megatron_sbp.training.megatron import rank_end
from megatron_sbp.training.megatron.stop_signals import StopSignals
rank_end.NOTICED_SECONDS = 2.0
StopSignals()
def deaf(number):
    signal.signal(signal.SIGTERM, lambda *_: None)  # as Megatron's loader workers
    time.sleep(100)
def start(method="fork"):
    child = multiprocessing.get_context(method).Process(target=deaf, args=(0,), daemon=True)
    child.start()
    print(child.pid, flush=True)
    return child
"""


def start(body: str) -> subprocess.Popen:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    end = "rank_end.prepare()\nrank_end.run_to_end(main)\n"
    return subprocess.Popen(
        [sys.executable, "-c", f"{HEAD}\ndef main():\n{lines}\n{end}"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RANK": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen, children: int = 1) -> tuple[int, str]:
    """Exit status and standard error, once the process and its children are gone."""
    numbers = [int(process.stdout.readline()) for _ in range(children)]
    _, error = process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(n) and psutil.Process(n).status() != psutil.STATUS_ZOMBIE for n in numbers):
        assert time.monotonic() < deadline, "a child is left"
        time.sleep(0.05)
    return process.returncode, error


def test_an_exception_is_not_joined_to_death():
    status, error = ended(start("start()\nraise ValueError('no more data')"))
    assert status == 1 and "Traceback" in error
    assert error.splitlines()[-1] == "sbp: fault: rank 1: ValueError: no more data"


@pytest.mark.parametrize("status", [0, 3, 2, 7])
def test_deaf_children_do_not_hold_up_an_exit(status):
    assert ended(start(f"start()\nreturn {status}"))[0] == status
    assert ended(start(f"start()\nsys.exit({status})"))[0] == status


def test_the_death_of_a_process_is_noticed_while_the_rank_waits():
    status, error = ended(start("child = start()\nos.kill(child.pid, signal.SIGKILL)\ntime.sleep(100)"))
    assert status == 1 and "rank 1: its process" in error and "was killed (SIGKILL), probably out of memory" in error


def test_the_death_of_a_loader_worker_is_no_exception_in_the_middle_of_something_else():
    """torch raises one in a signal handler, and Megatron's checkpoint writer, for one, calls it a failure to write."""
    body = """
from torch.utils.data import DataLoader
rank_end.prepare_loaders()
batches = iter(DataLoader(range(10_000), num_workers=1))
next(batches)
worker = multiprocessing.active_children()[0].pid
print(worker, flush=True)
os.kill(worker, signal.SIGKILL)
while True:
    try:
        time.sleep(0.01)
    except RuntimeError as error:
        raise ValueError("something else") from None
"""
    status, error = ended(start(body))
    assert status == 1
    cause = error.splitlines()[-1]
    assert cause.startswith("sbp: fault: rank 1: its DataLoader worker (pid ") and "was killed (SIGKILL)" in cause


def test_what_follows_from_the_death_of_a_process_is_not_the_cause():
    status, error = ended(start("os.kill(start().pid, signal.SIGKILL)\ntime.sleep(0.2)\nraise ConnectionRefusedError"))
    assert status == 1 and "ConnectionRefusedError" in error
    assert "rank 1: its process" in error.splitlines()[-1] and "was killed (SIGKILL)" in error.splitlines()[-1]


def test_an_exit_that_hangs_is_cut_off():
    status, error = ended(
        start("rank_end.EXIT_SECONDS = 2.0\nimport atexit\natexit.register(time.sleep, 100)\nreturn 0"), children=0
    )
    assert status == 1 and "Timeout" in error


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


def test_stop_signals_do_not_reach_the_process_through_which_results_of_a_checkpoint_come_back():
    """Megatron spawns it, at the first checkpoint; on GPUs, but nothing of it needs one."""
    body = """
rank_end.prepare_saving()
from megatron.core.dist_checkpointing.strategies import filesystem_async
queue = filesystem_async.get_write_results_queue()
[server] = multiprocessing.active_children()
print(server.pid, flush=True)
for number in (15, 2, 1, 10, 12):
    os.kill(server.pid, number)
time.sleep(0.5)
queue.put("written")
assert queue.get() == "written"
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
return 3
"""
    status, error = ended(start(body))
    assert status == 3, error


def test_summary_is_the_root_in_one_line():
    try:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("cannot save") from error
    except RuntimeError as error:
        assert summary(error) == "OSError: [Errno 28] No space left on device"
    text = "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback:\n  File x\nValueError: bad\n"
    assert summary(ValueError(text)) == "ValueError: Caught ValueError in DataLoader worker process 0. ValueError: bad"
    assert summary(KeyError()) == "KeyError"


def test_ending():
    assert ending(7) == "ended with status 7"
    assert ending(-signal.SIGSEGV) == "was killed (SIGSEGV)"
    assert ending(-signal.SIGKILL) == "was killed (SIGKILL), probably out of memory"
    assert ending(-signal.SIGBUS) == "was killed (SIGBUS), probably out of shared memory (/dev/shm)"
