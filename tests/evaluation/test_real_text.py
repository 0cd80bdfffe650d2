"""Real documents as the quality figures read them: rows with their tokens, cut as texts are."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base import files
from megatron_sbp.evaluation.real_text import RealText
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
