"""Digests of fields are those of the values, whatever the text looks like, from the files of ids or from the shards."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from megatron_sbp.documents.field_values import MISSING, column_of, digest_of, read_values, values_of
from megatron_sbp.documents.ids import ids_file
from megatron_sbp.documents.parts import ORDER, Part, PartWriter
from megatron_sbp.documents.reading import Document
from megatron_sbp.documents.shards import write_shard

TEXTS = [
    "plain",
    '"a", "b"',
    'ends in a quote and a comma",',
    '","language":"x',
    'a \\", b',
    "\\",
    '"text":"',
    "ü\n",
    "",
]
VALUES = ["en", 'a "quoted", one', None, 1, 1.0, True, {"b": 1, "a": [2]}, {"a": [2], "b": 1}, ""]


def test_equal_values_and_no_others_have_equal_digests():
    digests = [digest_of(value) for value in VALUES]
    assert digests[6] == digests[7] and len(set(digests)) == len(VALUES) - 1
    assert digest_of(None) == MISSING == digests[2] and all(0 <= digest < 2**64 for digest in digests)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("first", VALUES)
def test_a_row_gives_the_values_that_json_gives(text, first):
    row = Document('an "id",', text, {"language": first, "text_two": '","language":"other"', "site": "s"}).row()
    found = values_of([row], ["site", "language", "nothing"])
    assert found.tolist() == [[digest_of("s")], [digest_of(first)], [MISSING]] and found.dtype == np.uint64


def test_a_shard_with_and_without_its_columns(tmp_path):
    documents = [Document(f"id{n}", TEXTS[n % 9], {"site": n % 4, "language": VALUES[n // 9]}) for n in range(81)]
    with PartWriter(tmp_path / "part", 3) as writer:
        for line, document in enumerate(documents):
            writer.add(document, line)
    part = Part(tmp_path / "part")
    keys = np.sort(part.rows[list(ORDER)], order=ORDER)
    shards = []
    for number, (first, last) in enumerate(((0, 29), (30, 80))):
        shards.append(tmp_path / "train" / f"{number:05d}.jsonl.zst")
        write_shard(shards[-1], [(part, part.between(keys[first], keys[last]))], ["language", "site"])
    found = read_values(shards, ["site", "language"])
    assert found.shape == (2, 81) and found.dtype == np.uint64
    by_id = {document.id: document.kept for document in documents}
    ids = [id for shard in shards for id in pq.read_table(ids_file(shard))["id"].to_pylist()]
    assert found[0].tolist() == [digest_of(by_id[id]["site"]) for id in ids]
    assert found[1].tolist() == [digest_of(by_id[id]["language"]) for id in ids]
    assert column_of("site") in pq.read_schema(ids_file(shards[0])).names
    pq.write_table(pq.read_table(ids_file(shards[0]), columns=["id"]), ids_file(shards[0]))  # of an earlier version
    ids_file(shards[1]).unlink()
    np.testing.assert_array_equal(read_values(shards, ["site", "language"]), found)
    assert json.loads(documents[0].row())["site"] == 0
