"""Groups the files of a corpus into tasks: one file each, or several if there are very many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

ALONE = 512
"""Up to this many files, each is its own group. Every shard has documents of every group, each at the cost of a lookup
and a read: with the 27,838 files of DCLM that would take longer than everything else."""

MOST, FEWEST, SIZE = 512, 64, 64 << 20
"""For more files: maximum and minimum number of groups, and target bytes per group."""


def input_groups(files: Sequence[Path]) -> list[range]:
    """Groups of consecutive files: one file each, or, for more than `ALONE` files, groups of about equal bytes.

    Args:
        files: of a corpus, in order.

    Returns:
        Index ranges in `files`.

    Raises:
        OSError: a file is missing.
    """
    if len(files) <= ALONE:
        return [range(place, place + 1) for place in range(len(files))]
    groups: dict[int, range] = {}
    sizes = [file.stat().st_size + 1 for file in files]  # an empty file counts as a little
    whole, before = sum(sizes), 0
    count = min(MOST, max(FEWEST, whole // SIZE))
    for place, size in enumerate(sizes):
        group = before * count // whole
        groups[group] = range(groups[group].start if group in groups else place, place + 1)
        before += size
    return list(groups.values())
