"""Room for the run: bytes, inodes, quota."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from megatron_sbp.doctor.findings import Finding, fail, ok, warn
from megatron_sbp.doctor.quota import MORE, check_quota
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.planning.numbers import format_bytes, format_count

FEW_BYTES, FEW_FILES = 10e9, 10_000
"""Less free space than this is a warning if no recipe says how much is needed."""


def check_space(subject: Subject) -> Iterator[Finding]:
    """Free bytes and inodes against what the plan needs, and quotas."""
    needed: tuple[float, float] | None = None
    begun = False
    if subject.run is not None:
        begun = subject.run.root.exists()
        needed = subject.plan["disk"]["total"], subject.plan["files"]["total"]
    yield from room(subject.folder, needed, begun)
    yield from check_quota(subject.folder, needed, begun)


def room(folder: Path, needed: tuple[float, float] | None, begun: bool = False) -> Iterator[Finding]:
    """Findings about free bytes and free inodes.

    Args:
        folder: must exist.
        needed: bytes and files of the run; None where they are not known.
        begun: whether a part of them may already exist.
    """
    stat = os.statvfs(folder)
    free = stat.f_bavail * stat.f_frsize
    yield _enough("free bytes", free, needed and needed[0], few=FEW_BYTES, form=format_bytes, begun=begun)
    if stat.f_files == 0:
        yield ok("free inodes", "the file system has no limit")
    else:
        yield _enough("free inodes", stat.f_favail, needed and needed[1], few=FEW_FILES, form=format_count, begun=begun)


def _enough(
    check: str, free: float, needed: float | None, *, few: float, form: Callable[[float], str], begun: bool
) -> Finding:
    if needed is None:
        return ok(check, form(free)) if free >= few else warn(check, form(free), MORE)
    text = f"{form(free)}; the run needs about {form(needed)}"
    if free >= needed:
        return ok(check, text)
    if begun:
        return warn(check, f"{text}, what its folder holds already included", MORE)
    return fail(check, text, MORE)
