"""Rows of files of every kind, good and damaged."""

from __future__ import annotations

import hashlib
import json

import pyarrow
import pyarrow.parquet
import pytest
from support.documents_read import read, settings

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.raw_rows import raw_rows
from megatron_sbp.documents.reading import BadDocument, fields_of, parse


def test_jsonl_with_crlf_blank_lines_and_byte_order_mark(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\r\n  \n{"text": "zw\xc3\xb6lf", "more": 1}\n')
    rows = read(path, settings())
    assert [(line, document.text) for line, document in rows] == [(1, "one"), (4, "zwölf")]
    assert rows[0][1].id == hashlib.sha256(b"one").hexdigest()[:32]
    assert json.loads(rows[1][1].row()) == {"id": rows[1][1].id, "text": "zwölf"}


def test_parquet_of_several_row_groups(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [f"text {n} é" for n in range(5000)]
    table = pyarrow.table({"url": list(range(5000)), "text": texts, "unused": texts})
    pyarrow.parquet.write_table(table, path, row_group_size=700)
    read_bytes: list[int] = []
    documents = settings(id_field="url")
    rows = [(line, parse(raw, documents)) for line, raw in raw_rows(path, fields_of(documents), read_bytes.append)]
    assert [line for line, _ in rows] == list(range(1, 5001))
    assert [(document.id, document.text) for _, document in rows] == [(str(n), texts[n]) for n in range(5000)]
    assert sum(read_bytes) == path.stat().st_size


def test_parquet_with_bad_values(tmp_path):
    path = tmp_path / "a.parquet"
    raw = pyarrow.array([b"fine", b"b\xffd", None], pyarrow.binary())
    column = pyarrow.Array.from_buffers(pyarrow.string(), 3, raw.buffers())  # no check of the bytes
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), path)
    rows = list(raw_rows(path, ["text"], lambda _: None))
    assert parse(rows[0][1], settings()).text == "fine"
    with pytest.raises(BadDocument, match="invalid UTF-8"):
        parse(rows[1][1], settings())
    with pytest.raises(BadDocument, match="null"):
        parse(rows[2][1], settings())


def test_parquet_without_the_column_or_cut_off(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"body": ["a", "b"]}), path)
    with pytest.raises(InputError, match="column is missing; there are: body") as caught:
        read(path, settings())
    assert (caught.value.file, caught.value.key) == (path, "text")
    data = path.read_bytes()
    for cut in (0, 3, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(InputError, match="truncated or damaged parquet") as caught:
            read(path, settings(text_field="body"))
        assert caught.value.file == path


def test_parquet_with_a_column_twice(tmp_path):
    path = tmp_path / "a.parquet"
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], ["text", "text"])
    pyarrow.parquet.write_table(table, path)
    with pytest.raises(InputError, match="'text': there are 2 columns of this name"):
        read(path, settings())


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([2**62], pyarrow.timestamp("us")),
        pyarrow.array([2**30], pyarrow.date32()),
        pyarrow.array([1], pyarrow.timestamp("us", "Atlantis/Center")),
    ],
)
def test_parquet_with_a_date_that_python_has_not(tmp_path, column):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "when": column}), path)
    assert read(path, settings())[0][1].text == "a"
    with pytest.raises(BadDocument, match="no value that Python has"):
        read(path, settings(keep_fields=["when"]))
