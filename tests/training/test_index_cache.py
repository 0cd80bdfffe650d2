"""Indices that all ranks share: built once, whole or not at all, and the same as those in memory."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from megatron_ranks import ROOT

from megatron_sbp.training import epochs, packing
from megatron_sbp.training.epochs import StrictEpochs
from megatron_sbp.training.index_cache import IndexCache

LENGTHS = np.random.default_rng(0).integers(1, 50, 1000).astype(np.int32)


@pytest.fixture
def shared(monkeypatch, tmp_path) -> IndexCache:
    monkeypatch.setattr(epochs, "SHARED_FROM", 10)
    monkeypatch.setattr(epochs, "CHUNK", 77)
    monkeypatch.setattr(packing, "SHARED_FROM", 10)
    return IndexCache(tmp_path / "cache")


def test_a_shared_epoch_is_the_one_in_memory(shared):
    mapped, plain = StrictEpochs(LENGTHS, 64, 1, shared, last=3), StrictEpochs(LENGTHS, 64, 1)
    for number in range(4):
        one, other = mapped.get(number), plain.get(number)
        for name in ("documents", "ends", "shuffle"):
            assert isinstance(getattr(one, name), np.memmap)
            assert (getattr(one, name) == getattr(other, name)).all()
            assert getattr(one, name).dtype == getattr(other, name).dtype
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon:
            thread.join(timeout=10)
    # Epochs that are over are removed, none is built beyond the last.
    assert sorted(path.name[:11] for path in shared.folder.glob("epoch-*")) == ["epoch-00002", "epoch-00003"]


def test_the_first_builds_and_the_others_read(shared):
    calls = []

    def build(folder):
        calls.append(folder)
        np.save(folder / "numbers.npy", np.arange(5))

    threads = [threading.Thread(target=shared.arrays, args=("one", build)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and shared.arrays("one", build)["numbers"].tolist() == [0, 1, 2, 3, 4]


def test_a_kill_in_the_middle_of_building_leaves_nothing_that_is_read(shared):
    program = (
        "import os, sys, numpy as np; from pathlib import Path\n"
        "from megatron_sbp.training.index_cache import IndexCache\n"
        "def build(folder):\n"
        "    np.save(folder / 'numbers.npy', np.arange(3)); os.kill(os.getpid(), 9)\n"
        "IndexCache(Path(sys.argv[1])).arrays('one', build)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(shared.folder)], cwd=ROOT, timeout=60)
    assert done.returncode == -9
    found = shared.arrays("one", lambda folder: np.save(folder / "numbers.npy", np.arange(7)))
    assert len(found["numbers"]) == 7


def test_other_data_empties_the_folder_and_so_does_a_kill_inside_megatron(shared):
    file = shared.folder / "index.npy"
    for disturb in (lambda: shared.prepare("other"), shared.begin_building):
        shared.prepare("key")
        file.touch()
        shared.prepare("key")
        assert file.exists()
        disturb()
        shared.prepare("key")
        assert not file.exists()
    shared.begin_building()
    shared.end_building()
    file.touch()
    shared.prepare("key")
    assert file.exists()


def test_a_shared_packing_is_the_one_in_memory_and_knows_its_dataset(shared):
    one, other = packing.packing_of(LENGTHS, 128, 1, shared), packing.packing_of(LENGTHS, 128, 1, None)
    assert isinstance(one.order, np.memmap) and one.fill == other.fill
    assert (one.order == other.order).all() and (one.starts == other.starts).all()
    changed = LENGTHS.copy()
    changed[0] += 1
    assert (
        packing.packing_of(changed, 128, 1, shared).order == packing.pack(changed.reshape(-1, 2).sum(1), 128, 1).order
    ).all()
