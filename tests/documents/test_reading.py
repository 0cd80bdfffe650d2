from __future__ import annotations

import datetime
import hashlib
import json
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.reading import (
    BadDocument,
    check_fields,
    fields_of,
    matching_files,
    parse,
    raw_rows,
)
from megatron_sbp.recipe import Documents


def settings(**fields) -> Documents:
    return Documents(inputs=["x"], train=1, valid=1, test=1, **fields)


def read(path: Path, documents: Documents):
    return [(line, parse(raw, documents)) for line, raw in raw_rows(path, fields_of(documents), lambda _: None)]


def test_jsonl_with_crlf_blank_lines_and_byte_order_mark(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\r\n  \n{"text": "zw\xc3\xb6lf", "more": 1}\n')
    rows = read(path, settings())
    assert [(line, document.text) for line, document in rows] == [(1, "one"), (4, "zwölf")]
    assert rows[0][1].id == hashlib.sha256(b"one").hexdigest()[:32]
    assert json.loads(rows[1][1].row()) == {"id": rows[1][1].id, "text": "zwölf"}


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


def test_a_link_has_the_name_that_says_what_is_in_it(tmp_path):
    """As in the cache of the Hugging Face hub, whose files are named by their digests."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "blobs" / "abc123").write_text('{"text": "one"}\n')
    (tmp_path / "blobs" / "real.jsonl").write_text('{"text": "two"}\n')
    for link, blob in (("train.jsonl", "abc123"), ("again.jsonl", "abc123"), ("other.jsonl", "real.jsonl")):
        (tmp_path / "snapshots" / link).symlink_to(f"../blobs/{blob}")
    found = matching_files(["snapshots/*"], tmp_path, source=None, key=None)
    place = tmp_path.resolve()
    # The first name of what several have; and what a run has read by its own name keeps it.
    assert found == [place / "blobs" / "real.jsonl", place / "snapshots" / "again.jsonl"]
    assert [document.text for _, document in read(found[1], settings())] == ["one"]


def test_patterns(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b.jsonl", "a.jsonl", "deep/er/c.jsonl.gz", "d.txt"):
        (tmp_path / name).touch()

    def names(*patterns: str) -> list[str]:
        found = matching_files(list(patterns), tmp_path, source=Path("recipe.yaml"), key="documents.inputs")
        return [path.relative_to(tmp_path.resolve()).as_posix() for path in found]

    assert names("*.jsonl", "a.jsonl") == ["a.jsonl", "b.jsonl"]
    assert names("**/*.jsonl*") == ["a.jsonl", "b.jsonl", "deep/er/c.jsonl.gz"]
    assert names(str(tmp_path / "deep" / "*" / "*")) == ["deep/er/c.jsonl.gz"]
    with pytest.raises(InputError, match=r"recipe.yaml: 'documents.inputs': 'x\*' matches no file"):
        names("*.jsonl", "x*")
    with pytest.raises(InputError, match=r"deep: .*is a folder"):
        names("deep")  # a folder
    with pytest.raises(InputError, match=r"d.txt.*is none of .jsonl"):
        names("d.txt")


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    """`part[1].jsonl` matched no file, also where a shell had named it."""
    for name in ("part[1].jsonl", "part1.jsonl"):
        (tmp_path / name).write_text("{}")
    assert matching_files(["part[1].jsonl"], tmp_path) == [tmp_path / "part[1].jsonl"]
    assert matching_files(["part[2-9]*.jsonl", "*1.jsonl"][1:], tmp_path) == [tmp_path / "part1.jsonl"]


def test_a_name_that_is_not_utf8(tmp_path):
    """The run could not write it down, and ended with a traceback."""
    (tmp_path / os.fsdecode(b"caf\xe9.jsonl")).write_text("{}")
    with pytest.raises(InputError, match=r"caf\\udce9\.jsonl: has bytes in its path that are not UTF-8"):
        matching_files(["*.jsonl"], tmp_path)


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
