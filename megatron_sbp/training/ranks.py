"""Starts the processes of a training run, collects their output, and ends them together.

Ranks on one machine are started here and not by torchrun: the parent needs their exit statuses in order of arrival,
their separate outputs, and control over signals.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil

from megatron_sbp.base.kept_lines import FirstAndLast
from megatron_sbp.base.processes import die_with_parent
from megatron_sbp.base.progress import say

TAIL_LINES = 400
"""Lines of output kept in memory per process, since the log may be on a full disk."""

NOTICES = 200
"""Number of first lines, and of last lines, kept of those that show why a training run failed: srun forwards them from
all ranks, and a loop may print them for days."""

LINE_BYTES = 1 << 20
"""Longer output without a line break, such as a progress bar, is split here."""

ANNOUNCED_SECONDS = 40.0
"""Seconds that srun may take to end the other tasks after one has reported a failure (KillWait is 30 s)."""

OWN_WORDS_SECONDS = 10.0
"""Seconds that the other processes have to print their output after the first failure."""


class Rank:
    """One process of a training run.

    Args:
        name: `rank 3`, or the program that starts all ranks.
        command: its words.
        environment: its environment variables.
    """

    def __init__(self, name: str, command: list[str], environment: dict[str, str]):
        self.name, self.command, self.environment = name, command, environment
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        """The last lines of its output; complete once the block of `Ranks` has ended."""
        self.notices = FirstAndLast(NOTICES)
        """Notable lines, kept regardless of how much output follows them."""
        self.process: subprocess.Popen[bytes] | None = None
        self.status: int | None = None
        """Exit status as in Popen.returncode, once it has ended."""
        self.rest = b""
        """Output after the last line break."""

    def start(self) -> None:
        """Starts it in its own process group: Ctrl-C in a terminal reaches it only through its launcher."""
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            process_group=0,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )

    def poll(self, failed: Callable[[int], bool]) -> bool:
        """Whether it has just ended; after a failure, the rest of its group is killed."""
        assert self.process is not None
        if self.status is not None:
            return False
        # Kill the group before reaping the process, while its id cannot have been reused.
        end = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if end is None:
            return False
        if failed(end.si_status if end.si_code == os.CLD_EXITED else -end.si_status):
            self.kill()
        self.status = self.process.wait()
        return True

    def signal(self, number: int) -> None:
        """Sends a signal to the process, unless it has ended."""
        if self.status is None and self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Sends SIGKILL to the process and its descendants."""
        if self.status is None and self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Ranks:
    """All processes of a training run. Use as a context manager; leaving the block kills those still running.

    Args:
        ranks: the processes, not started yet.
        log: the file to which their output is appended. Writing may fail: the end of the output is kept in memory.
        done: exit statuses that are not failures.
        patience: seconds between the first failure and the SIGKILL to the others.
        announced: matches a line in which a launcher (srun) reports that one of its tasks failed.
        notable: matches lines to keep in `Rank.notices`.
        ending: seconds that the launcher may take to end the others after that line.
    """

    def __init__(
        self,
        ranks: list[Rank],
        log: Path,
        done: tuple[int, ...],
        *,
        patience: float = OWN_WORDS_SECONDS,
        announced: re.Pattern[str] | None = None,
        notable: re.Pattern[str] | None = None,
        ending: float = ANNOUNCED_SECONDS,
    ):
        self.ranks, self.log, self.done, self.patience = ranks, log, done, patience
        self.announced, self.notable, self.ending = announced, notable, ending
        self._announced_at: float | None = None
        self.first_failed: Rank | None = None
        """The process that failed first."""
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Ranks:
        try:
            for rank in self.ranks:
                rank.start()
        except BaseException:
            self._kill()
            raise
        self._reader.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._kill()
        # A process that outlives its rank on purpose may keep the pipe open (a logger's upload).
        self._reader.join(timeout=5.0)

    def _kill(self) -> None:
        for rank in self.ranks:
            rank.kill()
            if rank.process is not None:
                rank.process.wait()

    def wait(self, every_second: Callable[[], None]) -> None:
        """Waits until all have ended; once one has failed, the others get SIGTERM, and SIGKILL after `patience`."""
        called = time.monotonic()
        deadline: float | None = None
        while any(rank.status is None for rank in self.ranks):
            ended = [rank for rank in self.ranks if rank.poll(self._failed)]
            failed = [rank for rank in ended if self._failed(rank.status)]
            if failed and self.first_failed is None:
                # Of those that ended between two polls, a killed one is the cause.
                self.first_failed = min(failed, key=lambda rank: rank.status or 0)
                deadline = time.monotonic() + self.patience
                self.signal(signal.SIGTERM)
            now = time.monotonic()
            if deadline is None and self._announced_at is not None and now - self._announced_at > self.ending:
                deadline = now + self.patience
                self.signal(signal.SIGTERM)
            if deadline is not None and now > deadline:
                for rank in self.ranks:
                    rank.kill()
            if now - called >= 1.0:
                called = now
                every_second()
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Sends a signal to every running rank."""
        for rank in self.ranks:
            rank.signal(number)

    def running(self) -> str:
        """The processes that have not ended, with their ids: `rank 0 (pid 4711, stopped), rank 1 (pid 4712)`."""
        found = []
        for rank in self.ranks:
            if rank.status is None and rank.process is not None:
                with contextlib.suppress(psutil.Error):
                    stopped = psutil.Process(rank.process.pid).status() == psutil.STATUS_STOPPED
                    found.append(f"{rank.name} (pid {rank.process.pid}{', stopped' if stopped else ''})")
        return ", ".join(found)

    def _failed(self, status: int | None) -> bool:
        return status is not None and status not in self.done

    def _read(self) -> None:
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
            log = _Log(self.log)
            stack.callback(log.close)
            for rank in self.ranks:
                assert rank.process is not None and rank.process.stdout is not None
                selector.register(rank.process.stdout, selectors.EVENT_READ, rank)
            while selector.get_map():
                for key, _ in selector.select():
                    rank, data = key.data, os.read(key.fd, 1 << 16)
                    whole, _, rank.rest = (rank.rest + data).rpartition(b"\n")
                    if not data:  # all writers have ended
                        whole, rank.rest = rank.rest, b""
                        selector.unregister(key.fileobj)
                    if len(rank.rest) > LINE_BYTES:
                        whole, rank.rest = b"\n".join(filter(None, [whole, rank.rest])), b""
                    if whole:
                        log.write(whole + b"\n")
                        lines = whole.decode(errors="replace").splitlines()
                        rank.tail.extend(lines)
                        if self.notable:
                            rank.notices.extend(filter(self.notable.search, lines))
                        if self.announced and self._announced_at is None and any(map(self.announced.search, lines)):
                            self._announced_at = time.monotonic()


class _Log:
    """Appends to the log while possible; prints one message if writing fails."""

    def __init__(self, path: Path):
        self.path, self._complained = path, False
        self._descriptor: int | None = None

    def write(self, data: bytes) -> None:
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            if not self._complained:
                self._complained = True
                say(f"{self.path}: the log cannot be written ({error.strerror}); training continues")

    def close(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
