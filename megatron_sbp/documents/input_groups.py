"""Which files of a corpus one task reads: a file each, or several where there are very many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

ALONE = 512
"""Files up to which each is a group. Every shard has documents of every group, which cost a look and a read each: with
the 27,838 files of DCLM that would take longer than all else."""

MOST, FEWEST, SIZE = 512, 64, 64 << 20
"""Groups of more files: at most, at least, and bytes of each in between."""


def input_groups(files: Sequence[Path]) -> list[range]:
    """Runs of consecutive files: one file each, or, of more than `ALONE` files, runs of about as many bytes.

    Args:
        files: of a corpus, in their order.

    Returns:
        Places in `files`.

    Raises:
        OSError: a file is gone.
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
