"""A kill between two operations on files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def killed_at(operation: int, work: Callable[[], None]) -> bool:
    """Whether a process that does some work was killed before its n-th rename or removal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = operation

    def counted(function: Callable) -> Callable:
        def call(*arguments, **named):
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(9)
            return function(*arguments, **named)

        return call

    try:
        for module, name in ((Path, "replace"), (Path, "rename"), (Path, "unlink"), (os, "unlink"), (os, "rmdir")):
            setattr(module, name, counted(getattr(module, name)))
        work()
        os._exit(0)
    except BaseException:
        os._exit(1)
