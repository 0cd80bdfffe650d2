"""Signals of a rank, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_sbp.training.megatron.stop_signals import Interrupts

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import os, signal, time
from megatron_sbp.training.megatron.stop_signals import StopSignals
signals = StopSignals()
number = signal.Signals[{name!r}]
if {early}:
    os.kill(os.getpid(), number)
seen = []
signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))  # as Megatron does
signals.hand_over(signal.SIGTERM)
if not {early}:
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)
time.sleep(0.2)
print(len(seen) >= 1, flush=True)
if {again}:
    time.sleep(1.2)
    os.kill(os.getpid(), number)
    time.sleep(1)
print("end", flush=True)
"""


def run(name: str, *before: str, early: bool = False, again: bool = False) -> tuple[int, list[str]]:
    done = subprocess.run(
        [*before, sys.executable, "-c", SCRIPT.format(name=name, early=early, again=again)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_every_signal_is_passed_on(name, early):
    assert run(name, early=early) == (0, ["True", "end"])


def test_a_second_interrupt_ends_the_rank():
    assert run("SIGINT", again=True) == (-signal.SIGINT, ["True"])


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])
def test_what_was_ignored_stays_ignored(name):
    assert run(name, "env", f"--ignore-signal={name[3:]}", again=True) == (0, ["False", "end"])


def test_impatience_counts(monkeypatch):
    """Ctrl-C every 0.4 s: the fourth is a second after the first."""
    now = iter([0.0, 0.0, 0.4, 0.8, 1.2])
    monkeypatch.setattr("megatron_sbp.training.megatron.stop_signals.time.monotonic", lambda: next(now))
    interrupts = Interrupts()
    assert [interrupts.second() for _ in range(4)] == [False, False, False, True]
