"""What the plan takes from the first documents of a corpus."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_sbp.documents.sample import MOST_DOCUMENTS, sample_of
from megatron_sbp.recipe import Documents


def documents(*inputs: str, **settings) -> Documents:
    return Documents(inputs=list(inputs), train=1, valid=1, test=1, **settings)


def lines(path: Path, texts: list[str], field: str = "text") -> None:
    path.write_text("".join(json.dumps({field: text}) + "\n" for text in texts))


def test_mean_bytes_of_the_first_documents(tmp_path):
    lines(tmp_path / "b.jsonl", ["never read"])
    lines(tmp_path / "a.jsonl", ["\u00e9" * 10, "x" * 40, "   ", ""])
    assert sample_of(documents("*.jsonl"), tmp_path) == {"file": "a.jsonl", "documents": 2, "bytes": 30.0}
    long = sample_of(documents("*.jsonl", min_characters=11), tmp_path)
    assert long == {"file": "a.jsonl", "documents": 1, "bytes": 40.0}


def test_a_large_corpus_is_not_read_to_its_end(tmp_path):
    with open(tmp_path / "many.jsonl", "w") as file:
        file.write('{"text": "word"}\n' * MOST_DOCUMENTS + '{"text": "' + "x" * 999 + '"}\n')
    assert sample_of(documents("many.jsonl"), tmp_path) == {"file": "many.jsonl", "documents": 1000, "bytes": 4.0}
    lines(tmp_path / "books.jsonl", ["x" * 1_500_000] * 5)
    assert sample_of(documents("books.jsonl"), tmp_path)["documents"] == 2


def test_parquet(tmp_path):
    pq.write_table(pa.table({"body": ["abcd", "ab"], "n": [1, 2]}), tmp_path / "c.parquet")
    found = sample_of(documents("c.parquet", text_field="body"), tmp_path)
    assert found == {"file": "c.parquet", "documents": 2, "bytes": 3.0}


@pytest.mark.parametrize("content", ["", "\n\n", "no json\n", '{"other": 1}\n', '{"text": 1}\n'])
def test_without_a_document_there_is_no_sample(tmp_path, content):
    (tmp_path / "a.jsonl").write_text(content)
    assert sample_of(documents("a.jsonl"), tmp_path) is None
    assert sample_of(documents("none/*.jsonl"), tmp_path) is None
    (tmp_path / "d.parquet").write_text("no parquet")
    (tmp_path / "e.jsonl").mkdir()
    assert sample_of(documents("d.parquet"), tmp_path) is None and sample_of(documents("e.jsonl"), tmp_path) is None


def test_what_can_be_read_of_a_damaged_file_counts(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "abcd"}\nno json\n{"text": "ab\xff"}\n{"text": "ab"}\n')
    assert sample_of(documents("a.jsonl"), tmp_path) == {"file": "a.jsonl", "documents": 2, "bytes": 3.0}
