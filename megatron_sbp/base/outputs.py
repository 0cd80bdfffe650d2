"""Checks that an output can be written, before any work; used by everything that tools/ runs."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.files import is_utf8


def check_file(path: Path, inputs: Iterable[Path | str] = (), suffix: str = "") -> None:
    """Refuses an output file that cannot or should not be written.

    Args:
        path: the file; an existing one may be replaced.
        inputs: files that are read.
        suffix: required suffix of its name; empty accepts any.

    Raises:
        InputError: it has another suffix, is one of the inputs, is not a regular file, or its folder is not writable.
    """
    with _explained(path):
        if path.name in ("", ".."):
            raise InputError("is a folder; name a file", file=path)
        if not path.name.endswith(suffix):
            raise InputError(f"must end in {suffix}: nothing else is written", file=path)
        if path.is_dir():
            raise InputError("is a folder; name a file", file=path)
        if path.exists() and not path.is_file():
            raise InputError("is not a regular file", file=path)
        for given in inputs:
            if path.resolve() == Path(given).resolve():
                raise InputError("is read as an input, and would be overwritten; name another file", file=path)
        check_place(path)


def check_folder(path: Path, marker: str, own: Collection[str]) -> None:
    """Refuses a folder that must not be replaced as a whole because it holds something that the program did not write.

    Args:
        path: the folder.
        marker: file that shows that the program made it.
        own: patterns of the files that the program writes there, relative to it; `*` stays inside a path's component.

    Raises:
        InputError: it is not a folder, holds other files, or its parent cannot be written to.
    """
    with _explained(path):
        if path.name in ("", ".."):
            raise InputError("cannot be replaced as a whole; name a folder inside it", file=path)
        if path.is_symlink():
            raise InputError("is a symbolic link; name a folder", file=path)
        if path.exists() and not path.is_dir():
            raise InputError("is a file; name a folder", file=path)
        held = sorted(entry.relative_to(path) for entry in path.rglob("*") if entry.is_symlink() or not entry.is_dir())
        other = [name for name in held if not any(_matches(name, pattern) for pattern in own)]
        if other or (held and not (path / marker).is_file()):
            what = f"holds {(other or held)[0]}, which this program did not write"
            raise InputError(f"{what}: name a folder that is empty or does not exist", file=path)
        check_place(path)


def check_apart(path: Path, inputs: Iterable[Path | str]) -> None:
    """Refuses a folder that is an input, contains one, or is inside one.

    Args:
        path: the folder.
        inputs: files and folders that are read; missing ones are skipped.

    Raises:
        InputError: names both.
    """
    with _explained(path):
        ours = path.resolve()
        for given in map(Path, inputs):
            theirs = given.resolve()
            if not theirs.exists():
                continue
            if ours == theirs:
                raise InputError("is read as an input; name another folder", file=path)
            if ours in theirs.parents:
                raise InputError(f"contains the input {given}; name another folder", file=path)
            if theirs in ours.parents:
                raise InputError(f"is inside the input {given}; name another folder", file=path)


def check_place(path: Path) -> None:
    """Refuses a path at which nothing can be created. Leaves nothing behind.

    Raises:
        InputError: something above it is not a folder, the nearest existing folder cannot be written to, or its name is
            not UTF-8, as Arrow needs it.
    """
    if not is_utf8(path):
        raise InputError("has bytes in its path that are not UTF-8; name another", file=path)
    folder = path.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(f"cannot be written: {folder} is not a folder", file=path)
    try:
        # Checked by trying: permissions do not show read-only file systems, and do not apply to root.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot be written: cannot create files in {folder} ({error.strerror})", file=path) from error


def _matches(name: PurePath, pattern: str) -> bool:
    wanted = PurePath(pattern).parts
    return len(name.parts) == len(wanted) and all(map(fnmatchcase, name.parts, wanted))


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Failures due to the path itself (too long, a folder that may not be entered) are the user's."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=path) from error
