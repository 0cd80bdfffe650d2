"""Memory available to this process and its children."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

_GROUPS, _OF_SELF = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def free_memory(groups: Path = _GROUPS, of_self: Path = _OF_SELF) -> int:
    """Bytes still available: on the machine, or in a control group (of a Slurm job or a container) if that has less.

    Args:
        groups: mount point of the control groups, version 1 or 2.
        of_self: file that lists those of this process.
    """
    return max(0, min([psutil.virtual_memory().available, *_of_groups(groups, of_self)]))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a torch error means out of memory: on a GPU, or on the machine where an allocation fails rather than the
    process being killed (a limit, no overcommitment)."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and (  # torch is not imported here: it takes seconds
        type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator: can't allocate memory" in str(error)
    )


def _of_groups(groups: Path, of_self: Path) -> Iterator[int]:
    """Remaining bytes in this process's groups and their ancestors."""
    lines = of_self.read_text().splitlines() if of_self.exists() else []
    for _, kinds, path in (line.split(":", 2) for line in lines):
        if kinds == "":
            root, limit, taken = groups, "memory.max", ("anon", "shmem")
        elif "memory" in kinds.split(","):
            root, limit, taken = groups / "memory", "memory.limit_in_bytes", ("total_rss", "total_shmem")
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                yield from _left(folder, limit, taken)


def _left(folder: Path, limit: str, taken: tuple[str, ...]) -> Iterator[int]:
    """Pages of files do not count as taken: the kernel gives them up."""
    try:
        most = (folder / limit).read_text().strip()
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:  # the root group of version 2 has no limit, and a container may not see the groups it is in
        return
    if most != "max":
        yield int(most) - sum(int(stat.get(name, 0)) for name in taken)
