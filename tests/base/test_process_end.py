"""How a process ends: as Python ends it, but for the search for cycles."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit, gc, sys, threading, time
from megatron_sbp.base import process_end

class Cycle:
    def __init__(self):
        self.self = self
    def __del__(self):
        print("searched")

def late():
    time.sleep(0.2)
    print("thread")

gc.disable()
atexit.register(print, "first registered")
atexit.register(print, "last registered")
cycle = Cycle()
del cycle
threading.Thread(target=late).start()
print("unflushed")
STREAM
END
"""


def ended(end: str, stream: str = "") -> tuple[int, list[str], str]:
    program = PROGRAM.replace("END", end).replace("STREAM", stream)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_all_is_done_but_the_search_for_cycles():
    said = ["unflushed", "thread", "last registered", "first registered"]
    assert ended("sys.exit(3)") == (3, [*said, "searched"], "")
    assert ended("process_end.end(3)") == (3, said, "")


def test_a_stream_that_is_closed_is_told_as_python_tells_it():
    closed = "import os; os.close(1); os.open('/dev/full', os.O_WRONLY)"
    status, _, told = ended("process_end.end(3)", closed)
    assert (status, "No space left on device" in told) == (ended("sys.exit(3)", closed)[0], True)
