"""Pieces come back in their order, few are in memory, and the first error is that of one process."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.tokenization import pieces
from megatron_sbp.tokenization.encoding import TextCounts
from megatron_sbp.tokenization.pieces import (
    Encoded,
    cores_of_process,
    encode_pieces,
    size_of_rows,
    workers_for_rows,
)


def encode(piece: list[int]) -> Encoded:
    """Runs in the processes."""
    if -1 in piece:
        raise InputError("bad row", line=piece.index(-1) + 1)
    if -2 in piece:
        os.kill(os.getpid(), signal.SIGKILL)
    tokens = np.array(piece, np.int32)
    return Encoded([(tokens, np.array([len(piece)], np.int32))], TextCounts(1, len(piece)))


def test_the_order_and_how_many_are_read_ahead():
    read = 0

    def source():
        nonlocal read
        for number in range(12):
            read += 1
            yield [number, number]

    for number, found in enumerate(encode_pieces(source(), encode, 2)):
        assert found.parts[0][0].tolist() == [number, number]
        assert read <= number + 1 + 3, "two are being worked on, one waits"
    assert number == 11


def test_the_first_error_in_the_order_of_the_rows_is_raised():
    def source(*rows):
        yield from rows
        raise InputError("truncated", line=99)

    found = encode_pieces(source([1], [2]), encode, 2)
    assert [next(found).counts.documents, next(found).counts.documents] == [1, 1]
    with pytest.raises(InputError, match="truncated"):
        next(found)
    with pytest.raises(InputError, match="bad row") as caught:
        list(encode_pieces(source([1], [3, -1]), encode, 2))
    assert caught.value.line == 2


def test_a_killed_process_is_a_fault():
    with pytest.raises(Fault, match="a process that tokenizes was killed, probably out of memory"):
        list(encode_pieces([[1], [-2], [3]], encode, 1))


def test_as_many_processes_as_there_are_cores_and_memory_for(tmp_path, monkeypatch):
    for free, size, cores, count in (
        (1 << 40, 64 << 20, 48, 48),
        (700 << 20, 64 << 20, 48, 2),
        (0, 64 << 20, 48, 1),
        (1 << 40, (64 << 20) - 1, 48, 1),
        (1 << 40, 1 << 40, 1, 1),
    ):
        monkeypatch.setattr(pieces, "free_memory", lambda free=free: free)
        assert workers_for_rows(size, cores) == count
    for name, size in (("a.jsonl", 100), ("a.jsonl.zst", 300), ("a.parquet", 300)):
        (tmp_path / name).write_bytes(b"x" * 100)
        assert size_of_rows(tmp_path / name) == size


def test_cores_are_those_of_the_task_or_the_share_of_them(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)))
    for share, cores in (("3", 3), ("48", 12), ("", 12), ("0", 1), ("4,2", 12)):
        monkeypatch.setenv("OMP_NUM_THREADS", share)
        assert cores_of_process() == cores
