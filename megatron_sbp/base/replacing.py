"""Replaces several files or a folder once the new ones are complete and on disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from megatron_sbp.base.errors import InputError, note_place
from megatron_sbp.base.files import atomic_path, sync_folder
from megatron_sbp.base.locks import locked_if_free


@contextlib.contextmanager
def replace_files(*paths: Path) -> Iterator[list[Path]]:
    """Yields temporary names for files that belong together; they get their final names on leaving the block.

    The last file marks the others as complete: they are never read without it. An exception leaves the old files as
        they were. Once all new files are on disk, the old last one is removed, and the new ones are renamed in order.
        So a kill leaves the old files, or no last file, or the new files, and never a last file beside others that it
        does not belong to.
    """
    with contextlib.ExitStack() as stack:
        # An ExitStack unwinds from its end: the last file is renamed last.
        partials = [stack.enter_context(atomic_path(path)) for path in reversed(paths)][::-1]
        yield partials
        for partial in partials:  # before the old last file is removed, since a full disk may show only here
            _to_disk(partial)
        paths[-1].unlink(missing_ok=True)
        sync_folder(paths[-1].parent)


@contextlib.contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """Yields a new folder, .NAME.partial beside `target`, which replaces `target` on leaving the block.

    An exception leaves the old folder as it was. A kill leaves the old folder or the new one; or, between two renames,
    the old one as .NAME.former, which the next call restores. The caller must check whether `target` may be replaced:
    see `outputs.check_folder`.

    Raises:
        InputError: another process is replacing it, or the file system has no locks.
    """
    lock = target.with_name(f".{target.name}.lock")
    with locked_if_free(lock) as held:
        if not held:
            raise InputError("another process is writing this folder; wait for it, or name another", file=target)
        try:
            with _replaced(target) as partial:
                yield partial
        finally:
            lock.unlink(missing_ok=True)


@contextlib.contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """`replace_folder` for the only process that does so."""
    partial, former = (target.with_name(f".{target.name}.{state}") for state in ("partial", "former"))
    _put_back(former, target)
    for left in (partial, former):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _to_disk(file)
        if target.exists():
            target.rename(former)
        partial.rename(target)
    except BaseException as error:
        _put_back(former, target)
        shutil.rmtree(partial, ignore_errors=True)
        note_place(error, target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(former, ignore_errors=True)


def _put_back(former: Path, target: Path) -> None:
    if former.is_dir() and not target.exists():
        former.rename(target)


def _to_disk(path: Path) -> None:
    with open(path, "rb+") as written:
        os.fsync(written.fileno())
