"""What the plan takes from the first documents of a corpus."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from megatron_sbp.documents.sample import MOST_DOCUMENTS, look_into, sample_of
from megatron_sbp.recipe import Documents


def documents(*inputs: str, **settings) -> Documents:
    return Documents(inputs=list(inputs), train=1, valid=1, test=1, **settings)


def lines(path: Path, texts: list[str], field: str = "text") -> None:
    path.write_text("".join(json.dumps({field: text}) + "\n" for text in texts))


def sample(found: Documents, folder: Path) -> dict | None:
    made, problem = sample_of(found, folder)
    assert problem is None
    return made


def test_mean_bytes_of_the_first_documents(tmp_path):
    lines(tmp_path / "b.jsonl", ["never read"])
    lines(tmp_path / "a.jsonl", ["\u00e9" * 10, "x" * 40, "   ", ""])
    found = {"file": "a.jsonl", "documents": 2, "bytes": 30.0, "corpus": None}
    assert sample(documents("*.jsonl"), tmp_path) == found
    assert sample(documents("a.jsonl"), tmp_path) == found | {"corpus": 2}  # all there is
    assert sample(documents("a.jsonl", "b.jsonl"), tmp_path) == found
    lines(tmp_path / "a[1].jsonl", ["\u00e9" * 10, "x" * 40])
    assert sample(documents("a[1].jsonl"), tmp_path) == {**found, "file": "a[1].jsonl", "corpus": 2}
    long = sample(documents("a.jsonl", min_characters=11), tmp_path)
    assert long == {"file": "a.jsonl", "documents": 1, "bytes": 40.0, "corpus": 1}


def test_a_large_corpus_is_not_read_to_its_end(tmp_path):
    with open(tmp_path / "many.jsonl", "w") as file:
        file.write('{"text": "word"}\n' * MOST_DOCUMENTS + '{"text": "' + "x" * 999 + '"}\n')
    found = {"file": "many.jsonl", "documents": 1000, "bytes": 4.0, "corpus": None}
    assert sample(documents("many.jsonl"), tmp_path) == found
    lines(tmp_path / "books.jsonl", ["x" * 1_500_000] * 5)
    assert sample(documents("books.jsonl"), tmp_path)["documents"] == 2


def test_a_file_without_line_feeds_is_not_read_to_its_end(tmp_path):
    with open(tmp_path / "a.jsonl", "wb") as file:
        file.truncate(10 << 30)  # sparse
    assert "no document in its first 64 MB" in look_into(tmp_path / "a.jsonl", documents("a.jsonl")).problem.reason


def test_parquet(tmp_path):
    pq.write_table(pa.table({"body": ["abcd", "ab"], "n": [1, 2]}), tmp_path / "c.parquet")
    found = sample(documents("c.parquet", text_field="body"), tmp_path)
    assert found == {"file": "c.parquet", "documents": 2, "bytes": 3.0, "corpus": 2}


def test_without_a_corpus_there_is_no_sample_and_nothing_wrong(tmp_path):
    assert sample_of(documents("none/*.jsonl"), tmp_path) == (None, None)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "a.jsonl: holds no document"),
        (b"\n\n", "a.jsonl: holds no document"),
        (b'{"text": " "}\n', "a.jsonl: its first document is not usable: empty, or shorter"),
        (b"no json\n", "a.jsonl:1: malformed JSON"),
        (b'{"other": 1}\n', "a.jsonl:1: 'text': field is missing; there are: other"),
        (b'{"text": 1}\n', "a.jsonl:1: 'text': must be a string"),
        ('{"text": "abc"}\n'.encode("utf-16"), "a.jsonl:1: invalid UTF-8 at byte 1"),
        (gzip.compress(b'{"text": "abc"}\n', mtime=0), "a.jsonl:1: invalid UTF-8 at byte 2"),
        (b'{"text": "abc"}\n{"text": "abc', "a.jsonl:2: malformed JSON: Unterminated string starting at column 10"),
    ],
)
def test_a_first_file_that_cannot_be_used_is_told_with_its_reason(tmp_path, content, reason):
    (tmp_path / "a.jsonl").write_bytes(content)
    _, problem = sample_of(documents("a.jsonl"), tmp_path)
    assert f"{tmp_path}/{reason}" in problem
    stops = "holds no" not in reason and "not usable" not in reason
    assert problem.startswith("the run will be refused: ") == stops


@pytest.mark.parametrize("field", ["id_field", "keep_fields"])
def test_every_field_of_the_stage_is_read(tmp_path, field):
    lines(tmp_path / "a.jsonl", ["abc"])
    wanted = "url" if field == "id_field" else ["url"]
    assert "'url': field is missing" in sample_of(documents("a.jsonl", **{field: wanted}), tmp_path)[1]


def test_what_is_no_file_of_documents_is_told(tmp_path):
    for name, content in (("d.parquet", b"no parquet"), ("c.csv", b"a,b\n")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "e.jsonl").mkdir()
    whole = zstandard.compress(b'{"text": "abc"}\n' * 9)
    (tmp_path / "t.jsonl.zst").write_bytes(whole[:-3])
    reasons = {
        "d.parquet": "truncated or damaged parquet",
        "c.csv": "is none of .jsonl",
        "e.jsonl": "is a folder",
        "t.jsonl.zst": "truncated",
    }
    for name, reason in reasons.items():
        problem = sample_of(documents(name), tmp_path)[1]
        assert str(tmp_path / name) in problem and reason in problem and problem.startswith("the run will be refused")
    assert sample_of(documents("e.jsonl", bad_documents="skip"), tmp_path) == (None, None)


def test_bad_documents_that_are_skipped_do_not_count(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "abcd"}\nno json\n{"text": "ab\xff"}\n{"text": "ab"}\n')
    found = {"file": "a.jsonl", "documents": 2, "bytes": 3.0, "corpus": 2}
    assert sample(documents("a.jsonl", bad_documents="skip"), tmp_path) == found
    made, problem = sample_of(documents("a.jsonl"), tmp_path)  # the estimate is by what was read
    assert (
        made == {"file": "a.jsonl", "documents": 1, "bytes": 4.0, "corpus": None} and "a.jsonl:2: malformed" in problem
    )
    (tmp_path / "b.jsonl").write_bytes(b"no json\n" * 3)
    _, problem = sample_of(documents("b.jsonl", bad_documents="skip"), tmp_path)
    assert "none of its first 3 documents is usable: the first bad one: malformed JSON" in problem
