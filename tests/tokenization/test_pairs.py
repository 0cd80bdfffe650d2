from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.encoding import write_texts
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.pairs import PairLimits, write_pairs
from megatron_sbp.tokenization.truncation import cut_tokens

from .conftest import ROLES, random_texts


@pytest.mark.parametrize("seed_cut", ["head", "tail"])
def test_pairs_against_a_plain_loop(tmp_path, foldoc, tokenizer, seed_cut):
    texts = foldoc[:200] + random_texts(200, seed=3)
    write_texts(texts, tmp_path / "documents", tokenizer)
    documents = open_indexed(tmp_path / "documents")
    draw = np.random.default_rng(1)
    seeds, targets = draw.integers(0, len(texts), (2, 2500))
    limits = PairLimits(60, 45, seed_cut)
    counts = write_pairs(
        tmp_path / "pairs",
        documents,
        seeds,
        targets,
        limits=limits,
        starts_character=tokenizer.starts_character,
        end_of_document=tokenizer.end_of_document,
    )
    pairs = open_indexed(tmp_path / "pairs")
    ids = tokenizer.encode_batch(texts)
    expected = {"pairs": 0, "seed_tokens": 0, "target_tokens": 0, "seeds_cut": 0, "targets_cut": 0}
    assert pairs.documents == 2500
    np.testing.assert_array_equal(pairs.bounds, np.arange(0, 5001, 2))
    for number, (seed, target) in enumerate(zip(seeds, targets, strict=True)):
        first = cut_tokens(np.array(ids[seed]), 60, tokenizer.starts_character, seed_cut).tolist()
        second = cut_tokens(np.array(ids[target]), 45, tokenizer.starts_character).tolist()
        if len(ids[target]) <= 45:
            second = [*second, tokenizer.end_of_document]
        assert pairs[2 * number].tolist() == first
        assert pairs[2 * number + 1].tolist() == second
        expected["pairs"] += 1
        expected["seed_tokens"] += len(first)
        expected["target_tokens"] += len(second)
        expected["seeds_cut"] += len(ids[seed]) > 60
        expected["targets_cut"] += len(ids[target]) > 45
    assert expected["seeds_cut"] > 100
    assert expected["targets_cut"] > 100
    assert counts.to_dict() == {**expected, "mean_target_tokens": expected["target_tokens"] / 2500}


def test_a_document_of_exactly_the_limit_is_not_cut(tmp_path, tokenizer):
    text = "A document of some tokens."
    size = len(tokenizer.encode_batch([text])[0])
    write_texts([text], tmp_path / "documents", tokenizer)
    documents, rows = open_indexed(tmp_path / "documents"), np.zeros(1, np.int64)
    for limit, cut in ((size, 0), (size - 1, 1)):
        counts = write_pairs(
            tmp_path / "p",
            documents,
            rows,
            rows,
            limits=PairLimits(limit, limit, "tail"),
            starts_character=tokenizer.starts_character,
            end_of_document=0,
        )
        assert (counts.seeds_cut, counts.targets_cut) == (cut, cut)
        assert counts.target_tokens == size + 1 - 2 * cut
        assert (open_indexed(tmp_path / "p").tokens[-1] == 0) == (not cut)


TEXTS = {
    "accents": "Où était-ce ? Ça œuvre déjà, naïf Çağrı; žluťoučký kůň úpěl ďábelské ódy. ",
    "Chinese": "合成自举预训练从文档之间的关系中学习。每一对文档讲的是同一件事，但用词不同。",
    "emoji": "Fine 👍🏽, family 👨‍👩‍👧‍👦, flags 🇨🇭🇯🇵, and 🧿🪐 once more. ",
    "mixed": "Zürich → 東京: 3 × ½ = 1½ ✓ 😀 नमस्ते दुनिया; مرحبا ",
}


@pytest.mark.parametrize("seed_cut", ["head", "tail"])
@pytest.mark.parametrize("name", TEXTS)
def test_no_half_of_a_pair_begins_or_ends_inside_a_character(tmp_path, foldoc, name, seed_cut):
    """At every length, with a tokenizer that knows no more than bytes of this script, and one with merges across its
    characters."""
    whole = TEXTS[name] * 2
    cut_short = 0
    for merges_of, vocabulary in ((foldoc, 600), ([text * 3 for text in TEXTS.values()], 330)):
        tokenizer = train_bpe(merges_of, vocabulary, ROLES)
        write_texts([whole], tmp_path / "documents", tokenizer)
        documents, row = open_indexed(tmp_path / "documents"), np.zeros(1, np.int64)
        size = len(documents[0]) - 1
        for limit in range(4, size, 3):
            write_pairs(
                tmp_path / "pairs", documents, row, row, limits=PairLimits(limit, limit, seed_cut),
                starts_character=tokenizer.starts_character, end_of_document=tokenizer.end_of_document,
            )  # fmt: skip
            pairs = open_indexed(tmp_path / "pairs")
            seed, target = tokenizer.decode(pairs[0]), tokenizer.decode(pairs[1])
            assert "\ufffd" not in seed + target
            assert whole.endswith(seed) if seed_cut == "head" else whole.startswith(seed)
            assert whole.startswith(target) and target
            assert limit - 3 <= len(pairs[1]) <= limit and limit - 3 <= len(pairs[0]) <= limit
            cut_short += len(pairs[1]) < limit
    assert cut_short, "some of these cuts would fall inside a character"
