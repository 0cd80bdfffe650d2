"""Progress of long work: a bar on a terminal, log lines everywhere else."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import sys
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

from megatron_sbp.base.errors import printable


def say(message: str) -> None:
    """One line for the user, on standard error, at once. Control characters are escaped."""
    # One write: with PYTHONUNBUFFERED, print() writes the line feed separately, and lines of two processes mix.
    with _read_or_not():
        sys.stderr.write(f"{printable(message)}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def _read_or_not() -> Iterator[None]:
    """Ignores write errors after standard error has been closed: Ctrl-C also ends the `tee` of `2>&1 | tee log`, and a
    terminal may be closed."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)


class Progress:
    """Counts finished work and reports speed and remaining time.

    Use as a context manager and call `advance`. Without a terminal it prints a line every `every` seconds.

    Args:
        label: What is being done: `embed 00003`.
        total: Amount of work, or None if unknown.
        unit: Plural noun of the work: documents, tokens.
        every: Seconds between log lines.
        further: Returns text to append to a line; called whenever one is written.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        unit: str,
        every: float = 15.0,
        further: Callable[[], str] | None = None,
    ):
        self.label, self.total, self.unit, self.every, self._further = label, total, unit, every, further
        self.done = self._found = 0
        self._started = self._said = time.monotonic()
        self._bar = tqdm(total=total, desc=label, unit=f" {unit}", dynamic_ncols=True) if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None and self._said > self._started:
            self._line()

    def found(self, amount: int) -> None:
        """Adds work done earlier, by an interrupted run; it does not count toward this run's speed."""
        self.done += amount
        self._found += amount
        if self._bar is not None:
            with _read_or_not():
                self._bar.initial += amount
                self._bar.n += amount
                self._bar.last_print_n += amount
                self._bar.refresh()

    def advance(self, amount: int = 1) -> None:
        """Adds finished work."""
        self.done += amount
        due = time.monotonic() - self._said >= self.every
        if self._bar is not None:
            with _read_or_not():
                if due and self._further is not None:
                    self._said = time.monotonic()
                    self._bar.set_postfix_str(self._further(), refresh=False)
                self._bar.update(amount)
        elif due:
            self._line()

    def _line(self) -> None:
        self._said = time.monotonic()
        seconds = self._said - self._started
        rate = (self.done - self._found) / max(seconds, 1e-9)
        text = f"{self.label}: {self.done:,}"
        if self.total:
            text += f" of {self.total:,} {self.unit} ({100 * self.done / self.total:.0f} %), {rate:,.1f}/s"
            if rate > 0 and self.done < self.total:
                text += f", {duration((self.total - self.done) / rate)} left"
        else:
            text += f" {self.unit}, {rate:,.1f}/s"
        further = self._further() if self._further is not None else ""
        say(f"{text}; {further}" if further else text)


def duration(seconds: float) -> str:
    """`1h 02m`, `3m 05s`, `4.2s`; infinity means unknown."""
    if math.isinf(seconds):
        return "an unknown time"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"
