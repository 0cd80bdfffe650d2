"""Reads documents from .jsonl, .jsonl.gz, .jsonl.zst, and .parquet files."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base.errors import InputError, printable
from megatron_sbp.base.files import is_utf8
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.documents.lines import read_lines
from megatron_sbp.documents.patterns import names_matching
from megatron_sbp.recipe import Documents

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".jsonl", ".jsonl.gz", JSONL_ZST, ".parquet")

_ROWS_PER_BATCH = 1024


class _INVALID:
    """Marks a Parquet value that Python cannot represent: invalid UTF-8, a date out of range, an unknown time zone. A
    class, so that it is the same object in other processes."""


class BadDocument(Exception):
    """A document that cannot be used, with the reason and the field."""

    def __init__(self, reason: str, key: str | None = None):
        self.reason, self.key = reason, key
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Document:
    """A document as read: `text` is unchanged, `kept` holds the recipe's keep_fields."""

    id: str
    text: str
    kept: JsonObject

    def as_dict(self) -> JsonObject:
        """id, text and the kept fields."""
        return {"id": self.id, "text": self.text, **self.kept}

    def row(self) -> bytes:
        """The document as one JSON line of documents/, without the line feed."""
        return json.dumps(self.as_dict(), ensure_ascii=False, separators=(",", ":")).encode()


def corpus_files(
    documents: Documents, folder: Path, source: Path | str | None = None
) -> tuple[list[Path], list[PassedOver]]:
    """Files that `documents.inputs` matches, and matches that are not files.

    Args:
        documents: the patterns, and whether a match that is not a file is an error (`bad_documents`).
        folder: relative patterns start from it.
        source: where the patterns were read from, for messages.

    Raises:
        InputError: as `matching_files`.
    """
    found, passed_over = find_files(documents.inputs, folder, source, "documents.inputs")
    if documents.bad_documents == "fatal" or not found:
        _refuse(passed_over, "documents.inputs")
    return found, passed_over


def matching_files(patterns: list[str], folder: Path, source: Path | None = None, key: str | None = None) -> list[Path]:
    """Files that glob patterns match, each once, sorted by path.

    Args:
        patterns: relative to `folder`, or absolute; `**` means any depth.
        folder: relative patterns start from it.
        source: where the patterns were read from, for messages.
        key: the patterns' key in that file.

    Raises:
        InputError: a pattern matches no file, a file has an unknown suffix, something that matches is not a file (a
            link to nothing, a folder, a device), or a folder that `**` matches cannot be read.
    """
    found, passed_over = find_files(patterns, folder, source, key)
    _refuse(passed_over, key)
    return found


@dataclass(frozen=True)
class PassedOver:
    """A match of a pattern that is not a file."""

    path: Path
    reason: str


def find_files(
    patterns: list[str], folder: Path, source: Path | str | None, key: str | None
) -> tuple[list[Path], list[PassedOver]]:
    """Like `matching_files`, but returns matches that are not files instead of refusing them."""
    found: dict[Path, Path] = {}
    passed_over: dict[Path, str] = {}
    real = _WithoutLinks()
    for pattern in patterns:
        matches, seen = dict[Path, Path](), len(passed_over)
        for name in sorted(names_matching(pattern, folder, recursive=True)):
            place = os.path.join(folder, name)  # noqa: PTH118  of tens of thousands, pathlib takes most of the time
            if real.is_file(place):
                matches.setdefault(*real.places(place))
                continue
            path = Path(place)
            reason = _no_file(path)
            if reason is None:
                matches.setdefault(*real.places_of_link(path))
            elif not (path.is_dir() and pattern.endswith("**")):  # `**` also matches the folders along the way
                passed_over[path] = reason
        if not matches and len(passed_over) == seen:
            raise InputError(f"'{pattern}' matches no file (searched in {folder})", file=source, key=key)
        found = {**matches, **found}
    paths = sorted(found.values())
    for path in paths:
        if (unknown := _unknown_suffix(path)) is not None:
            raise InputError(unknown, file=path, key=key)
    return paths, [PassedOver(path, passed_over[path]) for path in sorted(passed_over)]


class _WithoutLinks:
    """Resolves paths. Each folder is resolved once for all its files: a corpus has tens of thousands, and every lookup
    would query all parent folders on a shared file system."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def is_file(self, place: str) -> bool:
        """Whether it is a regular file and not a link."""
        try:
            return stat.S_ISREG(os.lstat(place).st_mode)
        except OSError:
            return False

    def places(self, place: str) -> tuple[Path, Path]:
        """The same result as `places_of_link` for a file that is not a link: its resolved path, twice."""
        folder, name = os.path.split(place)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        found = Path(self._folders[folder], name)
        return found, found

    def places_of_link(self, path: Path) -> tuple[Path, Path]:
        """The target of a link, and the target under the link's name if only that has the suffix.

        The cache of the Hugging Face hub has `train.jsonl -> ../blobs/abc123`.
        """
        real = path.resolve()
        return real, real if real.name.endswith(SUFFIXES) else path.parent.resolve() / path.name


def file_problem(path: Path) -> str | None:
    """Why a match of `documents.inputs` is not a corpus file, judged by its kind and name."""
    return _no_file(path) or _unknown_suffix(path)


def _unknown_suffix(path: Path) -> str | None:
    if not is_utf8(path):
        return "has bytes in its path that are not UTF-8; rename it"
    return None if path.name.endswith(SUFFIXES) else f"is none of {', '.join(SUFFIXES)}"


def _no_file(path: Path) -> str | None:
    """Why an existing path is not a file; None for a file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "has vanished"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if stat.S_ISREG(mode):
        return None
    return "is a folder" if stat.S_ISDIR(mode) else "is not a regular file"


def _refuse(passed_over: list[PassedOver], key: str | None) -> None:
    if passed_over:
        first = passed_over[0]
        more = f" ({len(passed_over)} matches like this)" if len(passed_over) > 1 else ""
        raise InputError(f"{first.reason}: no file with documents{more}", file=first.path, key=key)


def check_fields(documents: Documents, source: Path | None = None) -> None:
    """Refuses keep_fields that would overwrite a field of documents/."""
    for name, origin in (("id", documents.id_field), ("text", documents.text_field)):
        if name in documents.keep_fields and origin != name:
            raise InputError(
                f"'{name}' cannot be kept: documents/ has a field of this name that comes from "
                f"{origin or 'a digest of the text'}",
                file=source,
                key="documents.keep_fields",
            )


type RawRow = bytes | JsonObject
"""A line of JSON, or a row of a parquet file."""


def raw_rows(
    path: Path, fields: list[str], on_bytes: Callable[[int], None], optional: Sequence[str] = ()
) -> Iterator[tuple[int, RawRow]]:
    """Rows of one file, not yet parsed.

    Args:
        path: the file.
        fields: columns to read from a parquet file.
        on_bytes: called with the number of bytes of the file that were read since the last call.
        optional: columns to read from parquet files that have them.

    Yields:
        (line counted from 1, or row in a parquet file; the input of `parse` and `row_of`). Blank lines of a JSON-lines
        file are skipped, as in most readers.

    Raises:
        InputError: unreadable, truncated or damaged file; a parquet file without one of the fields.
    """
    if path.name.endswith(".parquet"):
        yield from _parquet_rows(path, fields, on_bytes, optional)
        return
    for number, line in enumerate(read_lines(path, on_bytes), start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # byte order mark
        if line and not line.isspace():
            yield number, line


def parse(raw: RawRow, documents: Documents) -> Document:
    """Parses a row as a document.

    Args:
        raw: from `raw_rows`: the bytes of a JSON line, or the dict of a parquet row.
        documents: field names.

    Raises:
        BadDocument: malformed JSON, a missing field, a wrong type, invalid UTF-8 (also a lone surrogate), a NUL
            character, a kept value that JSON cannot hold. An empty text is not a bad document.
    """
    row = row_of(raw)
    text = text_of(row, documents.text_field)
    id = id_of(row, documents.id_field, text)
    kept = {name: field_of(row, name) for name in documents.keep_fields if name not in ("id", "text")}
    for name, value in kept.items():
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            why = "no value that Python has" if value is _INVALID else error
            raise BadDocument(f"cannot be kept: no JSON in UTF-8 can hold it ({why})", name) from error
    return Document(id, text, kept)


def row_of(raw: RawRow) -> JsonObject:
    """A row from `raw_rows` as a dict; raises BadDocument on malformed JSON and on invalid UTF-8."""
    return raw if isinstance(raw, dict) else _from_json(raw)


def text_of(row: JsonObject, name: str) -> str:
    """A string field; raises BadDocument as `parse` does."""
    return _check(field_of(row, name), name)


def id_of(row: JsonObject, name: str | None, text: str) -> str:
    """The id of a document: its field `name`, with integers as strings; without a field, a digest of the text.

    Raises:
        BadDocument: the field is missing, empty, or neither a string nor an integer.
    """
    if name is None:
        return hashlib.sha256(text.encode()).hexdigest()[:32]
    value = field_of(row, name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    id = _check(value, name)
    if not id:
        raise BadDocument("is empty", name)
    return id


def fields_of(documents: Documents) -> list[str]:
    """Fields that every row must have."""
    wanted = [documents.text_field, *([documents.id_field] if documents.id_field else []), *documents.keep_fields]
    return list(dict.fromkeys(wanted))


def _from_json(line: bytes) -> JsonObject:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadDocument(f"invalid UTF-8 at byte {error.start + 1} of the line") from error
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadDocument(f"malformed JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or extreme nesting
        raise BadDocument(f"unusable JSON: {error}") from error
    if not isinstance(row, dict):
        raise BadDocument(f"is a JSON {_kind(row)}, not an object with fields")
    return row


def field_of(row: JsonObject, name: str) -> JsonValue:
    """A field of any type; raises BadDocument if the row lacks it."""
    if name not in row:
        there = ", ".join(printable(key, lines=False)[:60] for key in list(row)[:10])
        raise BadDocument(f"field is missing; there are: {there or 'none'}", name)
    return row[name]


def _check(value: object, name: str) -> str:
    if value is _INVALID:
        raise BadDocument("invalid UTF-8", name)
    if not isinstance(value, str):
        raise BadDocument(f"must be a string, not {_kind(value)}", name)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadDocument(f"invalid UTF-8: a lone surrogate at character {error.start + 1}", name) from error
    place = value.find("\0")
    if place >= 0:
        raise BadDocument(f"has a NUL character at character {place + 1}", name)
    return value


def _kind(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _parquet_rows(
    path: Path, fields: list[str], on_bytes: Callable[[int], None], optional: Sequence[str]
) -> Iterator[tuple[int, JsonObject]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for name in fields:
                if name not in names:
                    there = ", ".join(printable(column, lines=False)[:60] for column in names[:20])
                    raise InputError(f"column is missing; there are: {there}", file=path, key=name)
                if names.count(name) > 1:
                    raise InputError(f"there are {names.count(name)} columns of this name", file=path, key=name)
            fields = list(dict.fromkeys([*fields, *(name for name in optional if name in names)]))
            told = 0
            for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH, columns=fields):
                columns = {name: _values(batch.column(name)) for name in fields}
                for place in range(batch.num_rows):
                    number += 1
                    yield number, {name: values[place] for name, values in columns.items()}
                # Estimated from the share of the rows.
                now = path.stat().st_size * number // file.metadata.num_rows
                on_bytes(now - told)
                told = now
    except FileNotFoundError as error:
        raise InputError("no such file", file=path) from error
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"truncated or damaged parquet ({error})", file=path, line=number + 1) from error


def _values(column: pyarrow.Array) -> list[JsonValue]:
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, LookupError):  # invalid UTF-8, or an unrepresentable date or time zone
        return [_value(scalar) for scalar in column]


def _value(scalar: pyarrow.Scalar) -> JsonValue:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, LookupError):
        return _INVALID
