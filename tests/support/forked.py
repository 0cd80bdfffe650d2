"""Work in a copy of this process, where it may change what cannot be undone: a start without imports."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable


def forked(work: Callable[[], object]) -> tuple[int, str]:
    """Does `work` in a copy of this process.

    Returns:
        Its exit status, 1 where `work` raised; and what it printed, with the traceback.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _do(work, write)
    os.close(write)
    with os.fdopen(read) as output:
        printed = output.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), printed


def _do(work: Callable[[], object], output: int) -> None:
    """Does not return; neither do processes that `work` forks."""
    status = 1
    try:
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.close(output)
        sys.stdout = sys.stderr = open(1, "w", closefd=False)  # noqa: SIM115
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)
