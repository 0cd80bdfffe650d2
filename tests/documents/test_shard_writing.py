from __future__ import annotations

import os

import numpy as np
import psutil
import pytest

from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.documents import shard_writing
from megatron_sbp.documents.parts import Part, PartWriter, part_files
from megatron_sbp.documents.reading import Document
from megatron_sbp.documents.shard_writing import cut_shards
from megatron_sbp.documents.splitting import choose, keys_at

pytestmark = pytest.mark.slow

PER_SHARD = 10


@pytest.fixture
def cut(tmp_path):
    """Cuts 400 documents, in three parts, into shards of ten: the generator, and the files that it writes."""
    paths = [tmp_path / "parts" / str(number) for number in range(3)]
    for number, path in enumerate(paths):
        with PartWriter(path, 3, held_bytes=20_000) as writer:
            for line in range(1, 140 if number else 123):
                writer.add(Document(f"{number}-{line}", f"text {number} {line} " + "word " * line, {"n": line}), line)

    def made(name: str):
        parts = [Part(path) for path in paths]
        keep = choose([part.rows for part in parts]).keep
        places = [place for first in range(0, 400, PER_SHARD) for place in (first, first + PER_SHARD - 1)]
        keys = keys_at([part.rows for part in parts], keep, places)
        files = [tmp_path / name / f"{number:05d}.jsonl.zst" for number in range(40)]
        wanted = zip(files, keys[::2], keys[1::2], strict=True)
        return cut_shards(wanted, parts, keep, most=PER_SHARD, fields=["n"]), files

    return made


@pytest.fixture
def in_processes(monkeypatch):
    monkeypatch.setattr(shard_writing, "IN_THREADS", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


@pytest.fixture
def started():
    """The processes that were started since, as `psutil` has them: other tests of a worker may have left some."""
    before = {child.pid for child in psutil.Process().children()}

    def found() -> list[psutil.Process]:
        children = [child for child in psutil.Process().children() if child.pid not in before]
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    return found


def contents(files):
    return [path.read_bytes() for file in files for path in sorted(file.parent.parent.rglob(f"{file.name[:5]}*"))]


def test_threads_and_processes_write_the_same(cut, started, request):
    written, files = cut("threads/train")
    told = list(written)
    assert [entry["documents"] for entry in told] == [PER_SHARD] * 40 and not started()
    expected = contents(files)
    request.getfixturevalue("in_processes")
    written, files = cut("processes/train")
    first = next(written)
    assert len(started()) == 2
    assert [first, *written] == told and len(expected) == 80
    assert contents(files) == expected


def test_the_process_that_starts_the_others_looks_nothing_up(cut, in_processes, monkeypatch):
    """It would be the only one to work for an hour, of 5,820 shards in 512 parts."""

    def refuse(*_):
        raise AssertionError("the documents of a shard are for its process to find")

    monkeypatch.setattr(Part, "between", refuse)
    assert sum(entry["documents"] for entry in cut("train")[0]) == 400


def test_a_killed_process_is_a_fault(cut, started, in_processes):
    written, _ = cut("train")
    next(written)
    for child in started():
        child.kill()
    with pytest.raises(Fault, match="a process that writes shards was killed, probably out of memory"):
        list(written)


def test_damage_found_in_a_process_names_the_file(cut, in_processes, tmp_path):
    written, _ = cut("train")
    data = part_files(tmp_path / "parts" / "1")[0]
    data.write_bytes(data.read_bytes()[:40])
    with pytest.raises(InputError, match="damaged compressed data") as caught:
        list(written)
    assert caught.value.file == data


def test_no_process_outlives_a_generator_that_is_closed(cut, started, in_processes):
    written, _ = cut("train")
    next(written)
    assert len(started()) == 2
    written.close()
    assert not started()


def test_as_many_at_once_as_there_is_memory_for(tmp_path, monkeypatch):
    with PartWriter(tmp_path / "0", 3) as writer:
        for line in range(1, 101):
            writer.add(Document(str(line), "x" * 1000, {}), line)
    part = Part(tmp_path / "0")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(48)))
    for free, workers in ((1 << 40, 48), (10 * (shard_writing._PROCESS + 2 * 50 * part.size // 100 + 12), 10), (0, 1)):
        monkeypatch.setattr(shard_writing, "free_memory", lambda free=free: free)
        assert shard_writing._workers([part], most=50) == workers
    assert shard_writing._workers([], most=50) == 1
    monkeypatch.setattr(shard_writing, "HELD", 1000)  # of a larger shard, no more is in memory
    monkeypatch.setattr(shard_writing, "free_memory", lambda: 10 * (shard_writing._PROCESS + 2 * 1000 + 12))
    assert shard_writing._workers([part], most=50) == 10


def test_bits_of_some_places():
    random = np.random.default_rng(0)
    for count in (1, 7, 8, 9, 1000):
        kept, places = random.random(count) < 0.5, np.sort(random.integers(0, count, 50))
        assert np.array_equal(shard_writing._bits(np.packbits(kept), places), kept[places])
    assert shard_writing._bits(np.packbits(np.zeros(3, bool)), np.empty(0, np.int64)).shape == (0,)
