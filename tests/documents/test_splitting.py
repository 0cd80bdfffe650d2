from __future__ import annotations

import itertools
import random

import numpy as np

from megatron_sbp.documents.reading import Document
from megatron_sbp.documents.splitting import Table, choose


def table_of(documents: list[tuple[str, str]], seed: int = 1) -> Table:
    table = Table(seed)
    for line, (id, text) in enumerate(documents, start=1):
        table.add(Document(id, text, {}), 0, line)
    return table


def kept(documents: list[tuple[str, str]], seed: int = 1) -> list[tuple[str, str]]:
    return [documents[row] for row in choose(table_of(documents, seed)).rows]


def test_order_depends_on_seed_and_ids_alone():
    documents = [(f"id{n}", f"text {n}") for n in range(200)]
    shuffled = documents.copy()
    random.Random(5).shuffle(shuffled)
    order = kept(documents)
    assert order == kept(shuffled)
    assert sorted(order) == sorted(documents)
    assert order != kept(documents, seed=2)
    assert order != sorted(order)
    others = [(id, text + "!") for id, text in documents]
    assert [id for id, _ in kept(others)] == [id for id, _ in order]


def test_more_documents_keep_the_order_of_the_former_ones():
    documents = [(f"id{n}", f"text {n}") for n in range(100)]
    more = documents + [(f"more{n}", f"more {n}") for n in range(50)]
    assert [document for document in kept(more) if document in documents] == kept(documents)


def test_equal_stripped_texts_are_one_document_whatever_the_order():
    documents = [("a", "same"), ("b", " same\n"), ("c", "same"), ("d", "other")]
    survivors = set()
    for order in itertools.permutations(documents):
        chosen = choose(table_of(list(order)))
        assert chosen.duplicates == 2
        assert len(chosen.rows) == 2
        survivors.add(frozenset(kept(list(order))))
    assert len(survivors) == 1


def test_which_duplicate_stays_says_nothing_about_its_place():
    """Were it the first in the keyed order, frequent texts would gather in the test split."""
    documents = [(f"{n}-{copy}", f"text {n}") for n in range(300) for copy in range(4)]
    documents += [(f"single {n}", f"single {n}") for n in range(300)]
    order = [id for id, _ in kept(documents)]
    repeated = sum(not id.startswith("single") for id in order[:300])
    assert len(order) == 600
    assert 115 < repeated < 185  # half of 300, 4 standard deviations


def test_one_id_with_two_texts_is_a_clash():
    documents = [("a", "one"), ("b", "two"), ("a", "three"), ("a", " one ")]
    chosen = choose(table_of(documents))
    assert chosen.duplicates == 1
    ((goes, stays),) = chosen.clashes.tolist()
    assert {documents[goes][1].strip(), documents[stays][1].strip()} == {"one", "three"}
    assert len(chosen.rows) == 2


def test_an_empty_table():
    chosen = choose(Table(1))
    assert len(chosen.rows) == 0
    assert chosen.clashes.shape == (0, 2)


def test_memory_per_document():
    table = table_of([("a", "one"), ("b", "two")])
    hashes, files, lines = table.columns()
    assert hashes.dtype == np.uint64
    assert (hashes.nbytes + files.nbytes + lines.nbytes) / 2 == 52
