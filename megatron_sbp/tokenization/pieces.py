"""Tokenizes the rows of one file in parallel: one process reads and writes, in order; the others parse and tokenize."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.base.memory import free_memory
from megatron_sbp.base.processes import die_with_parent
from megatron_sbp.tokenization.encoding import TextCounts
from megatron_sbp.tokenization.indexed import IndexedWriter

IN_PROCESSES = 64 << 20
"""Minimum size of rows for starting processes, in bytes: starting one takes as much CPU time as tokenizing 20 MB."""

SMALLER = 3
"""Assumed compression ratio of text files, for comparison with `IN_PROCESSES`."""

_PROCESS = 300 << 20
"""Memory of a process in bytes: 266 MB in docs/scaling.md."""


@dataclass
class Encoded:
    """A piece of a dataset in memory, to which tokens are appended.

    Attributes:
        parts: tokens and their lengths, as for `IndexedWriter.add`.
        counts: of all of them.
        empty: rows omitted because of an empty text.
        bad: bad rows omitted.
    """

    parts: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    counts: TextCounts = field(default_factory=TextCounts)
    empty: int = 0
    bad: int = 0

    def add(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        """Appends documents of one sequence each."""
        self.parts.append((tokens, lengths))


def size_of_rows(path: Path) -> int:
    """Size of a file's rows in bytes, estimated if it is compressed."""
    return path.stat().st_size * (1 if path.name.endswith(".jsonl") else SMALLER)


def cores_of_process() -> int:
    """Cores that a stage may use: all cores of its task, or its share if the executor set OMP_NUM_THREADS because other
    processes run at the same time."""
    share = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, int(share))) if share.isdecimal() else cores


def workers_for_rows(size: int, cores: int) -> int:
    """Number of processes worth starting for rows of this size, limited by memory; 1 for little text."""
    return max(1, min(cores, free_memory() // _PROCESS)) if size >= IN_PROCESSES else 1


def write_encoded(
    found: Iterable[Encoded], writer: IndexedWriter, advance: Callable[[int], None] | None = None
) -> Encoded:
    """Appends pieces to an open dataset; returns their counts.

    Args:
        found: the pieces, in order.
        writer: of the dataset.
        advance: called with the number of documents done since the last call.
    """
    total = Encoded()
    for piece in found:
        for tokens, lengths in piece.parts:
            writer.add(tokens, lengths)
        total.counts += piece.counts
        total.empty += piece.empty
        total.bad += piece.bad
        if advance:
            advance(piece.counts.documents)
    return total


def encode_pieces[Piece, Found](
    pieces: Iterable[Piece], encode: Callable[[Piece], Found], workers: int, ahead: int = 1
) -> Generator[Found]:
    """What `encode` makes of each piece, in their order.

    Args:
        pieces: read by the caller's process.
        encode: called in the others, which get a copy of it.
        workers: processes.
        ahead: pieces that are in memory besides those in work.

    Raises:
        InputError: the first that reading or `encode` raises, in the order of the pieces.
        Fault: a process was killed.
    """
    context = multiprocessing.get_context("spawn")  # not forked: tokenizers has threads
    pool = ProcessPoolExecutor(workers, context, _begin, (os.getpid(), encode))
    running: deque[Future[Found]] = deque()
    failed: InputError | None = None
    try:
        source = iter(pieces)
        while True:
            try:
                piece = next(source, None)
            except InputError as error:
                failed = error
                break
            if piece is None:
                break
            if len(running) >= workers + ahead:
                yield running.popleft().result()
            running.append(pool.submit(_encode, piece))
        while running:
            yield running.popleft().result()
        if failed:
            raise failed
    except BrokenProcessPool as error:
        raise Fault("a process that tokenizes was killed, probably out of memory") from error
    finally:
        pool.shutdown(cancel_futures=True)


_encoder: Callable[..., object]
"""State of a pool process."""


def _begin(parent: int, encode: Callable[..., object]) -> None:
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process per core already
    global _encoder
    _encoder = encode


def _encode(piece: object) -> Any:  # Any: what the encoder returns
    return _encoder(piece)
