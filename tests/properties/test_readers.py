"""Whatever bytes a corpus holds: documents, a BadDocument, or an InputError that names the file."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.corpus_files import SUFFIXES
from megatron_sbp.documents.raw_rows import raw_rows
from megatron_sbp.documents.reading import BadDocument, fields_of, parse
from megatron_sbp.recipe import Documents

SETTINGS = (
    Documents(inputs=["x"], train=1, valid=1, test=1),
    Documents(inputs=["x"], train=1, valid=1, test=1, id_field="id", keep_fields=["more"]),
)
LINES = "\n".join(json.dumps({"id": f"d{n}", "text": f"text {n} é", "more": [n, None]}) for n in range(20)).encode()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
ROWS = st.lists(st.fixed_dictionaries({}, optional={"id": JSON, "text": JSON, "more": JSON}), max_size=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("corpus")


def parquet() -> bytes:
    output = io.BytesIO()
    table = pyarrow.table({"id": ["a", "b"], "text": ["one", "two"], "more": [[1], None]})
    pyarrow.parquet.write_table(table, output)
    return output.getvalue()


WHOLE = {".jsonl": LINES, ".jsonl.gz": gzip.compress(LINES, mtime=0), ".jsonl.zst": zstandard.compress(LINES)}
WHOLE[".parquet"] = parquet()


def read(folder: Path, suffix: str, data: bytes) -> int:
    """Documents in a file of these bytes. Any exception but the two that are meant fails the test."""
    path = folder / f"corpus{suffix}"
    path.write_bytes(data)
    count = 0
    for settings in SETTINGS:
        told = []
        try:
            for line, raw in raw_rows(path, fields_of(settings), told.append):
                assert line > 0
                try:
                    document = parse(raw, settings)
                except BadDocument as bad:
                    assert bad.reason
                    continue
                row = json.loads(document.row())
                assert row["text"] == document.text and row["id"] == document.id and "\0" not in row["text"]
                count += 1
        except InputError as error:
            assert error.file == path
        assert sum(told) <= len(data)
    return count


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.binary(max_size=300))
def test_any_bytes(folder, suffix, data):
    read(folder, suffix, data)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(place=st.integers(0, 10_000), replacement=st.binary(max_size=8), cut=st.integers(0, 12), end=st.booleans())
def test_a_damaged_file(folder, suffix, place, replacement, cut, end):
    data = WHOLE[suffix]
    place %= len(data)
    read(folder, suffix, data[:place] + replacement + (b"" if end else data[place + cut :]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_whole_file(folder, suffix):
    assert read(folder, suffix, WHOLE[suffix]) == 2 * (2 if suffix == ".parquet" else 20)


@given(rows=ROWS)
def test_any_json(folder, rows):
    data = "\n".join(json.dumps(row) for row in rows).encode()
    for suffix, packed in (
        (".jsonl", data),
        (".jsonl.gz", gzip.compress(data)),
        (".jsonl.zst", zstandard.compress(data)),
    ):
        read(folder, suffix, packed)
