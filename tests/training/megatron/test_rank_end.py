"""How a rank ends: processes with loader workers, without Megatron."""

from __future__ import annotations

import pytest
from support.rank_with_children import ended, start

from megatron_sbp.training.megatron.rank_end import summary


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


def test_a_batch_that_cannot_be_sent_is_not_waited_for():
    """As without room in /dev/shm: multiprocessing drops it with a traceback, and training stood still for good."""
    body = """
from torch.utils.data import DataLoader
rank_end.prepare_loaders()
next(iter(DataLoader(range(8), num_workers=1, collate_fn=lambda numbers: lambda: numbers)))
"""
    status, error = ended(start(body), children=0)
    assert status == 1 and "Traceback" in error
    assert "sbp: fault: rank 1: AttributeError: Can't " in error and "pickle" in error
    assert "sbp: fault: rank 1: its DataLoader worker (pid " in error.splitlines()[-1]


def test_what_follows_from_the_death_of_a_process_is_not_the_cause():
    status, error = ended(start("os.kill(start().pid, signal.SIGKILL)\ntime.sleep(0.2)\nraise ConnectionRefusedError"))
    assert status == 1 and "ConnectionRefusedError" in error
    assert "rank 1: its process" in error.splitlines()[-1] and "was killed (SIGKILL)" in error.splitlines()[-1]


def test_an_exit_that_hangs_is_cut_off():
    status, error = ended(
        start("rank_end.EXIT_SECONDS = 2.0\nimport atexit\natexit.register(time.sleep, 100)\nreturn 0"), children=0
    )
    assert status == 1 and "Timeout" in error


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
