"""One Slurm for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.slurm_cluster import cluster, install_slurm


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """The cluster's folder."""
    install_slurm()
    with cluster() as folder:
        yield folder
