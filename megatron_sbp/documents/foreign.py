"""Reads documents from outside a run: files and field names from the command line or another pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.corpus_files import matching_files
from megatron_sbp.documents.raw_rows import RawRow, raw_rows
from megatron_sbp.documents.reading import BadDocument, Document, field_of, id_of, row_of, text_of

OnBad = Literal["fatal", "skip"]


@dataclass(frozen=True)
class Source:
    """Files of documents. Row i of everything derived from them is the i-th document of `documents`.

    Attributes:
        inputs: files or glob patterns relative to the current folder: .jsonl, .jsonl.gz, .jsonl.zst, .parquet; read
            sorted by path.
        text_field: field of the text.
        id_field: field of a unique string or integer; None uses a digest of the text, as in a recipe.
        skip_empty: whether documents whose text is empty or white space are left out.
        optional_fields: additional fields to keep from rows that have them.
    """

    inputs: Sequence[str]
    text_field: str = "text"
    id_field: str | None = None
    skip_empty: bool = False
    optional_fields: tuple[str, ...] = ("title",)

    def files(self) -> list[Path]:
        """The files, sorted by path; raises InputError as `matching_files` does."""
        return matching_files(list(self.inputs), Path.cwd())

    def documents(self) -> Iterator[Document]:
        """All documents, in the order of files and rows. A bad row is an error: skipping it would shift later rows.

        Raises:
            InputError: unreadable files, a bad row, or no document at all; names file and line.
        """
        return (document for _, _, document in self.placed())

    def placed(self) -> Iterator[tuple[Path, int, Document]]:
        """`documents` with the file and the line (a parquet file's row, counted from 1) of each."""
        fields = [self.text_field, *([self.id_field] if self.id_field else [])]
        files = self.files()
        found = False
        for path in files:
            for line, document in converted_rows(path, fields, self._document, refuse, optional=self.optional_fields):
                if document.text.strip() or not self.skip_empty:
                    found = True
                    yield path, line, document
        if not found:
            raise InputError("no document", file=files[0])

    def check_fields(self, names: Sequence[str]) -> None:
        """Refuses optional fields that no document has. Reads until each has been found once.

        Raises:
            InputError: names the first document's file, its line, and the fields that it has.
        """
        missing = dict.fromkeys(names)
        for _, _, document in self.placed() if missing else ():
            for name in document.kept:
                missing.pop(name, None)
            if not missing:
                return
        for name in missing:  # all rows lack it: the error shows the fields of the first
            for path in self.files():
                list(converted_rows(path, [self.text_field, name], partial(field_of, name=name), refuse))

    def _document(self, row: JsonObject) -> Document:
        text = text_of(row, self.text_field)
        kept = {name: row[name] for name in self.optional_fields if name in row}
        return Document(id_of(row, self.id_field, text), text, kept)


class TextRows:
    """Rows with several text fields. Bad rows, and rows with an empty text, are counted and skipped.

    Args:
        inputs: as for `Source`.
        texts: text fields; a row in which one of them is empty or white space is skipped.
        others: additional string fields, which may be empty.
        bad_documents: whether a bad row is an error or is counted and skipped.
        unchecked: additional fields that a row must have, with any value.
        optional: additional fields with any value; None in rows that lack them.

    Attributes:
        files: the inputs, sorted by path.
        empty: rows skipped because a text was empty.
        bad: rows skipped because they were bad.

    Iterating gives a dict of the fields per row, and raises InputError for unreadable files, for a bad row (with
    "fatal"), and if there is no usable row at all.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        texts: Sequence[str],
        others: Sequence[str] = (),
        *,
        bad_documents: OnBad = "fatal",
        unchecked: Sequence[str] = (),
        optional: Sequence[str] = (),
    ):
        self.files = matching_files(list(inputs), Path.cwd())
        self._texts, self._fields, self._fatal = list(texts), [*texts, *others], bad_documents == "fatal"
        self._unchecked, self._optional = list(unchecked), list(optional)
        self.empty = self.bad = 0

    def __iter__(self) -> Iterator[JsonObject]:
        found = False
        with Progress("reading", sum(path.stat().st_size for path in self.files), "bytes") as progress:
            for path in self.files:
                for row in self.of_file(path, progress.advance):
                    found = True
                    yield row
        if not found:
            raise self.none_found()

    def of_file(self, path: Path, advance: Callable[[int], None] = lambda _: None) -> Iterator[JsonObject]:
        """Rows of one of the files, possibly none.

        Args:
            path: the file.
            advance: called with the number of bytes read since the last call.
        """
        yield from self.usable(path, self.raw(path, advance))

    def raw(self, path: Path, advance: Callable[[int], None] = lambda _: None) -> Iterator[tuple[int, RawRow]]:
        """Lines and unparsed rows of one of the files, for `usable`."""
        return raw_rows(path, [*self._fields, *self._unchecked], advance, self._optional)

    def usable(self, path: Path, raw: Iterable[tuple[int, RawRow]]) -> Iterator[JsonObject]:
        """Rows out of some that `raw` gave."""
        for _, row in _converted(path, raw, self._row, self._note_bad):
            if all(row[name].strip() for name in self._texts):
                yield row
            else:
                self.empty += 1

    def none_found(self) -> InputError:
        """The error that no file has a usable row."""
        return InputError(f"no usable row ({self.empty:,} empty, {self.bad:,} bad)", file=self.files[0])

    def _row(self, row: JsonObject) -> JsonObject:
        checked = {name: text_of(row, name) for name in self._fields}
        given = {name: field_of(row, name) for name in self._unchecked}
        return {**checked, **given, **{name: row.get(name) for name in self._optional}}

    def _note_bad(self, bad: BadDocument, path: Path, line: int) -> None:
        if self._fatal:
            refuse(bad, path, line)
        self.bad += 1


def converted_rows[Row](
    path: Path,
    fields: list[str],
    convert: Callable[[JsonObject], Row],
    on_bad: Callable[[BadDocument, Path, int], None],
    *,
    on_bytes: Callable[[int], None] = lambda _: None,
    optional: Sequence[str] = (),
) -> Iterator[tuple[int, Row]]:
    """Lines and converted rows of one file; rows that `convert` or the parser rejects go to `on_bad`, such as `refuse`,
    which raises."""
    yield from _converted(path, raw_rows(path, fields, on_bytes, optional), convert, on_bad)


def _converted[Row](
    path: Path,
    rows: Iterable[tuple[int, RawRow]],
    convert: Callable[[JsonObject], Row],
    on_bad: Callable[[BadDocument, Path, int], None],
) -> Iterator[tuple[int, Row]]:
    for line, raw in rows:
        try:
            row = convert(row_of(raw))
        except BadDocument as bad:
            on_bad(bad, path, line)
            continue
        yield line, row


def refuse(bad: BadDocument, path: Path, line: int) -> None:
    """Raises InputError with the place."""
    raise InputError(bad.reason, file=path, line=line, key=bad.key) from bad
