"""Whether files of a folder can be renamed within it, or a link leads to another file system."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from megatron_sbp.base.errors import InputError


def check_one_file_system(root: Path, places: Iterable[Path]) -> None:
    """Checks that what is in some folders can be renamed from one to the other.

    Args:
        root: the folder that all of them are in.
        places: folders, which need not be there yet.

    Raises:
        InputError: one of them is on another file system than `root`; names the link that leads there.
    """
    device = root.stat().st_dev
    for place in places:
        for folder in reversed([place, *(above for above in place.parents if above.is_relative_to(root))]):
            if folder.exists() and folder.stat().st_dev != device:
                raise InputError(
                    f"leads to another file system ({folder.resolve()}) than {root}, but files are moved by renaming, "
                    "which cannot cross file systems. Nothing was moved. Put the folder itself where the link is, "
                    f"or all of {root} on the other file system",
                    file=folder,
                )
