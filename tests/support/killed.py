"""A process that is really killed just before a certain change of the file system."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")
"""Audit events; a file that is written appears by a rename."""

_KILLED, _FAILED = 9, 8


def killed_before(change: int, work: Callable[[], object]) -> bool:
    """Does `work` in a copy of this process that ends, without any clean-up, before its change number `change`.

    Args:
        change: renames, removals, and new folders are counted, from 1.
        work: what to do.

    Returns:
        Whether it was killed; False when `work` had fewer changes, and ended.
    """
    child = os.fork()
    if child == 0:
        _work_until(change, work)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, _KILLED), f"the process ended with status {status}"
    return status == _KILLED


def _work_until(change: int, work: Callable[[], object]) -> None:
    seen = 0

    def count(event: str, _) -> None:
        nonlocal seen
        if event in CHANGES:
            seen += 1
            if seen == change:
                os._exit(_KILLED)

    sys.addaudithook(count)
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(_FAILED)
    os._exit(0)
