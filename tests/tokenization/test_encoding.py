"""Texts to datasets: the same tokens whatever the batches, and counts that add up."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.tokenization import encoding
from megatron_sbp.tokenization.encoding import TextCounts, batches, write_texts
from megatron_sbp.tokenization.indexed import open_indexed


def test_batches_are_neither_long_nor_heavy(monkeypatch):
    monkeypatch.setattr(encoding, "_BATCH_DOCUMENTS", 3)
    monkeypatch.setattr(encoding, "_BATCH_CHARACTERS", 10)
    texts = ["a", "b", "c", "d" * 20, "e" * 9, "", "f", "g"]
    found = list(batches(texts, len))
    assert [text for batch in found for text in batch] == texts
    assert [len(batch) for batch in found] == [3, 1, 3, 1]
    assert list(batches([], len)) == []


def test_batches_lose_no_row_before_an_error(monkeypatch):
    monkeypatch.setattr(encoding, "_BATCH_DOCUMENTS", 3)
    monkeypatch.setattr(encoding, "_BATCH_CHARACTERS", 10)
    assert list(batches([b"a", b"b", b"c", b"d", b"e" * 20, b"f"], len)) == [
        [b"a", b"b", b"c"],
        [b"d", b"e" * 20],
        [b"f"],
    ]

    def broken():
        yield b"a"
        raise InputError("truncated")

    found = batches(broken(), len)
    assert next(found) == [b"a"]
    with pytest.raises(InputError):
        next(found)


def test_a_dataset_holds_every_text_closed(tokenizer, foldoc, tmp_path, monkeypatch):
    texts = [*foldoc[:50], "", "\U0001f600 \x00 end"]
    advanced = []
    counts = write_texts(texts, tmp_path / "whole", tokenizer, advance=advanced.append)
    written = open_indexed(tmp_path / "whole")
    assert len(written) == counts.documents == sum(advanced) == 52
    assert counts.tokens == len(written.tokens) and counts.characters == sum(map(len, texts))
    assert counts.bytes == len("".join(texts).encode())
    for row, text in enumerate(texts):
        assert written[row][-1] == tokenizer.end_of_document
        assert tokenizer.decode(written[row][:-1].astype(np.int64)) == text
    monkeypatch.setattr(encoding, "_BATCH_DOCUMENTS", 7)
    assert write_texts(texts, tmp_path / "parts", tokenizer) == counts
    for end in ("bin", "idx"):
        assert (tmp_path / f"whole.{end}").read_bytes() == (tmp_path / f"parts.{end}").read_bytes()


def test_without_end_of_document(tokenizer, tmp_path):
    closed = write_texts(["one two", "three"], tmp_path / "closed", tokenizer)
    plain = write_texts(["one two", "three"], tmp_path / "plain", tokenizer, end_of_document=False)
    assert closed.tokens == plain.tokens + 2
    assert tokenizer.end_of_document not in open_indexed(tmp_path / "plain").tokens


@pytest.mark.parametrize("parts", [[], [TextCounts(1, 2, 3, 4)], [TextCounts(1, 2, 3, 4), TextCounts(10, 20, 30, 40)]])
def test_counts_add_up(parts):
    total = sum(parts, TextCounts())
    assert total.astuple() == tuple(sum(part.astuple()[place] for part in parts) for place in range(4))
