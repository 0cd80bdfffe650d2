"""Rows of one file tokenized by several processes: one reads and writes, in order; the others parse and tokenize."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.base.memory import free_memory
from megatron_sbp.base.processes import die_with_parent
from megatron_sbp.tokenization.encoding import TextCounts
from megatron_sbp.tokenization.indexed import IndexedWriter

IN_PROCESSES = 64 << 20
"""Bytes of rows from which on processes are started: each takes as much CPU time to start as for tokenizing 20 MB."""

SMALLER = 3
"""How many times smaller a compressed file of text is, for comparing with `IN_PROCESSES`."""

_PROCESS = 300 << 20
"""Bytes that a process takes: 266 MB in docs/scaling.md."""

_PIECE_ROWS, _PIECE_BYTES = 2048, 4_000_000


@dataclass
class Encoded:
    """What tokens are appended to in memory: a piece of a dataset.

    Attributes:
        parts: tokens and their lengths, as for `IndexedWriter.add`.
        counts: of all of them.
        empty: rows left out since a text was empty.
        bad: rows left out since they were bad.
    """

    parts: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    counts: TextCounts = field(default_factory=TextCounts)
    empty: int = 0
    bad: int = 0

    def add(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        """Appends documents of one sequence each."""
        self.parts.append((tokens, lengths))


def size_of_rows(path: Path) -> int:
    """Bytes of a file's rows, estimated where it is compressed."""
    return path.stat().st_size * (1 if path.name.endswith(".jsonl") else SMALLER)


def cores_of_process() -> int:
    """Cores that a stage may use: those of its task, or the share of them that its executor gave it by OMP_NUM_THREADS
    because other processes run beside it."""
    share = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, int(share))) if share.isdecimal() else cores


def workers_for_rows(size: int, cores: int) -> int:
    """Processes that are worth starting for so many bytes of rows, as far as there is memory; 1 for little text."""
    return max(1, min(cores, free_memory() // _PROCESS)) if size >= IN_PROCESSES else 1


def in_pieces[Row](rows: Iterable[Row], size: Callable[[Row], int]) -> Iterator[list[Row]]:
    """Rows in lists that are neither long nor heavy. What reading raises is raised behind the rows before it."""
    piece: list[Row] = []
    total = 0
    try:
        for row in rows:
            piece.append(row)
            total += size(row)
            if len(piece) == _PIECE_ROWS or total >= _PIECE_BYTES:
                yield piece
                piece, total = [], 0
    except InputError:
        if piece:
            yield piece
        raise
    if piece:
        yield piece


def write_encoded(
    found: Iterable[Encoded], writer: IndexedWriter, advance: Callable[[int], None] | None = None
) -> Encoded:
    """Appends pieces to a dataset that is being written; returns their counts.

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


def encode_pieces[Piece](
    pieces: Iterable[Piece], encode: Callable[[Piece], Encoded], workers: int
) -> Generator[Encoded]:
    """What `encode` makes of each piece, in their order; hardly more pieces than workers are in memory.

    Args:
        pieces: read by the caller's process.
        encode: called in the others, which get a copy of it.
        workers: processes.

    Raises:
        InputError: the first that reading or `encode` raises, in the order of the pieces.
        Fault: a process was killed.
    """
    context = multiprocessing.get_context("spawn")  # not forked: tokenizers has threads
    pool = ProcessPoolExecutor(workers, context, _begin, (os.getpid(), encode))
    running: deque[Future[Encoded]] = deque()
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
            if len(running) > workers:
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


_encoder: Callable[..., Encoded]
"""Of a process of the pool."""


def _begin(parent: int, encode: Callable[..., Encoded]) -> None:
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there are as many processes as cores
    global _encoder
    _encoder = encode


def _encode(piece: object) -> Encoded:
    return _encoder(piece)
