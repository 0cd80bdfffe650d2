"""Tokenizes files in parallel, one file per process at a time, and joins the parts on all cores."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.progress import Progress
from megatron_sbp.documents.foreign import TextRows
from megatron_sbp.tokenization.encoding import TextCounts, write_texts
from megatron_sbp.tokenization.indexed import merge_indexed
from megatron_sbp.tokenization.pieces import encode_pieces
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
        found = encode_pieces(zip(rows.files, parts, strict=True), work, workers, ahead=len(parts))
        with closing(found), Progress("tokenize", len(parts), "files") as progress:
            for counts, empty, bad in found:
                total += counts
                rows.empty += empty
                rows.bad += bad
                progress.advance(1)
        if not total.documents:
            raise rows.none_found()
        merge_indexed(output, parts, tokenizer.dtype)
    return total


@dataclass
class _Work:
    """Tokenizes one file; returns the part's counts and its numbers of empty and bad rows."""

    rows: TextRows
    text_field: str
    tokenizer: TextTokenizer
    end_of_document: bool

    def __call__(self, piece: tuple[Path, Path]) -> tuple[TextCounts, int, int]:
        (path, part), rows = piece, self.rows
        rows.empty = rows.bad = 0
        texts = (row[self.text_field] for row in rows.of_file(path))
        counts = write_texts(texts, part, self.tokenizer, self.end_of_document)
        return counts, rows.empty, rows.bad
