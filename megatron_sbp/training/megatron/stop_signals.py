"""Signals that request a checkpoint and stop training: SIGTERM, SIGINT, SIGHUP, SIGUSR1, and SIGUSR2 are
equivalent.

Megatron's --exit-signal-handler listens for one signal (--exit-signal, SIGTERM by default). Terminals and schedulers
send others: Ctrl-C, a closed terminal, `sbatch --signal=USR1@300`. They are translated to that signal.
"""

from __future__ import annotations

import os
import signal
import time

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

SAME_INTERRUPT = 1.0
"""Seconds in which a further signal counts as the first one: a terminal sends Ctrl-C to every process of its foreground
group, and a parent among them forwards it."""


def listened() -> list[signal.Signals]:
    """The signals to listen for: not those that were ignored when the process started (nohup, `command &`)."""
    return [number for number in ASKING if signal.getsignal(number) is not signal.SIG_IGN]


class Interrupts:
    """Counts SIGINT (in the launcher SIGTERM too): the first requests a checkpoint, the second ends training
    immediately."""

    def __init__(self) -> None:
        self._first: float | None = None

    def second(self) -> bool:
        """Call at each of them; returns whether there was an earlier, separate one."""
        if self._first is None:
            self._first = time.monotonic()
        return time.monotonic() - self._first >= SAME_INTERRUPT


class StopSignals:
    """Listens from the very start of a rank, long before Megatron does.

    A signal during startup is stored and passed on when training begins: otherwise, it would kill the rank and look
    like a crash to the scheduler.
    """

    def __init__(self) -> None:
        self.early = False
        self._interrupts = Interrupts()
        self._listens_for: signal.Signals | None = None
        self._numbers = listened()
        for number in self._numbers:
            signal.signal(number, self._received)

    def hand_over(self, listens_for: signal.Signals | None) -> None:
        """Translates every signal to the one that Megatron listens for, whose handler is now installed.

        Args:
            listens_for: that signal; None without --exit-signal-handler, in which case signals end the process as
                usual.
        """
        self._listens_for = listens_for
        if listens_for is None:
            for number in self._numbers:
                signal.signal(number, signal.SIG_DFL)
        if self.early:
            os.kill(os.getpid(), listens_for or signal.SIGTERM)

    def _received(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self._interrupts.second():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self._listens_for is None:
            self.early = True
        else:
            os.kill(os.getpid(), self._listens_for)
