"""Counts at the end of a file of texts: the last ones are found by reading little, whatever a kill left behind."""

from __future__ import annotations

import json

import numpy as np
import pytest

from megatron_sbp.synthesis import tally
from megatron_sbp.synthesis.engine import Written
from megatron_sbp.synthesis.tally import Tally, last_tally, tally_of

FIRST, SECOND = Tally(texts=2, fresh=2, seconds=1.5), Tally(texts=5, fresh=3, seconds=4.0, unfinished=1)


def batch(length: int) -> bytes:
    return json.dumps({"places": [0], "tokens": [[7] * length], "finished": [True]}).encode() + b"\n"


def test_a_text_counts_once_as_short_or_unfinished_or_neither():
    def written(length: int, finished: bool) -> Written:
        return Written(np.zeros(length, np.int64), finished)

    found = Tally(min_tokens=4).with_texts([written(3, True), written(3, False), written(4, False), written(4, True)])
    assert (found.texts, found.short, found.unfinished, found.fresh) == (4, 2, 1, 0)
    more = found.with_texts([written(9, False)], fresh=1, seconds=2.5)
    assert more == Tally(texts=5, fresh=1, seconds=2.5, min_tokens=4, short=2, unfinished=2)


@pytest.mark.parametrize("length", [1, 20, 3000])
@pytest.mark.parametrize("block", [7, 64, 1 << 16])
def test_the_last_one_is_found_behind_batches_of_any_length(tmp_path, monkeypatch, length, block):
    monkeypatch.setattr(tally, "_BLOCK", block)
    file = tmp_path / "x"
    file.write_bytes(b'{"identity": "x"}\n' + batch(length) + FIRST.as_line())
    assert last_tally(file) == FIRST
    file.write_bytes(file.read_bytes() + batch(length) + SECOND.as_line())
    assert last_tally(file) == SECOND
    for cut in (1, len(SECOND.as_line()), len(SECOND.as_line()) + 5):  # its end, all of it, some of the batch
        (tmp_path / "cut").write_bytes(file.read_bytes()[:-cut])
        assert last_tally(tmp_path / "cut") == FIRST, cut


def test_a_file_that_begins_with_one_or_has_none(tmp_path):
    file = tmp_path / "x"
    assert last_tally(file) is None
    for content in (b"", b'{"identity": "x"}\n', batch(9), FIRST.as_line()[:-1], b'{"texts": 3}\n', b'{"texts"\n'):
        file.write_bytes(content)
        assert last_tally(file) is None, content
    file.write_bytes(FIRST.as_line())
    assert last_tally(file) == FIRST


def test_only_the_end_of_a_large_file_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "_FARTHEST", 5000)
    file = tmp_path / "x"
    file.write_bytes(FIRST.as_line() + batch(3000))
    assert last_tally(file) is None


def test_what_is_no_tally():
    good = json.loads(FIRST.as_line())
    assert tally_of(good) == FIRST
    for bad in ([], {}, {**good, "texts": "2"}, {**good, "seconds": float("inf")}, {**good, "more": 1}):
        assert tally_of(bad) is None
