"""Starts a rank that does nothing but start processes, without Megatron."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]

HEAD = """
import os, signal, sys, time, multiprocessing
from megatron_sbp.training.megatron import checkpoint_processes, rank_end
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
