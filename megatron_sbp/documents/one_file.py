"""Reads one input file for the stage `documents`: a bad document is an error, or is passed on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.raw_rows import raw_rows
from megatron_sbp.documents.reading import BadDocument, Document, fields_of, parse
from megatron_sbp.recipe import Documents


def rows_of_file(
    path: Path, documents: Documents, on_bytes: Callable[[int], None]
) -> Iterator[tuple[int, Document | BadDocument]]:
    """Yields the line and document of every row, or the problem with it if `bad_documents` is `skip`.

    Args:
        path: the file.
        documents: field names and handling of bad documents.
        on_bytes: called with the number of bytes of the file that were read since the last call.

    Raises:
        InputError: an unreadable file, or a bad document if `bad_documents` is fatal.
    """
    for line, raw in raw_rows(path, fields_of(documents), on_bytes):
        try:
            yield line, parse(raw, documents)
        except BadDocument as bad:
            if documents.bad_documents == "fatal":
                raise InputError(bad.reason, file=path, line=line, key=bad.key) from bad
            yield line, bad


def is_usable(document: Document, documents: Documents) -> bool:
    """Whether it has at least the required text, and is not empty."""
    return len(document.text.strip()) >= max(1, documents.min_characters)
