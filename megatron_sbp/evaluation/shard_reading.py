"""Shards of documents, read once on all cores of the task; what is found does not depend on how many read."""

from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from megatron_sbp.base.errors import Fault
from megatron_sbp.base.memory import free_memory
from megatron_sbp.base.processes import die_with_parent
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.documents.ids import count_documents

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from multiprocessing.sharedctypes import Synchronized

FEW = 50_000
"""Documents that one process reads faster than others would start."""

MEMORY = 16 << 30
"""Bytes that all of them take at most, even where more are free: what one task of a data stage may take."""

_PROCESS = 512 << 20
"""Bytes of a process that reads, besides what its `Reading` takes."""

_COUNTED = 100
"""Documents after which a process says how many it has read."""


@dataclass(frozen=True)
class Shard:
    """A .jsonl.zst file.

    Attributes:
        file: its path.
        first_row: of its first document, over all shards; None if rows were not requested.
        count: of its documents; None likewise.
    """

    file: Path
    first_row: int | None
    count: int | None


class Reading[Found](Protocol):
    """What is done with every document. Processes get copies, made before anything has been read."""

    @property
    def bytes(self) -> int:
        """Memory that it takes in a process."""

    def read(self, shard: Shard) -> Iterator[None]:
        """Reads a shard, and yields after every document."""

    def found(self) -> Found:
        """Everything that was noted, for `absorb`."""

    def absorb(self, found: Found) -> None:
        """Notes what another process has found in shards that come after those of this one."""


def read_shards[Found](
    reading: Reading[Found],
    files_: Sequence[Path],
    documents: int,
    label: str,
    processes: int | None = None,
    *,
    rows: bool = True,
    first_row: int = 0,
) -> None:
    """Reads all shards, each once.

    Args:
        reading: notes what is found.
        files_: the shards, in order.
        documents: in all of them.
        label: for the progress line.
        processes: how many read; None is one per core, where there are many documents and 16 GiB, or less that is free,
            allow it.
        rows: whether `reading` needs to know them. Shards without a file of ids are read once more for that.
        first_row: of the first shard's first document.

    Raises:
        Fault: a process was killed.
        Exception: what `reading.read` raises.
    """
    if processes is None:
        processes = 1
        if documents > FEW:
            cores = len(os.sched_getaffinity(0))
            processes = affordable(cores, reading.bytes, min(free_memory(), MEMORY))
            if processes < cores:
                told = f"{(reading.bytes + _PROCESS) / 2**30:.1f} GiB of memory"
                say(f"{label}: on {processes} of {cores} cores, since each of them takes {told}")
    parts = parts_of(files_, processes, rows, first_row)
    with Progress(label, documents, "documents") as progress:
        if len(parts) == 1:
            for shard in parts[0]:
                for _ in reading.read(shard):
                    progress.advance()
            return
        with closing(_in_processes(reading, parts, progress)) as every:
            for found in every:
                reading.absorb(found)
                del found  # before the next one comes


def affordable(cores: int, memory: int, free: int) -> int:
    """Processes that can read at the same time: one per core, or as many as there is memory for.

    This process needs as much as one of them, and once more while it takes over what one has found.

    Args:
        cores: there are.
        memory: bytes that a reading takes.
        free: bytes of memory.
    """
    return max(1, min(cores, free // (memory + _PROCESS) - 2))


def parts_of(files_: Sequence[Path], most: int, rows: bool = True, first_row: int = 0) -> list[list[Shard]]:
    """At most this many runs of consecutive shards, of about as many documents (or shards) each; one without shards."""
    counts = [count_documents(file) if rows else 1 for file in files_]
    ends = list(itertools.accumulate(counts))
    parts: dict[int, list[Shard]] = {}
    for file, count, end in zip(files_, counts, ends, strict=True):
        part = max(0, end - 1) * most // max(1, ends[-1])
        shard = Shard(file, first_row + end - count, count) if rows else Shard(file, None, None)
        parts.setdefault(part, []).append(shard)
    return list(parts.values()) or [[]]


def _in_processes[Found](
    reading: Reading[Found], parts: Sequence[Sequence[Shard]], progress: Progress
) -> Generator[Found, None, None]:
    """What is found in every part, each read by a process of its own. None of them outlives the generator.

    They keep it until all have read their part, so that this process holds what one of them has found, not all.
    """
    context = multiprocessing.get_context("spawn")  # not forked: torch and numba have threads
    done = context.Value("q", 0)
    processes, receivers = [], []
    try:
        for part in parts:
            receiver, sender = context.Pipe(duplex=False)
            arguments = (sender, os.getpid(), done, reading, part)
            process = context.Process(target=_read_part, args=arguments, daemon=True)
            process.start()
            processes.append(process)
            receivers.append(receiver)
            sender.close()  # or the end of the process would not be seen
        left = dict(zip(receivers, processes, strict=True))
        while left:
            ready = multiprocessing.connection.wait(list(left), timeout=1.0)
            # Without its lock, which a killed process may hold.
            progress.advance(done.get_obj().value - progress.done)
            for receiver in [receiver for receiver in left if receiver in ready]:
                _received(receiver, left.pop(receiver), progress.label)  # None: it has read its part
        for receiver, process in zip(receivers, processes, strict=True):
            yield _received(receiver, process, progress.label)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _received(
    receiver: Connection, process: BaseProcess, label: str
) -> Any:  # Any: pickled, the `Found` of a Reading or None
    try:
        said = receiver.recv()
    except EOFError:
        process.join()
        how = "was killed, probably out of memory" if process.exitcode == -signal.SIGKILL else "ended early"
        raise Fault(f"{label}: a process that reads a part of it {how} (exit status {process.exitcode})") from None
    if isinstance(said, Exception):
        raise said
    return said


def _read_part(
    sender: Connection, parent: int, done: Synchronized[int], reading: Reading[object], part: Sequence[Shard]
) -> None:
    die_with_parent(parent)
    try:
        every = itertools.chain.from_iterable(map(reading.read, part))
        for count, _ in enumerate(every, start=1):
            if count % _COUNTED == 0:
                with done.get_lock():
                    done.value += _COUNTED
        sender.send(None)
        sender.send(reading.found())
    except Exception as error:
        sender.send(error)
