from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.parts import ORDER, ROW, Part, PartWriter, part_files
from megatron_sbp.documents.reading import Document


def write(path, documents: list[Document], held_bytes: int = 1 << 20) -> Part:
    with PartWriter(path, 7, held_bytes) as writer:
        for line, document in enumerate(documents, start=1):
            writer.add(document, line)
        writer.notes["counts"] = {"read": len(documents)}
    return Part(path)


@pytest.fixture
def documents() -> list[Document]:
    random_ = random.Random(1)
    texts = [f"däs {n} " + "wörd " * random_.randrange(400) for n in range(500)]
    return [Document(f"id-{n}", text, {"n": n}) for n, text in enumerate(texts)]


@pytest.mark.parametrize("held_bytes", [1, 50_000, 1 << 30])
def test_every_document_comes_back_with_its_figures(tmp_path, documents, held_bytes):
    part = write(tmp_path / "00000", documents, held_bytes)
    assert len(part) == 500 and sum(s.stop - s.start for s in part.segments) == 500
    assert len(part.segments) == {1: 500, 1 << 30: 1}.get(held_bytes, len(part.segments))
    lines = list(part.read(np.arange(500)))
    for row, line in zip(part.rows, lines, strict=True):
        document = documents[row["line"] - 1]
        assert line == document.row() and json.loads(line)["n"] == row["line"] - 1
        assert (row["characters"], row["bytes"]) == (len(document.text), len(document.text.encode()))
    some = np.array([3, 77, 78, 400])
    assert list(part.read(some)) == [lines[number] for number in some]
    assert part.notes["counts"] == {"read": 500}


def test_short_documents_are_held_in_as_little_memory_as_long_ones(tmp_path):
    documents = (Document(f"{number:032x}", "hi", {}) for number in range(40_000))
    tracemalloc.start()
    with PartWriter(tmp_path / "00000", 7, held_bytes=2 << 20) as writer:
        for line, document in enumerate(documents, start=1):
            writer.add(document, line)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20  # all of them have 20 MB
    assert len(Part(tmp_path / "00000")) == 40_000


@pytest.mark.parametrize("held_bytes", [50_000, 1 << 30])
def test_a_range_of_keys(tmp_path, documents, held_bytes):
    part = write(tmp_path / "00000", documents, held_bytes)
    keys = np.sort(part.rows[list(ORDER)], order=ORDER)
    for first, last in ((0, 499), (100, 149), (7, 7)):
        found = part.between(keys[first], keys[last])
        assert (np.diff(found) > 0).all()
        assert (np.sort(part.rows[found][list(ORDER)], order=ORDER) == keys[first : last + 1]).all()


def test_a_tie_in_the_order_is_broken_by_the_id(tmp_path, documents):
    part = write(tmp_path / "00000", documents[:4])
    rows = np.array(part.rows)
    rows["order"], rows["id_high"], rows["id_low"] = 5, [1, 1, 2, 2], [1, 2, 1, 2]
    part.rows = rows
    assert part.between(rows[1][list(ORDER)], rows[2][list(ORDER)]).tolist() == [1, 2]


def test_a_range_of_keys_does_not_read_all_rows(tmp_path):
    """It is asked for every shard: if all rows were read each time, a shard would cost more the more there are."""
    rows = np.zeros(200_000, ROW)
    rows["order"] = np.arange(len(rows))
    data, figures, frames, notes = part_files(tmp_path / "00000")
    for file, content in ((data, b""), (figures, rows.tobytes()), (frames, b"")):
        file.write_bytes(content)
    notes.write_text(json.dumps({"segments": [len(rows)]}))
    part = Part(tmp_path / "00000")
    tracemalloc.start()
    assert part.between(rows[777][list(ORDER)], rows[779][list(ORDER)]).tolist() == [777, 778, 779]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000  # a column has 1.6 MB


def test_one_file_of_a_part_stays_mapped(tmp_path, documents):
    part = write(tmp_path / "00000", documents)
    names = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line}
    assert names == {str(part_files(tmp_path / "00000")[1])} and len(part) == 500


def test_an_empty_part(tmp_path):
    part = write(tmp_path / "00000", [])
    assert len(part) == 0 and list(part.read(np.empty(0, np.int64))) == []


def test_files_appear_when_they_are_complete(tmp_path, documents):
    with pytest.raises(KeyboardInterrupt), PartWriter(tmp_path / "00000", 7) as writer:
        writer.add(documents[0], 1)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_damage_names_the_file(tmp_path, documents):
    path = tmp_path / "00000"
    part = write(path, documents)
    data, rows = part_files(path)[:2]
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged compressed data") as caught:
        list(part.read(np.arange(500)))
    assert caught.value.file == data
    rows.write_bytes(rows.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated") as caught:
        Part(path)
    assert caught.value.file == rows
    write(path, documents)
    rows.write_bytes(rows.read_bytes()[: -ROW.itemsize])
    with pytest.raises(InputError, match=r"499 documents, and 500 in 00000\.json"):
        Part(path)
