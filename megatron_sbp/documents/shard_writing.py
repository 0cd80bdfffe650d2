"""Writes the shards of documents/ from the parts of a corpus, several in parallel."""

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
from megatron_sbp.documents.shards import HELD, write_shard

IN_THREADS = 200_000
"""Up to this many documents, threads are used: a process takes half a second to start. Compression, three quarters of
the work, releases the GIL, but the rest would limit threads to four cores."""

_PROCESS = 200 << 20
"""Memory of a process in bytes, excluding the documents that it holds."""


class Cutter:
    """Writes shards from the parts of a corpus.

    Args:
        paths: FOLDER/NAME of the parts, without a suffix.
        keep: bool [documents] per part: which documents stay. Held as one bit each.
        fields: kept fields, for `shards.write_shard`.
        parts: the open parts; if not given, the first shard opens them.
    """

    def __init__(
        self, paths: Sequence[Path], keep: Sequence[np.ndarray], fields: Sequence[str], parts: Sequence[Part] = ()
    ):
        self._paths, self._fields = paths, fields
        self._keep = [np.packbits(stay) for stay in keep]
        self._parts = parts

    def cut(self, path: Path, first: np.void, last: np.void) -> dict[str, int]:
        """Writes the shard of the documents from one key to another; returns the result of `shards.write_shard`."""
        if not self._parts:
            self._parts = [Part(path) for path in self._paths]
        found = ((part, part.between(first, last), keep) for part, keep in zip(self._parts, self._keep, strict=True))
        kept = ((part, places[_bits(keep, places)]) for part, places, keep in found)
        return write_shard(path, [(part, places) for part, places in kept if len(places)], self._fields)


def _bits(packed: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Selected bits of an `np.packbits` array, without unpacking the others: bool [places]."""
    return (packed[places >> 3] >> (7 - (places & 7)).astype(np.uint8) & 1).astype(bool)


def cut_shards(
    shards: Iterable[tuple[Path, np.void, np.void]],
    parts: Sequence[Part],
    keep: Sequence[np.ndarray],
    *,
    most: int,
    fields: Sequence[str] = (),
) -> Generator[dict[str, int]]:
    """Writes shards on all cores, or as many as there is memory for, and yields the results of `shards.write_shard`, in
    order.

    Args:
        shards: file, and the keys of the first and the last document (`splitting.keys_at`) of each.
        parts: of the corpus.
        keep: bool [documents] per part: which documents stay.
        most: maximum documents in a shard.
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
        pool, cut = ThreadPoolExecutor(workers), Cutter(paths, keep, fields, parts).cut
    else:
        context = multiprocessing.get_context("spawn")  # not forked: pyarrow has threads
        pool = ProcessPoolExecutor(workers, context, _begin, (os.getpid(), Cutter(paths, keep, fields)))
        cut = _cut
    try:
        for path, first, last in shards:
            if len(running) > workers:
                yield running.popleft().result()
            running.append(pool.submit(cut, path, first, last))
        while running:
            yield running.popleft().result()
    except BrokenProcessPool as error:
        raise Fault("documents: a process that writes shards was killed, probably out of memory") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _workers(parts: Sequence[Part], most: int) -> int:
    """Number of shards to write concurrently: one per core, or as many as fit in memory."""
    documents = sum(map(len, parts))
    size = sum(part.size for part in parts) // max(1, documents) * min(most, documents)
    held = min(size, HELD)
    return max(1, min(len(os.sched_getaffinity(0)), free_memory() // (2 * held + _PROCESS + documents // 8)))


_cutter: Cutter
"""State of a pool process."""


def _begin(parent: int, cutter: Cutter) -> None:
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    global _cutter
    _cutter = cutter


def _cut(path: Path, first: np.void, last: np.void) -> dict[str, int]:
    return _cutter.cut(path, first, last)
