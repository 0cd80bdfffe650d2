"""Forwards signals from the process that started a training run to its ranks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

from megatron_sbp.base.progress import duration, say
from megatron_sbp.training.megatron.stop_signals import Interrupts, listened
from megatron_sbp.training.ranks import Ranks

FIRST_REMARK, FURTHER_REMARKS = 60.0, 600.0
"""Seconds after which the user is told what a checkpoint that was asked for waits for, and again."""


class ForwardedSignals:
    """Asks the ranks for a checkpoint, once, when this process gets a signal to stop. A second SIGINT or SIGTERM ends
    them. Nothing else does: how long a step, an evaluation, and the checkpoint of a large model take is not known here.

    srun kills its tasks when it receives a signal, so the ranks are signaled through Slurm instead. There, a second
    SIGTERM ends nothing: Slurm may send several to a job, and kills it in the end.

    Args:
        ranks: the processes of the training run.
        stage: name of the stage.
        under_slurm: whether srun started the ranks.
    """

    def __init__(self, ranks: Ranks, stage: str, under_slurm: bool = False):
        self.ranks, self.stage, self.under_slurm = ranks, stage, under_slurm
        self.seen = False
        """Whether a signal, or a request, has arrived."""
        self._ending = (signal.SIGINT,) if under_slurm else (signal.SIGINT, signal.SIGTERM)
        self._interrupts = Interrupts()
        self._first_asked = self._asked = 0.0
        self._next_remark = FIRST_REMARK
        self._scancel: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ForwardedSignals:
        self._former = {number: signal.signal(number, self._forward) for number in listened()}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        if self._scancel is not None and self._scancel.poll() is None:
            # scancel retries while the job is in transition, and must not reach the tasks of a requeued job.
            os.killpg(self._scancel.pid, signal.SIGKILL)
            self._scancel.wait()

    def request(self, reason: str) -> None:
        """Asks the ranks for a checkpoint without having received a signal; only the first request counts.

        Args:
            reason: for the message.
        """
        if not self.seen:
            self.seen = True
            say(f"{self.stage}: {reason}: asking for a checkpoint")
            self._ask()

    def _forward(self, number: int, frame: object) -> None:
        if number in self._ending and self._interrupts.second():
            if self.under_slurm:
                self.ranks.signal(signal.SIGTERM)  # srun then kills its tasks
                time.sleep(1.0)
            raise KeyboardInterrupt
        if self.seen:
            return
        self.seen = True
        name = signal.Signals(number).name
        again = f"; {'Ctrl-C' if number == signal.SIGINT else name} again ends it at once"
        say(f"{self.stage}: {name}: asking for a checkpoint{again if number in self._ending else ''}")
        self._ask()

    def remind(self) -> None:
        """Called periodically: repeats the request if Slurm may not have had tasks yet, and says what takes long."""
        if not self.seen:
            return
        if self.under_slurm and time.monotonic() - self._asked > 10:
            self._ask()
        waited = time.monotonic() - self._first_asked
        if waited >= self._next_remark:
            self._next_remark = waited + FURTHER_REMARKS
            how = "`scancel`" if self.under_slurm else "a second SIGTERM or Ctrl-C"
            say(
                f"{self.stage}: asked for a checkpoint {duration(waited)} ago, still running: {self.ranks.running()}; "
                f"{how} ends it at once, without a checkpoint"
            )

    def _ask(self) -> None:
        self._asked = time.monotonic()
        self._first_asked = self._first_asked or self._asked
        if self.under_slurm:
            if self._scancel is not None and self._scancel.poll() is None:
                return
            # With its own time limit, in case this process is killed.
            words = ["timeout", "30", "scancel", "--signal=TERM", os.environ.get("SLURM_JOB_ID", "")]
            with contextlib.suppress(OSError):
                self._scancel = subprocess.Popen(
                    words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
                )
        else:
            self.ranks.signal(signal.SIGTERM)
