"""Documents from rows: which fields a row must have, and what makes it a bad document."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base.errors import InputError, printable
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.documents.raw_rows import INVALID, RawRow
from megatron_sbp.recipe import Documents


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
            why = "no value that Python has" if value is INVALID else error
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
    if value is INVALID:
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
