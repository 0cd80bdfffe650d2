"""Spans of documents and whole sequences: compiled from the memory map, or through Megatron, with the same tokens."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from megatron.core.datasets.indexed_dataset import IndexedDataset

from megatron_sbp.tokenization.indexed import write_indexed
from megatron_sbp.training.data.token_reader import TokenReader

LENGTHS = np.array([5, 1, 0, 7, 3])


@pytest.fixture(params=[np.uint16, np.int32])
def prefix(tmp_path, request) -> Path:
    with write_indexed(tmp_path / "tokens", request.param) as writer:
        writer.add(np.arange(LENGTHS.sum()).astype(request.param) + 100, LENGTHS)
    return tmp_path / "tokens"


@pytest.fixture(params=[True, False], ids=["mapped", "through Megatron"])
def reader(prefix, request) -> TokenReader:
    return TokenReader(IndexedDataset(str(prefix), mmap=request.param))


def documents() -> list[list[int]]:
    ends = LENGTHS.cumsum()
    return [list(range(100 + end - length, 100 + end)) for end, length in zip(ends, LENGTHS, strict=True)]


@pytest.mark.parametrize("offset", [0, 2])
def test_documents_one_after_another(reader, offset):
    order = np.array([3, 1, 2, 0])
    whole = [token for number in order for token in documents()[number]][offset:]
    for size in range(len(whole) + 1):
        out = np.full(size, -1, np.int64)
        assert reader.documents(order, 0, offset, out) == size
        assert out.tolist() == whole[:size]


def test_it_says_where_the_order_ends(reader):
    out = np.full(20, -1, np.int64)
    assert reader.documents(np.array([1, 4]), 0, 0, out, filled=2) == 6
    assert out.tolist() == [-1, -1, *documents()[1], *documents()[4], *[-1] * 14]
    assert reader.documents(np.array([1]), 1, 0, out) == 0  # nothing is left


def test_whole_sequences(reader):
    wanted = np.array([4, 0, 3])
    tokens, pointers, lengths, numbers = reader.sequences(wanted)
    for number, want in zip(numbers, wanted, strict=True):
        begin = int(pointers[number]) // tokens.itemsize
        assert tokens[begin : begin + int(lengths[number])].tolist() == documents()[want]


def test_a_copy_in_another_process_maps_the_files_itself(prefix):
    reader = TokenReader(IndexedDataset(str(prefix)))
    packed = pickle.dumps(reader)
    out = np.empty(5, np.int64)
    assert pickle.loads(packed).documents(np.array([0]), 0, 0, out) == 5 and out.tolist() == documents()[0]
    assert len(packed) < 2_000


def test_tokens_that_are_cut_off_are_noticed(prefix):
    file = prefix.with_suffix(".bin")
    with open(file, "r+b") as stream:
        stream.truncate(file.stat().st_size - 1)
    with pytest.raises(ValueError, match=r"its .bin has [\d,]+ bytes, but its .idx describes"):
        TokenReader(IndexedDataset(str(prefix)))
