"""Documents from rows, and bad ones."""

from __future__ import annotations

import datetime
import json

import pytest
from support.documents_read import read, settings

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.reading import BadDocument, check_fields, parse


def test_field_names_and_kept_fields(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"doc": "one", "n": 7, "meta": {"a": [1, null]}, "other": 2}\n')
    ((_, document),) = read(path, settings(text_field="doc", id_field="n", keep_fields=["meta"]))
    assert json.loads(document.row()) == {"id": "7", "text": "one", "meta": {"a": [1, None]}}


@pytest.mark.parametrize(
    ("line", "reason", "key"),
    [
        (b'{"text": "a"', "malformed JSON: .* column 13", None),
        (b"nothing", "malformed JSON", None),
        (b'["text"]', "is a JSON array", None),
        (b"3", "is a JSON number", None),
        (b'{"id": "x", "title": "y"}', "missing; there are: id, title", "text"),
        (b'{"id": "x", "text": null}', "must be a string, not null", "text"),
        (b'{"id": "x", "text": 3}', "must be a string, not number", "text"),
        (b'{"id": "x", "text": ["a"]}', "must be a string, not array", "text"),
        (b'{"id": "x", "text": "a\xff"}', "invalid UTF-8 at byte 23", None),
        (b'{"id": "x", "text": "ab\\ud800c"}', "lone surrogate at character 3", "text"),
        (b'{"id": "x", "text": "a\\u0000"}', "NUL character at character 2", "text"),
        (b'{"id": true, "text": "a"}', "must be a string, not boolean", "id"),
        (b'{"id": 1.5, "text": "a"}', "must be a string, not number", "id"),
        (b'{"id": "", "text": "a"}', "is empty", "id"),
        (b'{"text": "a"}', "field is missing", "id"),
        (b"[" * 100_000, "JSON", None),
        (b'{"id": "x", "text": "a", "n": ' + b"1" * 5000 + b"}", "unusable JSON", None),
    ],
)
def test_bad_json_documents(line, reason, key):
    with pytest.raises(BadDocument, match=reason) as caught:
        parse(line, settings(id_field="id"))
    assert caught.value.key == key


def test_surrogate_pairs_are_characters():
    assert parse(b'{"text": "\\ud83d\\ude42"}', settings()).text == "🙂"


def test_kept_values_must_be_json_in_utf8():
    with pytest.raises(BadDocument, match="missing") as caught:
        parse(b'{"text": "a"}', settings(keep_fields=["url"]))
    assert caught.value.key == "url"
    for value in (b'"\\udc00"', b"NaN"):
        with pytest.raises(BadDocument, match="cannot be kept"):
            parse(b'{"text": "a", "url": ' + value + b"}", settings(keep_fields=["url"]))
    with pytest.raises(BadDocument, match="cannot be kept"):
        parse({"text": "a", "day": datetime.date(2026, 1, 1)}, settings(keep_fields=["day"]))


def test_kept_fields_do_not_overwrite_id_and_text():
    with pytest.raises(InputError, match="keep_fields"):
        check_fields(settings(keep_fields=["id"]))
    with pytest.raises(InputError, match="keep_fields"):
        check_fields(settings(text_field="body", keep_fields=["text"]))
    check_fields(settings(id_field="id", keep_fields=["id", "text"]))
