"""Shards in parts, read by processes that do not outlive the call."""

from __future__ import annotations

import os
import signal
import sys
import tracemalloc
from pathlib import Path

import psutil
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import Fault
from megatron_sbp.documents.ids import id_of, write_ids
from megatron_sbp.evaluation.shard_reading import Shard, affordable, parts_of, read_shards

SIZES = (40, 1, 70, 25, 64)


class Rows:
    """Notes the rows and texts it sees."""

    bytes = 0

    def __init__(self):
        self.seen: list[tuple[int, str]] = []

    def read(self, shard: Shard):
        for place, row in enumerate(files.read_jsonl_zst(shard.file)):
            self.seen.append((shard.first_row + place, row["text"]))
            yield

    def found(self):
        return self.seen

    def absorb(self, found):
        self.seen += found


class Deadly(Rows):
    """Kills the process that comes to a certain document."""

    def read(self, shard: Shard):
        for _ in super().read(shard):
            if self.seen[-1][0] == 150:
                os.kill(os.getpid(), signal.SIGKILL)
            yield


class Locking(Rows):
    """Is killed while it counts what it has read, with the lock held."""

    def read(self, shard: Shard):
        for _ in super().read(shard):
            if self.seen[-1][0] == 150:
                reader = sys._getframe().f_back
                assert reader is not None
                reader.f_locals["done"].get_lock().acquire()
                os.kill(os.getpid(), signal.SIGKILL)
            yield


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> list[Path]:
    """Of SIZES documents; every second one has a file of ids."""
    folder, begin, made = tmp_path_factory.mktemp("corpus") / "documents" / "train", 0, []
    for number, size in enumerate(SIZES):
        shard = folder / f"{number:05d}.jsonl.zst"
        files.write_jsonl_zst(shard, [{"id": f"d{row}", "text": f"text {row}"} for row in range(begin, begin + size)])
        if number % 2:
            with files.open_lines(shard) as lines:
                write_ids(shard, map(id_of, lines))
        made.append(shard)
        begin += size
    return made


def test_parts_follow_each_other_and_have_about_as_many_documents(shards):
    parts = parts_of(shards, 2)
    assert [[one.file for one in part] for part in parts] == [shards[:2], shards[2:]]
    assert [part[0].first_row for part in parts] == [0, 41]
    every = [one for part in parts_of(shards, 9) for one in part]
    assert [one.file for one in every] == shards and tuple(one.count for one in every) == SIZES
    assert every[-1].first_row == 136
    assert parts_of([], 4) == [[]] and len(parts_of(shards, 1)) == 1


def test_parts_of_files_alone(shards, tmp_path):
    parts = parts_of([tmp_path / name for name in "abcdefg"], 3, rows=False)
    assert [len(part) for part in parts] == [3, 2, 2] and parts[0][0] == Shard(tmp_path / "a", None, None)


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_every_document_is_read_once_and_in_order(shards, processes):
    reading = Rows()
    read_shards(reading, shards, sum(SIZES), "reading", processes)
    assert reading.seen == [(row, f"text {row}") for row in range(sum(SIZES))]


@pytest.mark.parametrize("kind", [Deadly, Locking])
def test_a_process_that_is_killed_is_told_as_such(shards, kind):
    with pytest.raises(Fault, match="reading: a process that reads a part of it was killed, probably out of memory"):
        read_shards(kind(), shards, sum(SIZES), "reading", 2)
    left = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
    assert not left


FINDING = 8 << 20
"""Bytes."""


class Large(Rows):
    """Finds much, and keeps of it what it needs."""

    def found(self):
        return bytes(FINDING), self.seen

    def absorb(self, found):
        super().absorb(found[1])


def test_what_one_process_has_found_is_in_memory_at_a_time(shards):
    reading = Large()
    tracemalloc.start()
    try:
        read_shards(reading, shards, sum(SIZES), "reading", 5)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [row for row, _ in reading.seen] == list(range(sum(SIZES)))
    assert most < 3 * FINDING  # the message and what is in it


def test_no_more_processes_than_there_is_memory_for():
    """The recipes at the paper's scale compare 30,000 texts: 7 GB of n-grams in every process."""
    table, gib = 7 << 30, 1 << 30
    assert affordable(48, table, 2000 * gib) == 48
    assert affordable(48, table, 100 * gib) == 11  # and two for the one that starts them
    assert affordable(48, table, 10 * gib) == affordable(1, 0, 0) == 1
