"""One Slurm for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.slurm_cluster import cluster, unavailable


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """The cluster's folder."""
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    with cluster() as folder:
        yield folder
