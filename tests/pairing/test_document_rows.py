from __future__ import annotations

import pytest

from megatron_sbp.base import files
from megatron_sbp.documents.ids import id_of, write_ids
from megatron_sbp.pairing.document_rows import read_rows, rows_of


def test_some_rows_over_all_shards(tmp_path):
    shards = [tmp_path / "00000.jsonl.zst", tmp_path / "00001.jsonl.zst"]
    files.write_jsonl_zst(shards[0], [{"id": str(row), "text": f"text {row}"} for row in range(3)])
    files.write_jsonl_zst(shards[1], [{"id": str(row), "text": f"text {row}"} for row in range(3, 7)])
    rows = read_rows(shards, {1, 3, 6})
    assert {number: row["text"] for number, row in rows.items()} == {1: "text 1", 3: "text 3", 6: "text 6"}
    assert read_rows(shards, set()) == {}


@pytest.fixture
def shards(tmp_path):
    paths = [tmp_path / f"{part}.jsonl.zst" for part in range(3)]
    for path, rows in zip(paths, ([0, 1, 2], [], [3, 4]), strict=True):
        files.write_jsonl_zst(path, ({"n": row} for row in rows))
    return paths


@pytest.mark.parametrize("wanted", [[], [0], [4], [4, 0, 2], [1, 1, 3], [2, 99], range(5)])
def test_rows_over_all_shards_in_ascending_order(shards, wanted):
    found = list(rows_of(shards, wanted))
    assert found == [(number, {"n": number}) for number in sorted(set(wanted)) if number < 5]


def test_shards_behind_the_last_wanted_row_are_not_read(shards):
    shards[2].write_bytes(b"damaged")
    assert [number for number, _ in rows_of(shards, [0, 2])] == [0, 2]


def test_a_shard_without_a_wanted_row_is_not_opened_where_its_rows_are_known(tmp_path):
    paths = [tmp_path / "documents" / "train" / f"{part}.jsonl.zst" for part in range(3)]
    for number, path in enumerate(paths):
        rows = [{"id": f"{number}-{row}", "n": 2 * number + row} for row in range(2)]
        files.write_jsonl_zst(path, rows)
        with files.open_lines(path) as lines:
            write_ids(path, map(id_of, lines))
    for path in (paths[0], paths[2]):
        path.write_bytes(b"damaged")
    assert [row["n"] for _, row in rows_of(paths, [2, 3])] == [2, 3]
    assert list(rows_of(paths, [99])) == []
    assert read_rows(paths, {3}) == {3: {"id": "1-1", "n": 3}}
