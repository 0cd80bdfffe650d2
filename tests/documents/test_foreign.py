"""One reader for documents that no run prepared, with one rule for ids."""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.foreign import Source, TextRows


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_without_an_id_field_the_id_is_the_digest_of_the_text(tmp_path):
    name = jsonl(tmp_path / "a.jsonl", {"text": "one", "id": "x"}, {"text": "two"})
    ids = [document.id for document in Source([name]).documents()]
    assert ids == [hashlib.sha256(text).hexdigest()[:32] for text in (b"one", b"two")]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_integers_are_ids_as_text(tmp_path, suffix):
    rows = [{"body": "one", "number": 7, "title": "A"}, {"body": "two", "number": 8, "title": "B"}]
    path = tmp_path / f"a.{suffix}"
    if suffix == "jsonl":
        jsonl(path, *rows)
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    documents = [document.as_dict() for document in Source([str(path)], "body", "number").documents()]
    assert documents == [{"id": "7", "text": "one", "title": "A"}, {"id": "8", "text": "two", "title": "B"}]


@pytest.mark.parametrize(
    ("value", "message"), [("", "is empty"), (True, "must be a string, not boolean"), (None, "must be a string")]
)
def test_ids_that_are_none(tmp_path, value, message):
    name = jsonl(tmp_path / "a.jsonl", {"text": "one", "id": "x"}, {"text": "two", "id": value})
    with pytest.raises(InputError, match=message) as caught:
        list(Source([name], id_field="id").documents())
    assert f"{name}:2" in str(caught.value)


def test_a_row_without_its_id_field_is_bad(tmp_path):
    name = jsonl(tmp_path / "a.jsonl", {"text": "one"})
    with pytest.raises(InputError, match="field is missing"):
        list(Source([name], id_field="id").documents())


def test_empty_documents_are_left_out_only_where_asked(tmp_path):
    name = jsonl(tmp_path / "a.jsonl", {"text": "one"}, {"text": " \n"}, {"text": "two"})
    assert [document.text for document in Source([name]).documents()] == ["one", " \n", "two"]
    assert [document.text for document in Source([name], skip_empty=True).documents()] == ["one", "two"]


def test_no_document_is_an_error(tmp_path):
    name = jsonl(tmp_path / "a.jsonl", {"text": " "})
    with pytest.raises(InputError, match="no document"):
        list(Source([name], skip_empty=True).documents())


def test_rows_of_several_texts_count_what_they_leave_out(tmp_path):
    name = jsonl(
        tmp_path / "a.jsonl",
        {"seed": "a", "target": "b", "note": ""},
        {"seed": "a", "target": " ", "note": ""},
        {"seed": 5, "target": "b", "note": ""},
    )
    rows = TextRows([name], ["seed", "target"], ["note"], bad_documents="skip")
    assert list(rows) == [{"seed": "a", "target": "b", "note": ""}]
    assert (rows.empty, rows.bad) == (1, 1)
    with pytest.raises(InputError, match="must be a string, not number"):
        list(TextRows([name], ["seed", "target"]))
