"""Rows of one file that several processes share give the bytes, the counts and the errors of one process."""

from __future__ import annotations

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.tokenization import documents, encoding, pieces
from megatron_sbp.tokenization.documents import preprocess_documents, tokenize_shard, tokenize_written
from megatron_sbp.tokenization.written_ids import pack_ids

pytestmark = pytest.mark.slow

WORKERS = [2, pytest.param(4, marks=pytest.mark.exhaustive)]


@pytest.fixture
def shared(monkeypatch):
    """Call it with a number of workers: from then on, several processes share small pieces."""

    def use(workers):
        monkeypatch.setattr(pieces, "IN_PROCESSES", 0)
        monkeypatch.setattr(encoding, "_BATCH_DOCUMENTS", 7)
        monkeypatch.setattr(documents, "alike", lambda *_: False)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(workers)))
        monkeypatch.setenv("OMP_NUM_THREADS", str(workers))

    return use


def contents(prefix):
    return [prefix.with_name(prefix.name + suffix).read_bytes() for suffix in (".bin", ".idx")]


@pytest.mark.parametrize("workers", WORKERS)
def test_the_bytes_and_counts_of_one_process(tmp_path, foldoc, tokenizer, shared, workers):
    lines = ["\ufeff", *(json.dumps({"text": text}) + "\n" for text in foldoc[:90]), "\n", '{"text": " "}\n', "{\n"]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    pq.write_table(pa.table({"text": [*foldoc[90:110], "", None]}), tmp_path / "b.parquet")
    inputs = [str(tmp_path / "*.jsonl"), str(tmp_path / "*.parquet")]
    expected = preprocess_documents(inputs, tmp_path / "one", tokenizer, bad_documents="skip", end_of_document=False)
    assert (expected["documents"], expected["empty"], expected["bad"]) == (110, 2, 2)
    shared(workers)
    found = preprocess_documents(
        inputs, tmp_path / "more", tokenizer, bad_documents="skip", end_of_document=False, workers=workers
    )
    assert found == expected and contents(tmp_path / "more") == contents(tmp_path / "one")


def test_errors_are_those_of_one_process(tmp_path, foldoc, tokenizer, shared):
    good = [json.dumps({"text": text}) + "\n" for text in foldoc[:40]]
    (tmp_path / "row.jsonl").write_text("".join([*good, "\n", '{"text": 1}\n', *good, "{\n"]))
    files.write_jsonl_zst(tmp_path / "cut.jsonl.zst", ({"text": text} for text in foldoc))
    os.truncate(tmp_path / "cut.jsonl.zst", (tmp_path / "cut.jsonl.zst").stat().st_size // 2)
    invalid = pa.array([b"good", b"\xff bad"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": invalid}), tmp_path / "utf8.parquet")
    (tmp_path / "none.jsonl").write_text('{"text": ""}\n' * 20)
    names = ["row.jsonl", "cut.jsonl.zst", "utf8.parquet", "none.jsonl"]

    def errors():
        for name in names:
            with pytest.raises(InputError) as caught:
                preprocess_documents([str(tmp_path / name)], tmp_path / "out", tokenizer)
            yield str(caught.value), caught.value.file, caught.value.line
        assert not list(tmp_path.glob("*out*"))

    expected = list(errors())
    assert expected[0][2] == 42 and "UTF-8" in expected[2][0] and "20 empty" in expected[3][0]
    shared(2)
    assert list(errors()) == expected


@pytest.mark.parametrize("workers", WORKERS)
def test_a_shard_of_a_run(tmp_path, foldoc, tokenizer, shared, workers):
    rows: list[dict] = [{"text": text} for text in foldoc[:60]]
    for row in rows[::3]:
        row["token_ids"] = pack_ids(tokenizer.encode_flat([row["text"]], None, tokenizer.dtype)[0][::-1])
    files.write_jsonl_zst(tmp_path / "rows.jsonl.zst", rows)
    for name, tokenize in (("texts", tokenize_shard), ("ids", tokenize_written)):
        tokenize(tmp_path / "rows.jsonl.zst", tmp_path / name, tokenizer)
    assert contents(tmp_path / "texts") != contents(tmp_path / "ids")
    shared(workers)
    for name, tokenize in (("texts", tokenize_shard), ("ids", tokenize_written)):
        tokenize(tmp_path / "rows.jsonl.zst", tmp_path / f"more-{name}", tokenizer)
        assert contents(tmp_path / f"more-{name}") == contents(tmp_path / name)
        assert files.read_json(tmp_path / f"more-{name}.json") == files.read_json(tmp_path / f"{name}.json")
