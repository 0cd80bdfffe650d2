"""Tokenizes files in parallel, one file per process at a time, and joins the parts on all cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import Fault
from megatron_sbp.base.processes import die_with_parent
from megatron_sbp.base.progress import Progress
from megatron_sbp.documents.foreign import TextRows
from megatron_sbp.tokenization.encoding import TextCounts, write_texts
from megatron_sbp.tokenization.indexed import merge_indexed
from megatron_sbp.tokenization.tokenizer import TextTokenizer


def alike(paths: list[Path], workers: int) -> bool:
    """Whether one file per process at a time keeps all processes busy: no file is much larger than a process's
    share."""
    sizes = [path.stat().st_size for path in paths]
    return len(paths) >= workers and max(sizes) * workers <= 2 * sum(sizes)


def tokenize_files(
    rows: TextRows,
    text_field: str,
    output: Path,
    tokenizer: TextTokenizer,
    *,
    end_of_document: bool,
    workers: int,
) -> TextCounts:
    """Writes OUTPUT.bin and OUTPUT.idx: the same bytes as `encoding.write_texts` with all rows.

    Args:
        rows: of the files; its counts of empty and bad rows are updated.
        text_field: field of the text.
        output: prefix of the dataset. The parts are written to a folder next to it, which is removed afterwards.
        tokenizer: also determines the token dtype on disk.
        end_of_document: whether every document ends with that token.
        workers: number of processes.

    Raises:
        InputError: as iterating over `rows` does; for the first bad row in file order.
        Fault: a process was killed.
    """
    work = _Work(rows, text_field, tokenizer, end_of_document)
    total = TextCounts()
    with files.own_folder(output.with_name(f".{output.name}.parts")) as folder:
        parts = [folder / f"{number:06d}" for number in range(len(rows.files))]
        context = multiprocessing.get_context("spawn")  # not forked: tokenizers has threads
        pool = ProcessPoolExecutor(workers, context, _begin, (os.getpid(), work))
        try:
            with Progress("tokenize", len(parts), "files") as progress:
                for counts, empty, bad in pool.map(_tokenize, rows.files, parts):
                    total += counts
                    rows.empty += empty
                    rows.bad += bad
                    progress.advance(1)
        except BrokenProcessPool as error:
            raise Fault("a process that tokenizes was killed, probably out of memory") from error
        finally:
            pool.shutdown(cancel_futures=True)
        if not total.documents:
            raise rows.none_found()
        merge_indexed(output, parts, tokenizer.dtype)
    return total


@dataclass
class _Work:
    """State that a worker process needs for all files."""

    rows: TextRows
    text_field: str
    tokenizer: TextTokenizer
    end_of_document: bool


_work: _Work
"""State of a pool process."""


def _begin(parent: int, work: _Work) -> None:
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process per core already
    global _work
    _work = work


def _tokenize(path: Path, part: Path) -> tuple[TextCounts, int, int]:
    """Tokenizes one file; returns the part's counts and its numbers of empty and bad rows."""
    rows = _work.rows
    rows.empty = rows.bad = 0
    texts = (row[_work.text_field] for row in rows.of_file(path))
    counts = write_texts(texts, part, _work.tokenizer, _work.end_of_document)
    return counts, rows.empty, rows.bad
