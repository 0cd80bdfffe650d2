"""Files of pairs to datasets: rows of documents, and texts from elsewhere, with the same result."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_sbp.base import files
from megatron_sbp.documents.foreign import Source
from megatron_sbp.tokenization import pair_files
from megatron_sbp.tokenization.encoding import write_texts
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.pair_files import preprocess_pairs, preprocess_row_pairs
from megatron_sbp.tokenization.pair_parts import tokenize_pairs
from megatron_sbp.tokenization.pairs import PairCounts, PairLimits

LIMITS = PairLimits(max_seed_tokens=20, max_target_tokens=30, seed_cut="tail")

PAIRS = [(0, 1), (1, 0), (3, 2), (4, 4)]


@pytest.fixture
def texts(foldoc) -> list[str]:
    return [*foldoc[:4], "short"]


def test_rows_and_texts_give_the_same_dataset(tokenizer, texts, tmp_path, monkeypatch):
    write_texts(texts, tmp_path / "real", tokenizer)
    table = pa.table({"seed": [seed for seed, _ in PAIRS], "target": [target for _, target in PAIRS]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    tokenize_pairs(tmp_path / "pairs.parquet", tmp_path / "real", tmp_path / "rows", tokenizer, LIMITS)
    counts = PairCounts(**files.read_json(tmp_path / "rows.json")).to_dict()
    rows = [{"from": texts[seed], "to": texts[target]} for seed, target in PAIRS]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(pair_files, "_PAIRS_PER_BATCH", 3)
    also = preprocess_pairs(
        [str(tmp_path / "pairs.jsonl")],
        tmp_path / "texts",
        tokenizer,
        limits=LIMITS,
        seed_field="from",
        target_field="to",
    )
    assert {**counts, "empty": 0, "bad": 0} == also and counts["pairs"] == 4
    for end in ("bin", "idx"):
        assert (tmp_path / f"rows.{end}").read_bytes() == (tmp_path / f"texts.{end}").read_bytes()
    found = open_indexed(tmp_path / "rows")
    assert found.documents == 4 and len(found) == 8
    assert [len(found[place]) for place in (6, 7)] == [
        len(tokenizer.encode_batch(["short"])[0]) + end for end in (0, 1)
    ]
    ends = [int(found[place][-1] == tokenizer.end_of_document) for place in range(8)]
    assert ends[::2] == [0] * 4 and ends[7] == 1
    assert max(map(len, (found[place] for place in range(0, 8, 2)))) <= 20


def test_empty_halves_are_left_out_and_counted(tokenizer, tmp_path):
    rows = [{"seed": "a b", "target": " "}, {"seed": "", "target": "c"}, {"seed": "a b", "target": "c d"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = preprocess_pairs([str(tmp_path / "p.jsonl")], tmp_path / "out", tokenizer, limits=LIMITS)
    assert (found["pairs"], found["empty"]) == (1, 2)


def test_pairs_of_rows_without_text_are_left_out_and_counted(tokenizer, tmp_path):
    """A corpus of another pipeline may have them: an embedder gives vectors of empty texts too, all of them alike."""
    texts = ["one text", "", " \n", "another text"]
    (tmp_path / "d.jsonl").write_text(
        "".join(json.dumps({"text": text, "n": n}) + "\n" for n, text in enumerate(texts))
    )
    pq.write_table(pa.table({"seed": [0, 1, 3, 1], "target": [3, 2, 2, 0]}), tmp_path / "p.parquet")
    source = Source([str(tmp_path / "d.jsonl")], id_field="n")
    counts = preprocess_row_pairs([str(tmp_path / "p.parquet")], source, tmp_path / "out", tokenizer, limits=LIMITS)
    assert (counts["pairs"], counts["empty"], counts["documents"]) == (1, 3, 4)
    assert open_indexed(tmp_path / "out").documents == 1
