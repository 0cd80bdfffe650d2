"""Several files, or a folder, that replace former ones: complete and on disk before they do."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from megatron_sbp.base.files import atomic_path, sync_folder


@contextlib.contextmanager
def replace_files(*paths: Path) -> Iterator[list[Path]]:
    """Yields temporary names of files that belong together; what is written there gets the final names on leaving.

    The last file marks the others as complete: nobody reads them without it. An exception leaves the former files as
    they were. When all new ones are on disk, the former last one is removed, and the new ones get their names in order.
    So a kill leaves the former files, or no last one, or the new files, and never a last one beside files that are not
    its own.
    """
    with contextlib.ExitStack() as stack:
        # A stack unwinds from its end: the last file gets its name last.
        partials = [stack.enter_context(atomic_path(path)) for path in reversed(paths)][::-1]
        yield partials
        for partial in partials:  # before the former last one goes, since a full disk may show only here
            _to_disk(partial)
        paths[-1].unlink(missing_ok=True)
        sync_folder(paths[-1].parent)


@contextlib.contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """Yields a new folder, .NAME.partial beside `target`, which takes the place of `target` on leaving the block.

    An exception leaves the former folder as it was. A kill leaves the former folder or the new one; or, between two
    renames, the former one as .NAME.former, which the next call puts back. Whether `target` may be replaced is for the
    caller to check: see `outputs.check_folder`.
    """
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
    except BaseException:
        _put_back(former, target)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(target.parent)
    shutil.rmtree(former, ignore_errors=True)


def _put_back(former: Path, target: Path) -> None:
    if former.is_dir() and not target.exists():
        former.rename(target)


def _to_disk(path: Path) -> None:
    with open(path, "rb+") as written:
        os.fsync(written.fileno())
