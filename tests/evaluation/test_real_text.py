"""Real documents as the quality figures read them: rows with their tokens, cut as texts are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.evaluation.real_text import RealText, WrittenTexts, matched, real_sample, with_seed_rows
from megatron_sbp.evaluation.sheet import Sampled
from megatron_sbp.tokenization.encoding import write_texts

LIMIT = 20


@pytest.fixture(scope="module")
def split(tmp_path_factory, texts) -> tuple[Path, list[Path], list[str]]:
    """Prefix of the tokens, shards, and texts: the first is shorter than the limit, the last has a character on it."""
    folder = tmp_path_factory.mktemp("split")
    own = ["short", *texts[:9], "7" + "\U0001f9ea" * 30]
    shards = [folder / f"{number:05d}.jsonl.zst" for number in range(3)]
    for shard, rows in zip(shards, (range(4), range(4, 5), range(5, len(own))), strict=True):
        files.write_jsonl_zst(shard, ({"id": f"d{row}", "text": own[row]} for row in rows))
    return folder / "tokens", shards, own


@pytest.fixture(scope="module")
def real(split, tokenizer) -> RealText:
    prefix, shards, own = split
    write_texts(own, prefix, tokenizer)
    return RealText(prefix, shards, tokenizer, LIMIT)


def test_rows_over_all_shards_with_their_own_tokens(real, split, tokenizer):
    found = list(real.read([10, 4, 0, 4], cut=False))
    assert [one.own for one in found] == [0, 4, 10] and [one.row["id"] for one in found] == ["d0", "d4", "d10"]
    for one in found:
        assert one.text == split[2][one.own] == one.row["text"]
        assert one.tokens.tolist() == tokenizer.encode_batch([one.text])[0], "without end-of-document"


def test_a_document_is_cut_to_the_length_that_a_synthetic_one_can_have(real, split, tokenizer):
    for one in real.read(range(11)):
        whole = tokenizer.encode_batch([split[2][one.own]])[0]
        assert one.tokens.tolist() == whole[: len(one.tokens)] and split[2][one.own].startswith(one.text)
        assert one.text == tokenizer.decode(one.tokens) and "\ufffd" not in one.text
        if len(whole) <= LIMIT:
            assert one.text == split[2][one.own]
        else:
            assert LIMIT - 4 < len(one.tokens) <= LIMIT
    assert next(real.read([10])).text == "7" + "\U0001f9ea" * 4, "a fifth one would end behind the limit"


def test_lengths_are_distributed_as_those_of_the_texts():
    own = np.array([50, 10, 40, 30, 20])
    assert matched(own, [3, 1, 5, 2, 4]).tolist() == [5, 1, 4, 3, 2]
    assert matched(own, [7]).tolist() == [7] * 5 and matched(own, []) is own
    assert matched(own, list(range(1, 101))).tolist() == [91, 11, 71, 51, 31]  # quantiles
    assert np.sort(matched(np.arange(600), [2, 9])).tolist() == [2] * 300 + [9] * 300


def test_real_text_is_as_long_as_the_texts_as_far_as_there_is_enough_of_it(real):
    whole = {one.own: len(one.tokens) for one in real.read(range(10), cut=False)}
    found = list(real.alike([*range(10), 3], [5, 9, 13, 17, 18] * 2))
    assert [one.own for one in found] == list(range(10))
    lengths = sorted(len(one.tokens) for one in found)
    assert lengths[0] == whole[0] < 5 and all(length <= 18 for length in lengths)
    # Characters are not cut, so a few tokens can be missing.
    assert all(
        want - 3 <= got <= want for got, want in zip(lengths[1:], sorted([5, 9, 13, 17, 18] * 2)[1:], strict=True)
    )
    assert [len(one.tokens) for one in real.alike(range(10), [])] == [len(one.tokens) for one in real.read(range(10))]
    assert max(len(one.tokens) for one in real.alike(range(10), [10_000])) <= LIMIT
    assert real.lengths([0, 1]).tolist() == [whole[0], LIMIT]


def test_real_text_of_texts_with_seeds_is_their_seed_documents_and_else_what_was_drawn(real):
    texts = [Sampled("", np.arange(length), {"seed_row": row}) for row, length in ((7, 4), (2, 12), (5, 8), (2, 8))]
    found = real_sample(real, texts, np.array([1, 3]))
    assert [one.own for one in found] == [7, 2, 5] and sorted(len(one.tokens) for one in found) == [4, 8, 12]
    for seedless in ([Sampled("", np.arange(6), {"seed_row": None})], []):
        drawn = real_sample(real, seedless, np.array([1, 3]))
        assert [one.own for one in drawn] == [1, 3]
        assert {len(one.tokens) for one in drawn} <= ({6, 5, 4} if seedless else {LIMIT, LIMIT - 1, LIMIT - 2})


def test_duplicates_are_counted_among_seed_documents_and_as_many_others_as_are_missing():
    noted = WrittenTexts()
    rows = [{"tokens": 5, "seed_row": 3}, {"tokens": 7, "seed_row": 3}, {"tokens": 9, "seed_row": None}]
    assert list(noted.noting(rows)) == rows and noted.tokens == [4, 6, 8] and noted.seed_rows == {3}
    found = with_seed_rows(np.array([1, 3, 8]), noted.seed_rows, 1)
    assert sorted(found) == [1, 3, 8] and found[0] == 3
    found = with_seed_rows(np.arange(50), {60, 61, 7}, 1)
    assert len(set(found)) == len(found) == 50 and {60, 61, 7} < set(found)
    assert with_seed_rows(np.array([1, 2]), {5, 6}, 1) == [5, 6]
