"""Names of shards."""

from __future__ import annotations

from megatron_sbp.base.shard_names import numbered_shards, shard_file_name


def test_shards_in_order_and_nothing_else(tmp_path):
    names = [shard_file_name(number, ".npy") for number in (2, 0, 10)]
    for name in (*names, ".00001.npy.partial", "audit.npy", "00003.npz"):
        (tmp_path / name).touch()
    assert [file.name for file in numbered_shards(tmp_path, ".npy")] == ["00000.npy", "00002.npy", "00010.npy"]


def test_no_folder_no_shards(tmp_path):
    assert numbered_shards(tmp_path / "none", ".npy") == []
