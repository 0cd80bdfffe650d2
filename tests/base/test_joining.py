"""Many files in one: the bytes of `cat`, wherever blocks end."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base import joining
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.joining import join_files


def write_parts(folder, sizes):
    random = np.random.default_rng(0)
    parts = [folder / f"part{number}" for number in range(len(sizes))]
    for part, size in zip(parts, sizes, strict=True):
        part.write_bytes(random.bytes(size))
    return parts


@pytest.mark.parametrize("block", [1, 7, 100, 1000, 1 << 20])
def test_the_bytes_of_all_parts(tmp_path, monkeypatch, block):
    """Blocks of many parts, parts of many blocks, ends that meet, and parts without a byte."""
    monkeypatch.setattr(joining, "BLOCK", block)
    monkeypatch.setattr(joining, "_BUFFER", 30)
    sizes = [100, 0, 3, 297, 0, 250, 50, 0]
    parts = write_parts(tmp_path, sizes)
    (tmp_path / "all").write_bytes(b"x" * 5000)  # a longer former file
    join_files(tmp_path / "all", parts, sizes)
    assert (tmp_path / "all").read_bytes() == b"".join(part.read_bytes() for part in parts)
    join_files(tmp_path / "all", [], [])
    assert (tmp_path / "all").read_bytes() == b""


def test_a_part_that_is_cut_short_or_gone(tmp_path):
    parts = write_parts(tmp_path, [100, 200])
    with pytest.raises(InputError, match="part1: ends 1 bytes early"):
        join_files(tmp_path / "all", parts, [100, 201])
    with pytest.raises(FileNotFoundError, match="gone"):
        join_files(tmp_path / "all", [*parts, tmp_path / "gone"], [100, 200, 1])


def test_what_a_disk_takes_in_part_is_written_on(tmp_path, monkeypatch):
    parts, write = write_parts(tmp_path, [1000]), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, place: write(file, data[:7], place))
    join_files(tmp_path / "all", parts, [1000])
    assert (tmp_path / "all").read_bytes() == parts[0].read_bytes()


def test_a_full_disk(tmp_path):
    parts = write_parts(tmp_path, [1000])
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    (tmp_path / "all").symlink_to("/dev/full")
    with pytest.raises(OSError) as found:
        join_files(tmp_path / "all", parts, [1000])
    assert found.value.errno in (errno.ENOSPC, errno.EINVAL)
