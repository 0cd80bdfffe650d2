"""`held_sbp.py WORDS...`: `sbp`, which waits in the middle of a unit as long as a file says so.

SBP_TEST_HOLDS is a folder. While it has a file with the number of the array task, the task waits after it has flushed
the first file whose path matches the regular expression in it: what was computed is written and has no name yet. The
process leaves its number in NUMBER.reached.
"""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import time
from pathlib import Path

HOLDS = "SBP_TEST_HOLDS"


def hold(folder: Path, task: str) -> None:
    """Makes this process wait where it should."""
    wanted, reached, flush = folder / task, folder / f"{task}.reached", os.fsync

    def fsync(descriptor: int) -> None:
        flush(descriptor)
        with contextlib.suppress(FileNotFoundError):
            if re.search(wanted.read_text(), str(Path(f"/proc/self/fd/{descriptor}").readlink())):
                reached.write_text(str(os.getpid()))
                while wanted.exists():
                    time.sleep(0.05)

    os.fsync = fsync


if __name__ == "__main__":
    hold(Path(os.environ[HOLDS]), os.environ["SLURM_ARRAY_TASK_ID"])
    runpy.run_module("megatron_sbp", run_name="__main__", alter_sys=True)
