"""Cuts the shards of documents/ from the parts of a corpus, several at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from megatron_sbp.base.errors import Fault
from megatron_sbp.base.memory import free_memory
from megatron_sbp.base.processes import die_with_parent
from megatron_sbp.documents.parts import Part
from megatron_sbp.documents.shards import write_shard

IN_THREADS = 200_000
"""Documents up to which threads do: a process takes half a second to start. Compression, three quarters of the work,
needs no lock of Python's, but the rest would not let threads use more than four cores."""

_PROCESS = 200 << 20
"""Bytes that a process takes besides the documents of its shard."""

type _Pieces = list[tuple[int, np.ndarray]]
"""Numbers of parts, and the rows of a shard in each."""


class Cutter:
    """Writes shards from the parts of a corpus.

    Args:
        paths: FOLDER/NAME of the parts, without a suffix.
        fields: kept fields, for `shards.write_shard`.
        parts: those that are open already, by their number.
    """

    def __init__(self, paths: Sequence[Path], fields: Sequence[str], parts: Iterable[Part] = ()):
        self._paths, self._fields = paths, fields
        self._parts = dict(enumerate(parts))

    def cut(self, path: Path, pieces: _Pieces) -> dict[str, int]:
        """Writes one shard and returns what `shards.write_shard` does."""
        return write_shard(path, ((self._part(number), rows) for number, rows in pieces), self._fields)

    def _part(self, number: int) -> Part:
        if number not in self._parts:
            self._parts[number] = Part(self._paths[number])
        return self._parts[number]


def cut_shards(
    shards: Iterable[tuple[Path, np.void, np.void]],
    parts: Sequence[Part],
    keep: Sequence[np.ndarray],
    *,
    most: int,
    fields: Sequence[str] = (),
) -> Generator[dict[str, int]]:
    """Writes shards on all cores, or as many as there is memory for, and yields what `shards.write_shard` returns, in
    their order.

    Args:
        shards: file, and the keys of the first and the last document (`splitting.keys_at`) of each.
        parts: of the corpus.
        keep: bool [documents] per part: which documents stay.
        most: documents that a shard may have.
        fields: kept fields, whose digests are written beside the ids.

    Raises:
        InputError: damaged parts.
        Fault: a process was killed.
    """
    workers = _workers(parts, most)
    running: deque[Future[dict[str, int]]] = deque()
    paths = [part.path for part in parts]
    pool: Executor
    if workers == 1 or sum(map(len, parts)) <= IN_THREADS:
        pool, cut = ThreadPoolExecutor(workers), Cutter(paths, fields, parts).cut
    else:
        context = multiprocessing.get_context("spawn")  # not forked: pyarrow has threads
        pool = ProcessPoolExecutor(workers, context, _begin, (os.getpid(), Cutter(paths, fields)))
        cut = _cut
    try:
        for path, first, last in shards:
            if len(running) > workers:  # each waits with 8 bytes per document
                yield running.popleft().result()
            running.append(pool.submit(cut, path, _pieces(parts, keep, first, last)))
        while running:
            yield running.popleft().result()
    except BrokenProcessPool as error:
        raise Fault("documents: a process that writes shards was killed, probably out of memory") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _workers(parts: Sequence[Part], most: int) -> int:
    """Shards that can be written at the same time: one per core, or as many as there is memory for."""
    documents = sum(map(len, parts))
    size = sum(part.size for part in parts) // max(1, documents) * min(most, documents)
    return max(1, min(len(os.sched_getaffinity(0)), free_memory() // (2 * size + _PROCESS)))


_cutter: Cutter
"""Of a process of the pool."""


def _begin(parent: int, cutter: Cutter) -> None:
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too
    global _cutter
    _cutter = cutter


def _cut(path: Path, pieces: _Pieces) -> dict[str, int]:
    return _cutter.cut(path, pieces)


def _pieces(parts: Sequence[Part], keep: Sequence[np.ndarray], first: np.void, last: np.void) -> _Pieces:
    """Where the documents of a shard are."""
    found = ((number, part.between(first, last)) for number, part in enumerate(parts))
    kept = ((number, places[keep[number][places]]) for number, places in found)
    return [(number, places) for number, places in kept if len(places)]
