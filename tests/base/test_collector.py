"""The cycle collector, rare while modules load."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from megatron_sbp.base.collector import collect_as_usual, collect_rarely

usual = gc.get_threshold()
collect_rarely()
before = gc.get_stats()[0]["collections"]
kept = [[] for _ in range(50_000)]
print(gc.get_stats()[0]["collections"] - before, gc.get_threshold()[1:] == usual[1:])
collect_as_usual()
print(gc.get_freeze_count() > 50_000, gc.get_threshold() == usual)
kept += [[] for _ in range(50_000)]
print(gc.get_stats()[0]["collections"] - before > 10)
"""


def test_collections_are_rare_until_asked_for():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True", "True", "True", "True"]
