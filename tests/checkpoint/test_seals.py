"""A checkpoint that was damaged is known before a training goes on from it."""

from __future__ import annotations

import time

import pytest

from megatron_sbp.checkpoint import seals


@pytest.fixture
def folder(tmp_path):
    for iteration in (8, 16):
        base = seals.checkpoint_folder(tmp_path, iteration)
        base.mkdir()
        (base / "__0_0.distcp").write_bytes(bytes(range(256)) * iteration)
        (base / "metadata.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_damage_of_a_sealed_checkpoint(folder, harm):
    for iteration in (8, 16):
        seals.seal(folder, iteration)
        assert seals.broken(folder, iteration) is None
    file = seals.checkpoint_folder(folder, 16) / "__0_0.distcp"
    data = bytearray(file.read_bytes())
    if harm == "flip":
        data[77] ^= 1
        file.write_bytes(data)
    elif harm == "cut":
        file.write_bytes(data[:-1])
    else:
        file.unlink()
    assert seals.broken(folder, 16)[0] == file
    assert seals.broken(folder, 8) is None


def test_an_unsealed_checkpoint_and_a_damaged_seal_are_trusted(folder):
    assert seals.broken(folder, 8) is None
    seals.seal(folder, 8)
    (folder / "seals" / "8.json").write_text("[")
    assert seals.broken(folder, 8) is None


def test_checkpoints_are_sealed_as_they_become_complete(folder):
    with seals.Sealer(folder):
        deadline = time.monotonic() + 30
        while not (folder / "seals" / "16.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        half = seals.checkpoint_folder(folder, 24)
        half.mkdir()
        (half / "__0_0.distcp").write_bytes(b"half")
    assert sorted(file.name for file in (folder / "seals").iterdir()) == ["16.json", "8.json"]
