"""Embeddings that someone else made, in parquet: their ids decide which document each belongs to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing import parquet_vectors
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.pairing.parquet_vectors import write_in_order

NAMES = [f"d{number}" for number in range(7)]
DOCUMENTS = pa.chunked_array([pa.array(NAMES[:3], pa.large_string()), pa.array(NAMES[3:], pa.large_string())])
ROWS = np.random.default_rng(0).normal(size=(7, 4))
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)


def save(file, ids, rows, kind=None):
    lists = pa.array([None if row is None else list(row) for row in rows], kind or pa.list_(pa.float32()))
    pq.write_table(pa.table({"more": np.arange(len(rows)), "embedding": lists, "id": ids}), file)
    return file


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 4), pa.list_(pa.float16(), 4)]
)
@pytest.mark.parametrize("at_once", [2, 100])
def test_rows_come_in_the_order_of_the_documents(tmp_path, kind, at_once, monkeypatch):
    monkeypatch.setattr(parquet_vectors, "_ROWS", at_once)
    monkeypatch.setattr(parquet_vectors, "DOCUMENTS_PER_FILE", 3)
    order, rows = [6, 0, 3, 5, 2, 1, 4], ROWS.astype(np.float16) if kind.value_type == pa.float16() else ROWS
    one = save(tmp_path / "1.parquet", [NAMES[row] for row in order[:5]], rows[order[:5]], kind)
    two = save(tmp_path / "2.parquet", [NAMES[row] for row in order[5:]], rows[order[5:]], kind)
    written = write_in_order([one, two], DOCUMENTS, tmp_path / "vectors")
    vectors = Vectors(written)
    assert [len(part) for part in vectors.parts] == [3, 3, 1] and vectors.dimensions == 4
    np.testing.assert_array_equal(vectors.take(np.arange(7)), ROWS.astype(np.float16))


def test_ids_may_be_numbers(tmp_path):
    file = save(tmp_path / "a.parquet", [12, 7], ROWS[:2])
    [written] = write_in_order([file], pa.chunked_array([pa.array(["7", "12"], pa.large_string())]), tmp_path / "v")
    np.testing.assert_array_equal(np.load(written), ROWS[[1, 0]].astype(np.float16))


def changed(place, row):
    rows = list(ROWS)
    rows[place] = row
    return rows


@pytest.mark.parametrize(
    ("ids", "rows", "message"),
    [
        (NAMES[:6], ROWS[:6], r"'id': there is no embedding of document 'd6' \(1 of 7 documents have none\)"),
        ([*NAMES, "x"], [*ROWS, ROWS[0]], "'id': 'x' is of none of the documents"),
        ([*NAMES, None], [*ROWS, ROWS[0]], "'id': is null in some row"),
        ([*NAMES, "d2"], [*ROWS, ROWS[0]], "'id': document 'd2' has two embeddings"),
        (NAMES, changed(5, ROWS[0, :3]), "'embedding': that of document 'd5' has 3 dimensions, and the first one 4"),
        (NAMES, changed(5, None), "'embedding': that of document 'd5' is null"),
        (NAMES, changed(0, None), "'embedding': that of document 'd0' is null"),
        (NAMES, changed(4, [np.nan, 0, 0, 1]), "'embedding': that of document 'd4' has values that are not finite"),
        (NAMES, changed(4, [None, 0, 0, 1]), "'embedding': that of document 'd4' has values that are not finite"),
        (
            NAMES,
            changed(4, [0.0] * 4),
            "'embedding': that of document 'd4' has length 0; embeddings must have length 1",
        ),
        (NAMES, changed(0, []), "'embedding': that of document 'd1' has 4 dimensions, and the first one 0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, ids, rows, message):
    file = save(tmp_path / "a.parquet", ids, rows)
    with pytest.raises(InputError, match=rf"a\.parquet: {message}"):
        write_in_order([file], DOCUMENTS, tmp_path / "vectors")


def test_two_files_share_no_document(tmp_path):
    given = [save(tmp_path / f"{name}.parquet", NAMES, ROWS) for name in "ab"]
    with pytest.raises(InputError, match=r"b\.parquet: 'id': document 'd0' has two embeddings"):
        write_in_order(given, DOCUMENTS, tmp_path / "vectors")


def test_files_of_another_kind(tmp_path):
    with pytest.raises(InputError, match=r"none\.parquet: no such file"):
        write_in_order([tmp_path / "none.parquet"], DOCUMENTS, tmp_path / "v")
    file = tmp_path / "a.parquet"
    file.write_text("no parquet")
    with pytest.raises(InputError, match=r"a\.parquet: not a parquet file"):
        write_in_order([file], DOCUMENTS, tmp_path / "v")
    pq.write_table(pa.table({"id": NAMES, "vector": [[1.0]] * 7}), file)
    with pytest.raises(InputError, match=r"'embedding': there is no such column, only id, vector"):
        write_in_order([file], DOCUMENTS, tmp_path / "v")
    pq.write_table(pa.table({"id": NAMES, "embedding": ["a"] * 7}), file)
    with pytest.raises(InputError, match=r"'embedding': must be lists of floating point numbers, not string"):
        write_in_order([file], DOCUMENTS, tmp_path / "v")
    pq.write_table(pa.table({"id": [1.5] * 7, "embedding": [[1.0]] * 7}), file)
    with pytest.raises(InputError, match=r"'id': must be strings or integers, not double"):
        write_in_order([file], DOCUMENTS, tmp_path / "v")
