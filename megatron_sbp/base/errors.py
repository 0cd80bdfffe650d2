"""Errors that end a command with a message: invalid input (status 2) and faults (status 1)."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

NO_ROOM = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EFBIG: ("the file size limit is reached (ulimit -f)", "raise the limit"),
}
"""Write errors due to lack of space, by errno: description and remedy."""

_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}
"""Errors of a file system that refuses a request."""

_LOST = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
"""Errors of a path that does not exist, or is of another kind."""


def told_of(error: OSError, given: Iterable[object] = ()) -> str | None:
    """One line for an error that the user can fix: no space, no permission, a path that they gave and that does not
    exist, or no current folder; None for a fault, such as a missing file of the program's own.

    Args:
        error: As it was raised.
        given: What the user gave: strings and paths count, and those in lists.
    """
    if error.errno in NO_ROOM:
        reason, advice = NO_ROOM[error.errno]
        if _of_semaphore(error):
            reason, advice = "shared memory is full", "make /dev/shm larger (docker --shm-size, a bind mount)"
        place = f" while writing {error.filename}" if error.filename else ""
        return f"{reason}{place}; {advice} and run the same command again"
    if error.errno in _LOST and _no_current_folder():
        return "the current folder no longer exists; change to one that does"
    if error.errno in _REFUSED or (error.errno in _LOST and _is_named(error.filename, given)):
        return f"{error.filename or 'a file'}: {error.strerror}"
    return None


def _of_semaphore(error: OSError) -> bool:
    """Whether a semaphore of processes was to be made: a file in /dev/shm, which the error does not name."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename.endswith("multiprocessing/synchronize.py")


def _no_current_folder() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _is_named(path: object, given: Iterable[object]) -> bool:
    """Whether a path is one of those named, or leads to one."""
    if not isinstance(path, (str, Path)):
        return False
    wanted = Path(path).resolve()
    for value in given:
        if isinstance(value, (list, tuple)) and _is_named(path, value):
            return True
        if isinstance(value, (str, Path)) and Path(value).resolve().is_relative_to(wanted):
            return True
    return False


def printable(text: object, lines: bool = True) -> str:
    """A text that is safe on a terminal: unprintable characters are escaped as in a Python literal (\\x1b, \\u202e).

    Documents, field names, and file names may come from anywhere, and terminals execute control sequences.

    Args:
        text: Converted by str().
        lines: Whether line feeds and tabs stay.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        character if character.isprintable() or character in kept else ascii(character)[1:-1] for character in str(text)
    )


class InputError(ValueError):
    """Invalid input or a problem outside the program; the message alone must be enough to fix it.

    The command line prints it as one message, without a traceback, and exits with status 2. Its text has no control
    characters other than line feeds and tabs; `reason` is the original message.

    Args:
        message: What is wrong, with both values where two disagree.
        file: The file that it is in.
        line: The line in that file, counted from 1.
        key: The recipe key or field name.
    """

    def __init__(
        self, message: str, *, file: Path | str | None = None, line: int | None = None, key: str | None = None
    ):
        self.file, self.line, self.key, self.reason = file, line, key, message
        place = "" if file is None else printable(file, lines=False)
        if line is not None:
            place += f":{line}"
        parts = [
            part for part in (place, f"'{printable(key, lines=False)}'" if key else "", printable(message)) if part
        ]
        super().__init__(": ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.reason, self.file, self.line, self.key)


def _rebuild(message: str, file: Path | str | None, line: int | None, key: str | None) -> InputError:
    return InputError(message, file=file, line=line, key=key)


class Fault(Exception):
    """A failure not caused by the user's input: a rank crashed, a worker was killed, a library failed.

    The command line prints it as one message, without a Python traceback from sbp, and exits with status 1.

    Args:
        message: What broke and, if known, why; ends with the last lines of the log if there is one.
        file: The log or other file with details.
        progress: How far the saved work had advanced; the same fault without progress is a crash loop.
        node: The node that failed, if it may not be this process's; None if unknown.
    """

    def __init__(self, message: str, *, file: Path | str | None = None, progress: str = "", node: str | None = ""):
        self.file, self.reason, self.progress, self.node = file, message, progress, node
        text = printable(message)
        super().__init__(text if file is None else f"{printable(file, lines=False)}: {text}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_fault, (self.reason, self.file, self.progress, self.node)


def _rebuild_fault(message: str, file: Path | str | None, progress: str, node: str | None) -> Fault:
    return Fault(message, file=file, progress=progress, node=node)
