"""Signals that ask a training for a checkpoint: SIGTERM, SIGUSR1 and SIGUSR2 mean the same.

Megatron's --exit-signal-handler listens for one signal (--exit-signal, SIGTERM unless told otherwise). Schedulers send
others: `sbatch --signal=USR1@300`, or SIGUSR2 from a user's own script. They are passed on as that one.
"""

from __future__ import annotations

import os
import signal

ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class StopSignals:
    """Listens from the first moment of a rank on, long before Megatron does.

    A signal during the start-up is kept and handed over when the training begins: the rank would die of it otherwise,
    and the scheduler would take that for a crash.
    """

    def __init__(self) -> None:
        self.early = False
        for number in ASKING:
            signal.signal(number, self._keep)

    def hand_over(self, listens_for: signal.Signals | None) -> None:
        """Passes every signal on as the one that Megatron listens for, whose handler is in place now.

        Args:
            listens_for: that signal; None without --exit-signal-handler: then signals end the process as usual.
        """
        for number in ASKING:
            if listens_for is None:
                signal.signal(number, signal.SIG_DFL)
            elif number != listens_for:
                signal.signal(number, lambda number, frame: os.kill(os.getpid(), listens_for))
        if self.early:
            os.kill(os.getpid(), listens_for or signal.SIGTERM)

    def _keep(self, number: int, frame: object) -> None:
        self.early = True
