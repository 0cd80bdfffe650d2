"""The plan of generations: uniform over D, the same for every longer plan, cut into batches by length."""

from __future__ import annotations

from collections import Counter

import numpy as np

from megatron_sbp.synthesis.generations import Generation, batches, generations, planned_generations


def test_every_document_equally_often_up_to_one():
    found = generations(0, 260, documents=100, seed=1)
    assert set(Counter(generation.row for generation in found).values()) == {2, 3}
    assert len({generation.name for generation in found}) == 260
    for row in range(100):
        assert [generation.number for generation in found if generation.row == row] == list(range(3))[
            : 3 if row_in(found, row) else 2
        ]


def row_in(found: list[Generation], row: int) -> bool:
    return any(generation == Generation(row, 2) for generation in found)


def test_shards_are_parts_of_one_plan():
    whole = generations(0, 1000, documents=137, seed=5)
    parts = [
        generation for begin in range(0, 1000, 90) for generation in generations(begin, min(begin + 90, 1000), 137, 5)
    ]
    assert parts == whole
    assert generations(0, 400, 137, 5) == whole[:400]


def test_passes_and_seeds_have_their_own_order():
    first, second = generations(0, 100, 100, 1), generations(100, 200, 100, 1)
    assert [generation.row for generation in first] != [generation.row for generation in second] != list(range(100))
    assert [generation.row for generation in generations(0, 100, 100, 2)] != [generation.row for generation in first]


def test_number_of_draws():
    assert planned_generations(1000, 1.5, 100.0) == 15
    assert planned_generations(1001, 1.5, 100.0) == 16


def test_batches_hold_similar_lengths_and_every_draw_once():
    planned = generations(0, 100, 40, 3)
    lengths = np.array([10 + generation.row % 7 for generation in planned])
    cut = batches(planned, lengths, 16)
    assert sorted(place for batch in cut for place in batch) == list(range(100))
    assert [len(batch) for batch in cut] == [16] * 6 + [4]
    ordered = [lengths[place] for batch in cut for place in batch]
    assert ordered == sorted(ordered, reverse=True)
    assert batches([], np.array([]), 16) == []


def test_batches_do_not_depend_on_the_order_of_the_draws():
    planned = generations(0, 60, 40, 3)
    lengths = {generation: 5 + generation.row % 4 for generation in planned}
    turned = planned[::-1]
    cuts = [batches(some, np.array([lengths[generation] for generation in some]), 8) for some in (planned, turned)]
    assert [[planned[p] for p in batch] for batch in cuts[0]] == [[turned[p] for p in batch] for batch in cuts[1]]
