from __future__ import annotations

import itertools
import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder
from support.killed import killed_before

from megatron_sbp.base.errors import InputError
from megatron_sbp.tokenization.encoding import write_texts
from megatron_sbp.tokenization.indexed import (
    data_file,
    flatten,
    index_file,
    merge_indexed,
    open_indexed,
    write_indexed,
)


def both(prefix):
    return data_file(prefix).read_bytes(), index_file(prefix).read_bytes()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_the_bytes_are_those_of_megatrons_builder(tmp_path, foldoc, tokenizer, dtype):
    documents = tokenizer.encode_batch(foldoc)
    builder = IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=dtype)
    for ids in documents:
        builder.add_item(torch.tensor([*ids, tokenizer.end_of_document]))
        builder.end_document()
    builder.finalize(str(tmp_path / "theirs.idx"))
    with write_indexed(tmp_path / "ours", dtype) as writer:
        for begin in range(0, len(documents), 150):
            writer.add(*flatten(documents[begin : begin + 150], tokenizer.end_of_document, dtype))
    assert both(tmp_path / "ours") == both(tmp_path / "theirs")


def test_two_sequences_per_document_as_megatron_writes_them(tmp_path):
    pairs = [([1, 2, 3], [4]), ([5], [6, 7]), ([], [8])]
    builder = IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=np.uint16)
    for first, second in pairs:
        builder.add_document(torch.tensor(first + second), [len(first), len(second)])
    builder.finalize(str(tmp_path / "theirs.idx"))
    with write_indexed(tmp_path / "ours", np.uint16) as writer:
        writer.add(np.arange(1, 9), np.array([3, 1, 1, 2, 0, 1]), sequences_per_document=2)
    assert both(tmp_path / "ours") == both(tmp_path / "theirs")


def test_megatron_reads_texts_back(tmp_path, foldoc, tokenizer):
    counts = write_texts(foldoc, tmp_path / "a", tokenizer)
    theirs, ours = IndexedDataset(str(tmp_path / "a")), open_indexed(tmp_path / "a")
    assert len(theirs) == len(ours) == ours.documents == counts.documents == 400
    assert counts.tokens == int(theirs.sequence_lengths.sum())
    assert counts.characters == sum(map(len, foldoc))
    assert counts.bytes == sum(len(text.encode()) for text in foldoc)
    np.testing.assert_array_equal(theirs.document_indices, ours.bounds)
    for row, text in enumerate(foldoc):
        np.testing.assert_array_equal(theirs[row], ours[row])
        assert theirs[row][-1] == tokenizer.end_of_document
        assert tokenizer.decode(theirs[row]) == text


def test_merged_parts_equal_one_dataset(tmp_path, foldoc, tokenizer):
    write_texts(foldoc, tmp_path / "whole", tokenizer)
    bounds = [0, 1, 150, 150, 400]  # one part has no document
    parts = [tmp_path / f"part{n}" for n in range(4)]
    for part, begin, end in zip(parts, bounds[:-1], bounds[1:], strict=True):
        write_texts(foldoc[begin:end], part, tokenizer)
    assert open_indexed(parts[2]).documents == 0
    written = merge_indexed(tmp_path / "merged", parts, np.uint16)
    assert both(tmp_path / "merged") == both(tmp_path / "whole")
    assert [path.name for path in written] == ["merged.bin", "merged.idx"]


def test_an_interrupted_writer_leaves_the_former_dataset_and_nothing_else(tmp_path):
    with pytest.raises(KeyboardInterrupt), write_indexed(tmp_path / "a", np.uint16) as writer:
        writer.add(np.arange(100), np.array([100]))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with write_indexed(tmp_path / "a", np.uint16) as writer:
        writer.add(np.arange(3), np.array([3]))
    before = both(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt), write_indexed(tmp_path / "a", np.uint16) as writer:
        writer.add(np.arange(100), np.array([100]))
        raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "a.idx"]
    assert both(tmp_path / "a") == before


def test_a_kill_leaves_no_index_of_other_data(tmp_path):
    """At each step after the data is complete: the index describes the data beside it, or there is none."""

    def write(tokens: list[int], lengths: list[int]) -> None:
        with write_indexed(tmp_path / "a", np.uint16) as writer:
            writer.add(np.array(tokens), np.array(lengths))

    for step in itertools.count(1):
        write([1, 2, 3], [1, 2])
        killed = killed_before(step, lambda: write([4, 5, 6], [2, 1]))  # of the same size
        if index_file(tmp_path / "a").exists():
            found = open_indexed(tmp_path / "a")
            assert (found.tokens.tolist(), found.lengths.tolist()) in (([1, 2, 3], [1, 2]), ([4, 5, 6], [2, 1])), step
        if not killed:
            break
    assert step >= 3 and found.tokens.tolist() == [4, 5, 6]


def test_damaged_datasets(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        open_indexed(tmp_path / "a")
    with write_indexed(tmp_path / "a", np.int32) as writer:
        writer.add(np.arange(10), np.array([4, 6]))
    data, index = both(tmp_path / "a")
    data_file(tmp_path / "a").write_bytes(data[:-1])
    with pytest.raises(InputError, match=r"a.bin: has 39 bytes, but a.idx describes 40"):
        open_indexed(tmp_path / "a")
    data_file(tmp_path / "a").write_bytes(data)
    for cut, message in ((20, "not the index"), (len(index) - 1, "truncated")):
        index_file(tmp_path / "a").write_bytes(index[:cut])
        with pytest.raises(InputError, match=message):
            open_indexed(tmp_path / "a")
    index_file(tmp_path / "a").write_bytes(b"x" * len(index))
    with pytest.raises(InputError, match="not the index"):
        open_indexed(tmp_path / "a")


def test_parts_of_other_sequences_per_document_and_empty_ones(tmp_path):
    parts = [tmp_path / str(number) for number in range(4)]
    for part, lengths, each in zip(parts, ([3, 1, 4, 1], [], [5, 9], [2]), (2, 1, 1, 1), strict=True):
        with write_indexed(part, np.uint16) as writer:
            if lengths:
                writer.add(np.arange(sum(lengths)), lengths, each)
    merge_indexed(tmp_path / "once", parts[:3], np.uint16)
    merge_indexed(tmp_path / "twice", [tmp_path / "once", parts[3]], np.uint16)
    found = open_indexed(tmp_path / "twice")
    assert found.bounds.tolist() == [0, 2, 4, 5, 6, 7] and found.lengths.tolist() == [3, 1, 4, 1, 5, 9, 2]
    assert found.starts.tolist() == [0, 3, 4, 8, 9, 14, 23]
    assert found.tokens.tolist() == [*range(9), *range(14), *range(2)]


def test_opening_and_reading_a_sequence_takes_no_memory_per_sequence(tmp_path):
    """Every process of the evaluation has D open, one for each core, and every task that judges or synthesizes."""
    with write_indexed(tmp_path / "a", np.uint16) as writer:
        writer.add(np.arange(200_000) % 1000, np.ones(200_000, np.int32))
    tracemalloc.start()
    found = open_indexed(tmp_path / "a")
    assert found[123_456].tolist() == [456] and found.starts_of(np.array([3, 199_999])).tolist() == [3, 199_999]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000  # all starts have 1.6 MB
    assert found.starts.tolist() == list(range(200_000))


def test_there_may_be_more_parts_than_a_process_may_have_files_open(tmp_path):
    """Nor more maps of files: Linux allows 65,530, and a run may have 100,000 shards."""
    parts = [tmp_path / str(number) for number in range(60)]
    for number, part in enumerate(parts):
        with write_indexed(part, np.uint16) as writer:
            writer.add(np.arange(number), np.array([number]))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(number.name) for number in Path("/proc/self/fd").iterdir()}
    resource.setrlimit(resource.RLIMIT_NOFILE, (sorted(set(range(soft)) - taken)[30], hard))  # 30 files more
    try:
        merge_indexed(tmp_path / "all", parts, np.uint16)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = open_indexed(tmp_path / "all")
    assert found.lengths.tolist() == list(range(60)) and found[59].tolist() == list(range(59))
