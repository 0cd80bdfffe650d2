"""A file that asks all processes of a run folder to stop: `touch RUN/stop`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

STATUS = 5
"""Exit status of a process that stopped because of the file."""


class Stopped(Exception):
    """The stop file exists."""

    def __init__(self, file: Path):
        super().__init__(f"{file} exists: stopped; finished work is kept. Remove the file to continue")


class StopFile:
    """Watches for the file; never removes it.

    Args:
        file: RUN/stop.
        every: seconds between checks.
    """

    def __init__(self, file: Path, every: float = 5.0):
        self.file, self.every = file, every
        self._looked, self._there = float("-inf"), False

    def there(self) -> bool:
        """Whether it exists, checked every `every` seconds."""
        now = time.monotonic()
        if now - self._looked >= self.every:
            self._looked, self._there = now, self.file.exists()
        return self._there

    def refuse(self) -> None:
        """Raises Stopped if it exists."""
        if self.file.exists():
            raise Stopped(self.file)

    @contextlib.contextmanager
    def interrupts(self, grace: float = 60.0) -> Iterator[None]:
        """Interrupts the block when the file appears, like Ctrl-C. Only for the main thread.

        Args:
            grace: seconds after which a process that does not react exits without cleaning up.

        Raises:
            Stopped: the file appeared.
        """
        ended, seen = threading.Event(), threading.Event()

        def watch() -> None:
            while not ended.wait(self.every):
                if self.file.exists():
                    seen.set()
                    os.kill(os.getpid(), signal.SIGINT)
                    if not ended.wait(grace):
                        print(f"sbp: {Stopped(self.file)}", file=sys.stderr, flush=True)
                        os._exit(STATUS)
                    return

        def interrupt(number: int, frame: object) -> None:
            if seen.is_set():  # handlers set by others stay ignored
                raise KeyboardInterrupt

        self.refuse()
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        if ignored:  # as shells set it for background processes, and so for every Slurm job
            signal.signal(signal.SIGINT, interrupt)
        watcher = threading.Thread(target=watch, name="stop-file", daemon=True)
        watcher.start()
        try:
            yield
        except KeyboardInterrupt:
            if seen.is_set():
                raise Stopped(self.file) from None
            raise
        finally:
            ended.set()
            if ignored:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
