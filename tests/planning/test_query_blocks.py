"""Files of documents that one task searches for."""

from __future__ import annotations

import itertools

import pytest

from megatron_sbp.planning.query_blocks import block_count, query_blocks


@pytest.mark.parametrize("files", [0, 1, 3, 32, 33, 64, 600, 5_820])
@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_every_file_is_in_one_block_in_order(files, device):
    blocks = query_blocks(files, block_count(files, 100_000, device))
    assert list(itertools.chain(*blocks)) == list(range(files))
    assert not files or max(map(len, blocks)) - min(map(len, blocks)) <= 1


@pytest.mark.parametrize(("files", "blocks"), [(3, 3), (32, 32), (120, 32), (600, 50), (5_820, 678)])
def test_the_paper_s_corpora_on_gpus(files, blocks):
    """12, 60, and 582 million documents: memory decides at 60 million, time at 582 million."""
    found = query_blocks(files, block_count(files, 100_000, "gpu"))
    assert len(found) == blocks
    assert max(map(len, found)) * 1e5 <= 1.3e6 and max(map(len, found)) * 1e5 * files * 1e5 <= 5.3e14


def test_a_cpu_gets_smaller_tasks():
    assert block_count(120, 100_000, "cpu") == 58 and block_count(600, 100_000, "cpu") == 600


def test_a_plan_of_any_size_takes_no_time():
    assert block_count(10**15, 1, "cpu") == 10**15
