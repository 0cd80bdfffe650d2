from __future__ import annotations

import itertools
import os
import random

import numpy as np
import pytest

from megatron_sbp.documents.parts import ORDER, ROW, hashes
from megatron_sbp.documents.reading import Document
from megatron_sbp.documents.splitting import LISTED, choose, keys_at

Documents = list[tuple[str, str]]


def part_of(documents: Documents, seed: int = 1) -> np.ndarray:
    """As a part has them: in the keyed order, with the lines on which they were."""
    rows = [(*hashes(Document(id, text, {}), seed), line, 0, 0, 0, 0) for line, (id, text) in enumerate(documents)]
    table = np.array(rows, ROW)
    return table[np.lexsort([table[name] for name in reversed(ORDER)])]


def kept(*parts: Documents, seed: int = 1, rows_at_once: int = 1 << 20) -> Documents:
    """What stays, in the keyed order."""
    tables = [part_of(documents, seed) for documents in parts]
    chosen = choose(tables, rows_at_once)
    found = [
        (tuple(row[list(ORDER)].tolist()), parts[part][row["line"]])
        for part, table in enumerate(tables)
        for row in table[chosen.keep[part]]
    ]
    assert len(found) == chosen.usable
    found.sort()
    keys = keys_at(tables, chosen.keep, range(len(found)), rows_at_once)
    assert [tuple(key.tolist()) for key in keys] == [key for key, _ in found]
    return [document for _, document in found]


def test_order_depends_on_seed_and_ids_alone():
    documents = [(f"id{n}", f"text {n}") for n in range(200)]
    shuffled = documents.copy()
    random.Random(5).shuffle(shuffled)
    order = kept(documents)
    assert order == kept(shuffled) == kept(shuffled[:70], shuffled[70:])
    assert sorted(order) == sorted(documents)
    assert order != kept(documents, seed=2)
    assert order != sorted(order)
    others = [(id, text + "!") for id, text in documents]
    assert [id for id, _ in kept(others)] == [id for id, _ in order]


def test_more_documents_keep_the_order_of_the_former_ones():
    documents = [(f"id{n}", f"text {n}") for n in range(100)]
    more = documents + [(f"more{n}", f"more {n}") for n in range(50)]
    assert [document for document in kept(more) if document in documents] == kept(documents)


@pytest.mark.parametrize("cut", [0, 1, 2, 4])
def test_equal_stripped_texts_are_one_document_whatever_the_order(cut):
    documents = [("a", "same"), ("b", " same\n"), ("c", "same"), ("d", "other")]
    survivors = set()
    for order in itertools.permutations(documents):
        parts = [list(order[:cut]), list(order[cut:])]
        assert choose([part_of(part) for part in parts]).duplicates == 2
        survivors.add(frozenset(kept(*parts)))
    assert len(survivors) == 1


def test_of_documents_equal_in_id_and_text_the_first_that_was_read_stays():
    one, other = [("a", "x"), ("b", "y"), ("b", "y")], [("a", "x"), ("c", "z")]
    tables = [part_of(one), part_of(other)]
    chosen = choose(tables)
    assert chosen.duplicates == 2 and chosen.clashes == 0 and chosen.first_clashes == []
    lines = [table["line"][keep].tolist() for table, keep in zip(tables, chosen.keep, strict=True)]
    assert [sorted(found) for found in lines] == [[0, 1], [1]]


def test_which_duplicate_stays_says_nothing_about_its_place():
    """Were it the first in the keyed order, frequent texts would gather in the test split."""
    documents = [(f"{n}-{copy}", f"text {n}") for n in range(300) for copy in range(4)]
    documents += [(f"single {n}", f"single {n}") for n in range(300)]
    order = [id for id, _ in kept(documents)]
    repeated = sum(not id.startswith("single") for id in order[:300])
    assert len(order) == 600
    assert 115 < repeated < 185  # half of 300, 4 standard deviations


def test_one_id_with_two_texts_is_a_clash():
    one, other = [("a", "one"), ("b", "two")], [("c", "four"), ("a", "three"), ("a", " one ")]
    tables, texts = [part_of(one), part_of(other)], [one, other]
    chosen = choose(tables)
    assert chosen.duplicates == 1 and chosen.usable == 3
    assert chosen.clashes == 1
    [clash] = chosen.first_clashes
    assert {texts[part][tables[part]["line"][row]][1].strip() for part, row in clash} == {"one", "three"}


def test_memory_does_not_change_the_result():
    random_ = random.Random(3)
    documents = [(f"id{random_.randrange(300)}", f"text {random_.randrange(250)}") for _ in range(600)]
    parts = [documents[:100], documents[100:101], [], documents[101:]]
    tables = [part_of(part) for part in parts]
    whole, piecewise = choose(tables), choose(tables, rows_at_once=23)
    assert whole.duplicates == piecewise.duplicates > 100
    assert whole.clashes == piecewise.clashes == len(whole.first_clashes) > 10
    assert whole.first_clashes == piecewise.first_clashes
    assert kept(*parts) == kept(*parts, rows_at_once=23)


def test_any_number_of_cores_chooses_the_same(monkeypatch):
    draw = random.Random(7)
    documents = [(f"id{draw.randrange(300)}", f"text {draw.randrange(200)}") for _ in range(600)]
    found = []
    for cores in (1, 2, 16):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        found.append(kept(*itertools.batched(documents, 40), rows_at_once=50))
    assert found[0] == found[1] == found[2] and 100 < len(found[0]) < 250


def test_no_documents():
    for parts in ([], [part_of([])]):
        chosen = choose(parts)
        assert chosen.usable == chosen.duplicates == chosen.clashes == 0
        assert chosen.first_clashes == keys_at(parts, chosen.keep, []) == []


@pytest.mark.parametrize("rows_at_once", [1 << 20, 999])
def test_of_many_clashes_the_first_are_told_and_all_counted(rows_at_once):
    """Ids that restart in every file: a list of all clashes took 300 bytes for each, 170 GB at 582 million."""
    documents = [[(f"id{n}", f"text {n} of {part}") for n in range(1500)] for part in range(4)]
    tables = [part_of(part) for part in documents]
    chosen = choose(tables, rows_at_once)
    assert chosen.clashes == 4500 and chosen.usable == 1500 and len(chosen.first_clashes) == LISTED
    goes = [place for place, _ in chosen.first_clashes]
    every = sorted((part, int(table["line"][row])) for part, table in enumerate(tables)
                   for row in np.flatnonzero(~chosen.keep[part]))  # fmt: skip
    assert [(part, int(tables[part]["line"][row])) for part, row in goes] == every[:LISTED]
    for (part, row), (other, there) in chosen.first_clashes:
        assert tables[part]["id_low"][row] == tables[other]["id_low"][there] and chosen.keep[other][there]
