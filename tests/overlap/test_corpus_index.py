"""The index against sets of shingles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_sbp.overlap import corpus_index
from megatron_sbp.overlap.corpus_index import CorpusIndex, part_files, plan_index, write_part
from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.planning.index_layout import IndexPlan

GB = 1 << 30


def spans(documents) -> TokenSpans:
    lengths = np.array([len(one) for one in documents], np.int64)
    tokens = np.array([token for one in documents for token in one], np.uint16)
    return TokenSpans(tokens, np.cumsum(lengths) - lengths, lengths)


def made(folder, documents, shingle: int, at_most: int = GB, part_hashes: int = 1 << 20) -> CorpusIndex:
    corpus = spans(documents)
    plan = plan_index(corpus.lengths, shingle, at_most, part_hashes)
    files = list(part_files(folder / "starts", folder / "remainders", plan))
    written = [
        write_part(corpus, shingle, plan, part, starts=names[0], remainders=names[1])
        for part, names in enumerate(files)
    ]
    index = CorpusIndex(plan, files, shingle)
    assert len(index) == sum(written)
    return index


def shingles(tokens, length: int) -> set[tuple[int, ...]]:
    if not len(tokens):
        return set()
    width = min(length, len(tokens))
    return {tuple(tokens[place : place + width]) for place in range(len(tokens) - width + 1)}


def expected(documents, texts, length: int) -> list[list[int]]:
    known = set().union(*(shingles(tuple(one), length) for one in documents))
    return [[len(own & known), len(own)] for own in (shingles(tuple(text), length) for text in texts)]


TEXTS = st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=6)


@settings(max_examples=20, deadline=None)
@given(documents=TEXTS, texts=TEXTS, shingle=st.integers(1, 5), part_hashes=st.sampled_from([4, 1 << 20]))
def test_an_index_with_room_counts_what_sets_count(tmp_path_factory, documents, texts, shingle, part_hashes):
    index = made(tmp_path_factory.mktemp("index"), documents, shingle, part_hashes=part_hashes)
    counts = index.counts([np.array(text, np.int64) for text in texts])
    assert counts.tolist() == expected(documents, texts, shingle)


@pytest.fixture(scope="module")
def corpus() -> list[list[int]]:
    random = np.random.default_rng(5)
    return [random.integers(0, 5000, size).tolist() for size in random.integers(0, 400, 300)]


@pytest.mark.parametrize("room", [0, 1 << 20])
def test_parts_and_the_room_of_a_table_change_nothing(tmp_path, corpus, monkeypatch, room):
    monkeypatch.setattr(corpus_index, "_ROOM", room)
    texts = [np.array(one[7:90]) for one in corpus[:40]] + [np.arange(100, 200)]
    exact = expected(corpus, texts, 13)
    for part_hashes in (1 << 20, 1000):
        index = made(tmp_path / str(part_hashes), corpus, 13, part_hashes=part_hashes)
        assert (index.plan.parts == 1) == (part_hashes == 1 << 20) and index.plan.halvings == 0
        assert index.counts(texts).tolist() == exact


def test_a_shingle_that_repeats_is_kept_once(tmp_path):
    assert len(made(tmp_path, [list(range(30))] * 50, 13)) == 18


def test_a_part_that_gets_more_than_was_expected_grows(tmp_path, corpus, monkeypatch):
    """A table for hardly any hashes, which must grow again and again."""
    monkeypatch.setattr(corpus_index, "_ROOM", 0)
    whole, documents = spans(corpus), spans(corpus)
    plan = plan_index(whole.lengths, 13, GB)
    names = list(part_files(tmp_path / "starts", tmp_path / "rest", plan))
    small = IndexPlan(5, plan.halvings, plan.bucket_bits, plan.part_bits)
    assert write_part(documents, 13, small, 0, starts=names[0][0], remainders=names[0][1]) == len(
        made(tmp_path / "usual", corpus, 13)
    )
    index = CorpusIndex(plan, names, 13)
    texts = [np.array(one) for one in corpus[:30]]
    assert index.counts(texts).tolist() == expected(corpus, texts, 13)


def test_a_sampled_index_estimates_the_share_without_bias(tmp_path, corpus):
    """Texts of which a known share is copied: on average over texts the estimate is that share, and it scatters by the
    standard error that is stated."""
    random = np.random.default_rng(6)
    long = [one for one in corpus if len(one) > 130]
    texts = [np.array(one[:112] + random.integers(5000, 9999, 100).tolist()) for one in long]  # 100 of 200 shingles
    size = plan_index(spans(corpus).lengths, 13, GB).bytes
    index = made(tmp_path, corpus, 13, at_most=size // 7)
    assert index.plan.halvings == 3 and index.plan.bytes <= size // 7
    found, asked = index.counts(texts).T
    assert len(index) == pytest.approx(index.plan.shingles / 8, rel=0.05) and asked.mean() == pytest.approx(25, rel=0.1)
    shares = found / asked
    stated = np.array([index.plan.standard_error(0.5, count) for count in asked])
    assert abs(shares.mean() - 0.5) < 4 * stated.mean() / math.sqrt(len(texts))
    assert np.std((shares - 0.5) / stated) == pytest.approx(1, abs=0.2)


def test_both_sides_sample_the_same_shingles(tmp_path, corpus):
    index = made(tmp_path, corpus, 13, at_most=20_000)
    counts = index.counts([np.array(one) for one in corpus])
    assert index.plan.halvings >= 4 and (counts[:, 0] == counts[:, 1]).all() and counts[:, 1].sum() > 1000


def test_an_empty_corpus_has_nothing(tmp_path):
    for documents in ([], [[]]):
        index = made(tmp_path / str(len(documents)), documents, 13)
        assert len(index) == 0 and index.counts([np.arange(20), np.empty(0, np.int64)]).tolist() == [[0, 8], [0, 0]]
    assert made(tmp_path / "one", [[1, 2]], 13).counts([]).tolist() == []
