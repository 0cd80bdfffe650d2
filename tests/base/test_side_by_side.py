"""Results in order, a bounded number at a time, and errors."""

from __future__ import annotations

import os
import threading
import time

import pytest

from megatron_sbp.base.side_by_side import side_by_side


def test_results_come_in_the_order_of_the_items():
    assert list(side_by_side(lambda number: number * number, range(100))) == [number * number for number in range(100)]
    assert list(side_by_side(str, [])) == []


def test_as_many_run_at_a_time_as_there_are_cores():
    cores = len(os.sched_getaffinity(0))
    together, started = threading.Barrier(cores), []

    def meet(number: int) -> int:
        started.append(number)
        return together.wait(10) if number < cores else 0  # broken, if fewer run at a time

    found = side_by_side(meet, iter(range(1000)))
    next(found)
    assert len(started) <= 2 * cores + 1  # the rest is not begun ahead of who reads the results
    found.close()
    assert len(started) <= 2 * cores + 2


def test_fewer_at_a_time_where_results_are_large():
    running, largest, lock = 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal running, largest
        with lock:
            running += 1
            largest = max(largest, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return number

    assert list(side_by_side(work, range(20), most=1)) == list(range(20))
    assert largest == 1


def test_an_error_is_raised_and_no_more_begin():
    done = []

    def work(number: int) -> None:
        done.append(number)
        if number == 3:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        list(side_by_side(work, range(1000)))
    assert len(done) < 100
