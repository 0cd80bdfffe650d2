"""Limit on open files: joining steps map one or two files per shard, and a corpus has thousands."""

from __future__ import annotations

import resource

ENOUGH = 1 << 18
"""Two files for each of 100,000 shards, with some to spare."""


def allow_many() -> int:
    """Raises the limit of this process and its children as far as allowed; returns it.

    Shells and Slurm usually set 1,024, which any process may raise on its own.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return soft
