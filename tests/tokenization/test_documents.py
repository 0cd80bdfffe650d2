"""Files of documents to datasets: in parts or at once, with counts of what was left out."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.killed import killed_before

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.tokenization.documents import (
    merge_parts,
    preprocess_documents,
    preprocess_synthetic,
    tokenize_shard,
    total_counts,
)
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import save_tokenizer
from megatron_sbp.tokenization.written_ids import pack_ids


def test_parts_are_the_whole(tokenizer, foldoc, tmp_path):
    save_tokenizer(tmp_path / "tokenizer", tokenizer)
    parts = []
    for number, (begin, end) in enumerate([(0, 7), (7, 7), (7, 30)]):
        shard = tmp_path / f"{number}.jsonl.zst"
        files.write_jsonl_zst(shard, ({"text": text} for text in foldoc[begin:end]))
        parts.append(tmp_path / "parts" / str(number))
        assert [path.suffix for path in tokenize_shard(shard, parts[-1], tokenizer)] == [".bin", ".idx", ".json"]
    written, counts = merge_parts(tmp_path / "merged", parts, tmp_path / "tokenizer")
    files.write_jsonl_zst(tmp_path / "all.jsonl.zst", ({"text": text} for text in foldoc[:30]))
    whole = preprocess_documents([str(tmp_path / "all.jsonl.zst")], tmp_path / "whole", tokenizer)
    assert {**counts, "empty": 0, "bad": 0} == whole and counts == total_counts(parts)
    assert [path.name for path in written] == ["merged.bin", "merged.idx"]
    for path in written:
        assert path.read_bytes() == (tmp_path / f"whole{path.suffix}").read_bytes()


@pytest.mark.parametrize("bad", ["fatal", "skip"])
def test_bad_rows_stop_the_work_or_are_counted(tokenizer, tmp_path, bad):
    (tmp_path / "a.jsonl").write_text('{"text": "one two"}\n{"text": " "}\n{"body": 1}\n{"text": "three"}\n')
    arguments = ([str(tmp_path / "a.jsonl")], tmp_path / "out", tokenizer)
    if bad == "fatal":
        with pytest.raises(InputError, match="field is missing") as caught:
            preprocess_documents(*arguments)
        assert caught.value.line == 3 and not (tmp_path / "out.idx").exists()
        return
    found = preprocess_documents(*arguments, bad_documents="skip")
    assert (found["documents"], found["empty"], found["bad"]) == (2, 1, 1)


def test_synthetic_documents_count_their_parents(tokenizer, tmp_path):
    rows = [{"text": f"text {n}", "seed_id": f"d{n % 3}", "synthesizer": "ab" if n % 2 else "cd"} for n in range(8)]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ([str(tmp_path / "s.jsonl")], tmp_path / "out", tokenizer)
    found = preprocess_synthetic(*arguments)
    assert (found["documents"], found["seed_documents"], found["synthesizers"]) == (8, 3, {"ab": 4, "cd": 4})
    assert preprocess_synthetic(*arguments, need_tokens=found["tokens"]) == found
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        InputError, match=f"{found['tokens'] + 1:,} tokens are needed, but there are {found['tokens']:,}"
    ):
        preprocess_synthetic(*arguments, need_tokens=found["tokens"] + 1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before, "the former dataset stays"
    with pytest.raises(InputError, match="tokens are needed"):
        preprocess_synthetic(arguments[0], tmp_path / "other", tokenizer, need_tokens=10**9)
    assert not list(tmp_path.glob("*other*"))


@pytest.mark.parametrize("end", [".jsonl", ".parquet"])
def test_ids_of_the_text_are_taken_and_others_are_not(tokenizer, tmp_path, end):
    texts = ["one two", "three four", "five six", "seven"]
    ids = [np.concatenate(tokenizer.encode_batch(list(text))).astype(int) for text in texts]
    packed = [pack_ids(ids[0]), pack_ids(ids[0]), None, pack_ids(ids[3])]
    rows = [
        {"text": text, "seed_id": "d", "synthesizer": "ab", "token_ids": each}
        for text, each in zip(texts, packed, strict=True)
    ]
    if end == ".jsonl":
        (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "s.parquet")
    found = preprocess_synthetic([str(tmp_path / f"s{end}")], tmp_path / "out", tokenizer)
    tokens, again = open_indexed(tmp_path / "out"), tokenizer.encode_batch(texts)
    expected = [[*ids[0]], again[1], again[2], [*ids[3]]]
    assert [tokens[row].tolist() for row in range(4)] == [[*each, tokenizer.end_of_document] for each in expected]
    assert (found["written_ids"], found["documents"], found["tokens"]) == (2, 4, len(tokens.tokens))


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("seed_id", "\ud800", "string"),
        ("seed_id", 3, "string"),
        ("generation", 10**30, "int64"),
        ("round", "a", "int32"),
    ],
)
def test_parents_of_another_type_are_told(tokenizer, tmp_path, key, value, kind):
    """With the place: the message named the first pattern of the inputs, whichever file it was in."""
    row = {"text": "one two", "seed_id": "d", "synthesizer": "ab"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "b.jsonl").write_text(f"{json.dumps(row)}\n\n{json.dumps({**row, key: value})}\n")
    wrong = rf"b\.jsonl:3: '{key}': must be null or of the type {kind}, not {re.escape(repr(value))}$"
    with pytest.raises(InputError, match=wrong):
        preprocess_synthetic([str(tmp_path / "*.jsonl")], tmp_path / "out", tokenizer)
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "b.jsonl"}


def test_a_failure_leaves_the_former_dataset(tokenizer, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one two"}\n{"body": 1}\n')
    arguments = ([str(tmp_path / "a.jsonl")], tmp_path / "out", tokenizer)
    preprocess_documents(*arguments, bad_documents="skip")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.keys() == {"a.jsonl", "out.bin", "out.idx"}
    with pytest.raises(InputError, match="field is missing"):
        preprocess_documents(*arguments)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_parents_are_those_of_the_dataset_beside_them(tokenizer, tmp_path):
    """A kill at any step leaves no index, or one beside the parents that it was written with."""

    def write(name: str) -> None:
        row = {"text": f"{name} two", "seed_id": name, "synthesizer": "ab"}
        (tmp_path / "s.jsonl").write_text(json.dumps(row) + "\n")
        preprocess_synthetic([str(tmp_path / "s.jsonl")], tmp_path / "out", tokenizer)

    for step in itertools.count(1):
        write("one")
        killed = killed_before(step, lambda: write("six"))
        if (tmp_path / "out.idx").exists():
            [seed] = pq.read_table(tmp_path / "out.parents.parquet")["seed_id"].to_pylist()
            assert tokenizer.decode(open_indexed(tmp_path / "out").tokens) == f"{seed} two", step
        if not killed:
            break
    assert step >= 4 and seed == "six"


@pytest.mark.parametrize("name", ["a.parents.parquet", "a.bin", "a.idx"])
def test_outputs_that_are_inputs_or_cannot_be_are_refused(tokenizer, tmp_path, name):
    row = {"text": "one", "seed_id": "d", "synthesizer": "ab"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parents.parquet")
    before = (tmp_path / "a.parents.parquet").read_bytes()
    if not name.endswith("parquet"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="is read as an input" if name.endswith("parquet") else "is a folder"):
        preprocess_synthetic([str(tmp_path / "a.parents.parquet")], tmp_path / "a", tokenizer)
    assert (tmp_path / "a.parents.parquet").read_bytes() == before
    with pytest.raises(InputError, match="is a folder; add the name of the dataset"):
        preprocess_documents([str(tmp_path / "a.parents.parquet")], Path(), tokenizer)
